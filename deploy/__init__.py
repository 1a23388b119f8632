"""How Alidade is brought up: on one machine, in containers, on a cluster."""
