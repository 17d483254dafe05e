"""Stand-ins for what tests must not depend on: networks, clocks, other machines, a real PKI."""
