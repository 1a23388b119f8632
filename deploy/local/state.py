"""The state folder of `alidade up`: credentials, secrets, logs and what is running.

credentials.json   url, API key, user name and password in clear, mode 0600: what `alidade submit` comes in with
access.json        the same, hashed: what the services check against
secrets.json       credentials of the bus and the object store, mode 0600, generated once
running.json       what is running, while it is running
up.lock            held by `up` itself
family.lock        held by everything that it has started
nats/ weed/ logs/ scratch/
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.errors import ConfigurationError
from deploy.local.servers import new_secret
from runtime.access import create_access_file

_POLL_S = 0.05


@dataclass(frozen=True)
class Secrets:
    """What the parts of the system tell each other to come in."""

    nats_token: str
    store_access_key: str
    store_secret_key: str


@dataclass(frozen=True)
class Credentials:
    """What a person or a script needs. The order of the fields is the order of `alidade up --json`."""

    url: str
    api_key: str
    username: str
    password: str


@dataclass(frozen=True)
class Running:
    """What a second `alidade up` says."""

    pid: int
    url: str
    remap_url: str | None
    services: dict[str, int]
    """Name to process id."""


class StateFolder:
    """Everything that outlives a run. Made if need be, for its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.logs.mkdir(exist_ok=True)
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def access_file(self) -> Path:
        return self.path / "access.json"

    def lock(self) -> bool:
        """Take the folder for this process. False if another `up` has it; the kernel frees it with the process."""
        descriptor = os.open(self.path / "up.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return False
        self._lock = descriptor
        # An `up` that was killed did not get to remove it.
        self.clear_running()
        return True

    def family_lock(self, timeout_s: float) -> int:
        """A descriptor that everything this `up` starts is to inherit: it holds a lock for as long as one of them lives.

        What an `up` that was killed had started may still be stopping, and two servers on the same files destroy them:
        this waits for their end. Raises ConfigurationError if that takes longer than `timeout_s`.
        """
        descriptor = os.open(self.path / "family.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout_s
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise ConfigurationError(
                    f"What an earlier `alidade up` has started with {self.path} is still running after {timeout_s:g} s. "
                    "End it, then start again."
                )
            time.sleep(_POLL_S)
        return descriptor

    def secrets(self) -> Secrets:
        """Generated at first use."""
        path = self.path / "secrets.json"
        if path.exists():
            return Secrets(**_read(path))
        made = Secrets(new_secret(), new_secret(), new_secret())
        write_private(path, asdict(made))
        return made

    def credentials(self, url: str) -> tuple[Credentials, bool]:
        """The credentials, with the present address; and whether they are new.

        Raises ConfigurationError if only one of the two files that hold them is there.
        """
        path = self.path / "credentials.json"
        # Written before the credentials and put in place after them: wherever this is cut off, the next start completes it.
        prepared = self.path / "access.json.prepared"
        if path.exists() and prepared.exists() and not self.access_file.exists():
            prepared.replace(self.access_file)
        is_new = not path.exists() and not self.access_file.exists()
        if is_new:
            prepared.unlink(missing_ok=True)
            made = create_access_file(prepared)
            credentials = Credentials(url, made.api_key, made.username, made.password)
        elif path.exists() and self.access_file.exists():
            credentials = Credentials(**{**_read(path), "url": url})
        else:
            raise ConfigurationError(
                f"{path} and {self.access_file} belong together, and one of them is missing. "
                "Remove the other to get new credentials."
            )
        write_private(path, asdict(credentials))
        if is_new:
            prepared.replace(self.access_file)
        return credentials, is_new

    def write_running(self, running: Running) -> None:
        write_private(self.path / "running.json", asdict(running))

    def read_running(self) -> Running | None:
        """What the other `up` has written, or None while it is still starting."""
        path = self.path / "running.json"
        if not path.exists():
            return None
        content = _read(path)
        services = content["services"]
        assert isinstance(services, dict)
        return Running(
            pid=int(str(content["pid"])),
            url=str(content["url"]),
            remap_url=None if content["remap_url"] is None else str(content["remap_url"]),
            services={str(name): int(pid) for name, pid in services.items()},
        )

    def clear_running(self) -> None:
        (self.path / "running.json").unlink(missing_ok=True)


def write_private(path: Path, content: dict[str, object]) -> None:
    """Replace a JSON file, readable by its owner only."""
    replacement = path.with_name(path.name + ".new")
    descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    replacement.replace(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(path: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({type(error).__name__}).") from None
    return content
