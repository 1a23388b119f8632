"""The gateway: the documented HTTP APIs in front of the bus and the object store. It computes nothing."""
