"""`alidade up`: the whole system on one machine, until it is told to stop."""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.errors import AlidadeError, ConfigurationError
from deploy.local.ports import LOOPBACK, is_free, reserve_ports
from deploy.local.servers import (
    NatsServer,
    NatsSettings,
    WeedServer,
    WeedSettings,
    launch_nats,
    launch_weed,
    wait_for_nats,
    wait_for_weed,
)
from deploy.local.state import Credentials, Running, Secrets, StateFolder
from deploy.local.supervisor import ServiceSpec, Supervisor

BUCKET = "alidade"
_PREDECESSOR_S = 60.0
"""How long to wait for what a killed `up` had started. It was told to stop when its parent died."""
_PORTS = 15
"""Ports besides one for each sfm worker: the fields of `_Ports`."""


@dataclass(frozen=True)
class UpOptions:
    """What `alidade up` can be told. A port of 0 takes any free one."""

    state: Path = Path(".alidade")
    host: str = LOOPBACK
    port: int = 8000
    remap_port: int = 5000
    sfm_workers: int = 1
    json: bool = False


@dataclass(frozen=True)
class _Ports:
    nats: int
    nats_monitoring: int
    s3: int
    weed_master: int
    weed_volume: int
    weed_filer: int
    weed_admin: int
    notifier: int
    notifier_ops: int
    gateway_ops: int
    ingest_ops: int
    bim_ops: int
    mesh_ops: int
    gateway: int
    remap: int
    sfm_ops: tuple[int, ...]


def main(options: UpOptions) -> int:
    """Start everything, say where it is, and stop everything at Ctrl-C, SIGTERM or when the terminal closes.

    Returns the exit code.
    """
    try:
        state = StateFolder(options.state)
        if not state.lock():
            return _say_what_is_running(state, options)
        return _run(state, options)
    except AlidadeError as error:
        print(f"alidade up: {error.message}", file=sys.stderr)
        return 1


def _run(state: StateFolder, options: UpOptions) -> int:
    stop = threading.Event()
    set_at_signals(stop)
    secrets = state.secrets()
    family_lock = state.family_lock(_PREDECESSOR_S)
    with reserve_ports(_PORTS + options.sfm_workers) as reserved:
        ports = _ports(reserved.ports, options)
        nats, weed = _launch_servers(state, secrets, ports, family_lock)
        supervisor: Supervisor | None = None
        try:
            wait_for_nats(nats)
            wait_for_weed(weed)
            credentials, is_new = state.credentials(f"http://{_reachable(options.host)}:{ports.gateway}")
            environment = _environment(state, options, ports, nats, weed)
            supervisor = Supervisor(_services(ports), environment, state.logs, (family_lock,))
            supervisor.start()
            supervisor.wait_until_ready(stop)
            if not stop.is_set():
                state.write_running(_running(options, ports, supervisor))
                _say_ready(state, options, ports, credentials, is_new)
            supervisor.watch(stop, lambda: state.write_running(_running(options, ports, supervisor)))
        finally:
            state.clear_running()
            if supervisor is not None:
                supervisor.stop()
            nats.stop()
            weed.stop()
    if not options.json:
        print("Everything is stopped. Jobs that were under way go on at the next start.")
    return 0


