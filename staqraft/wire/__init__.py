"""What goes between nodes and processes: the generated messages (`v1`), and TLS around them."""
