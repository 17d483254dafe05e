"""Configuration: one YAML file, strict, every problem reported at once with its line."""
