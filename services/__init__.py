"""The services: each its own process; they never import each other."""