def set_at_signals(stop: threading.Event) -> None:
    """Set `stop` at Ctrl-C, at SIGTERM, and when the terminal closes, unless `nohup` has asked for the contrary."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stop.set())


def _ports(free: tuple[int, ...], options: UpOptions) -> _Ports:
    for name, port in (("--port", options.port), ("--remap-port", options.remap_port)):
        if port and not is_free(port):
            raise ConfigurationError(f"Port {port} is taken by another program. Choose another with {name}; 0 is any.")
    take = iter(free)
    return _Ports(
        nats=next(take),
        nats_monitoring=next(take),
        s3=next(take),
        weed_master=next(take),
        weed_volume=next(take),
        weed_filer=next(take),
        weed_admin=next(take),
        notifier=next(take),
        notifier_ops=next(take),
        gateway_ops=next(take),
        ingest_ops=next(take),
        bim_ops=next(take),
        mesh_ops=next(take),
        gateway=options.port or next(take),
        remap=options.remap_port or next(take),
        sfm_ops=tuple(next(take) for _ in range(options.sfm_workers)),
    )


def _launch_servers(
    state: StateFolder, secrets: Secrets, ports: _Ports, family_lock: int
) -> tuple[NatsServer, WeedServer]:
    settings = NatsSettings(state.path / "nats", ports.nats, ports.nats_monitoring, secrets.nats_token)
    nats = launch_nats(settings, (family_lock,))
    try:
        weed = launch_weed(
            WeedSettings(
                folder=state.path / "weed",
                s3_port=ports.s3,
                master_port=ports.weed_master,
                volume_port=ports.weed_volume,
                filer_port=ports.weed_filer,
                admin_port=ports.weed_admin,
                access_key=secrets.store_access_key,
                secret_key=secrets.store_secret_key,
                bucket=BUCKET,
            ),
            (family_lock,),
        )
    except BaseException:
        nats.stop()
        raise
    return nats, weed


def _environment(
    state: StateFolder, options: UpOptions, ports: _Ports, nats: NatsServer, weed: WeedServer
) -> dict[str, str]:
    """Settings of every service, on top of what the caller's own environment says."""
    address = weed.address
    return {
        "ALIDADE_BUS__URL": nats.url,
        "ALIDADE_STORE__ENDPOINT_URL": address.endpoint_url,
        "ALIDADE_STORE__ACCESS_KEY": address.access_key,
        "ALIDADE_STORE__SECRET_KEY": address.secret_key,
        "ALIDADE_STORE__BUCKET": address.bucket,
        "ALIDADE_ACCESS__FILE": str(state.access_file),
        "ALIDADE_GATEWAY__HOST": options.host,
        "ALIDADE_GATEWAY__PORT": str(ports.gateway),
        "ALIDADE_GATEWAY__REMAP_PORT": str(ports.remap),
        "ALIDADE_GATEWAY__NOTIFIER_URL": f"http://{LOOPBACK}:{ports.notifier}",
        "ALIDADE_NOTIFIER__PORT": str(ports.notifier),
        "ALIDADE_WORKER__SCRATCH": str(state.path / "scratch"),
    }


def _services(ports: _Ports) -> list[ServiceSpec]:
    return [
        ServiceSpec("gateway", "services.gateway", ports.gateway_ops),
        ServiceSpec("notifier", "services.notifier", ports.notifier_ops),
        ServiceSpec("ingest", "services.ingest", ports.ingest_ops),
        ServiceSpec("bim", "services.bim", ports.bim_ops),
        ServiceSpec("mesh", "services.mesh", ports.mesh_ops),
        *(ServiceSpec(f"sfm-{n}", "services.sfm", port) for n, port in enumerate(ports.sfm_ops, start=1)),
    ]


def _running(options: UpOptions, ports: _Ports, supervisor: Supervisor) -> Running:
    host = _reachable(options.host)
    return Running(
        pid=os.getpid(),
        url=f"http://{host}:{ports.gateway}",
        remap_url=f"http://{host}:{ports.remap}",
        services=supervisor.process_ids(),
    )


def _say_ready(state: StateFolder, options: UpOptions, ports: _Ports, credentials: Credentials, is_new: bool) -> None:
    if options.json:
        print(json.dumps(asdict(credentials)), flush=True)
        return
    print(f"Alidade is ready at {credentials.url} (ReMap API also on port {ports.remap}); {credentials.url}/docs")
    if is_new:
        print(f"  API key   {credentials.api_key}")
        print(f"  user      {credentials.username}   password  {credentials.password}")
        print("  These are shown this once;", end=" ")
    else:
        print("  Credentials:", end=" ")
    print(f"the alidade command reads them from {state.path / 'credentials.json'}.")
    print(f"  Logs: {state.logs}   Stop: Ctrl-C", flush=True)


def _say_what_is_running(state: StateFolder, options: UpOptions) -> int:
    running = state.read_running()
    if running is None:
        raise ConfigurationError(f"Another `alidade up` is starting or stopping with {state.path}. Try again shortly.")
    if options.json:
        credentials, _ = state.credentials(running.url)
        print(json.dumps(asdict(credentials)), flush=True)
        return 0
    print(f"Alidade is already running with {state.path} (process {running.pid}): {running.url}")
    for name, pid in running.services.items():
        print(f"  {name:<10} process {pid}")
    print("Use --state for a second one.")
    return 0


def _reachable(host: str) -> str:
    """An address at which a server bound to `host` answers on this machine."""
    return LOOPBACK if host in {"0.0.0.0", "::", "localhost"} else host  # noqa: S104 - compared, not bound
