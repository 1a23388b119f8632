"""Keys for the access file of a server on this machine."""

from pathlib import Path

from client.errors import FileUnusable, Misconfigured

LONGEST_NAME = 64


def add(state: Path, owner: str) -> str:
    """Add a key to the access file in the state folder, and return it in clear. Raises FileUnusable, Misconfigured."""
    # The runtime is there on servers only.
    from contracts.errors import ConfigurationError  # noqa: PLC0415
    from runtime.access import add_api_key  # noqa: PLC0415

    owner = owner.strip()
    if not owner or len(owner) > LONGEST_NAME or not owner.isprintable():
        raise Misconfigured(f"--owner must be a name of 1 to {LONGEST_NAME} printable characters.")
    path = state / "access.json"
    if not path.exists():
        raise FileUnusable(f"There is no {path}. `alidade up` makes it at its first start; --state names its folder.")
    try:
        return add_api_key(path, owner)
    except ConfigurationError as error:
        raise FileUnusable(error.message) from None
    except OSError as error:
        raise FileUnusable(f"{path} cannot be written: {error.strerror}.") from None
