"""The `alidade` command, and the SDK under it: `from client.api import Alidade`."""
