"""The servers of one machine: they start, keep their data over a restart, and die with whoever started them."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import nats
import psutil
import pytest
from nats.js.api import StreamConfig

from contracts.errors import ConfigurationError
from deploy.local.ports import COMPANION_OFFSET, is_free, reserve_ports
from deploy.local.servers import (
    NatsServer,
    NatsSettings,
    WeedServer,
    WeedSettings,
    launch_nats,
    launch_weed,
    new_secret,
    start_nats,
    start_weed,
)
from runtime.object_store import ObjectStore


def nats_settings(folder: Path, ports: tuple[int, ...]) -> NatsSettings:
    port, monitoring_port = ports
    return NatsSettings(folder, port, monitoring_port, token=new_secret())


def weed_settings(folder: Path, ports: tuple[int, ...]) -> WeedSettings:
    s3, master, volume, filer, admin = ports
    return WeedSettings(
        folder=folder,
        s3_port=s3,
        master_port=master,
        volume_port=volume,
        filer_port=filer,
        admin_port=admin,
        access_key="key",
        secret_key="secret",
        bucket="alidade",
    )


def listening_addresses(pid: int) -> set[str]:
    process = psutil.Process(pid)
    return {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}


async def test_nats_demands_its_token(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    assert client.max_payload == 8 << 20
    await client.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.settings.port)
    await reader.readline()
    writer.write(b"CONNECT {}\r\n")
    assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    writer.close()
    await writer.wait_closed()


async def test_nats_keeps_its_streams_over_a_crash(tmp_path: Path) -> None:
    with reserve_ports(2) as reserved:
        settings = nats_settings(tmp_path / "nats", reserved.ports)
        server = start_nats(settings)
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(StreamConfig(name="JOBS", subjects=["jobs.>"]))
        await client.jetstream().publish("jobs.1", b"created")
        await client.close()
        server.kill()

        server = start_nats(settings)
        client = await nats.connect(server.url)
        message = await client.jetstream().get_last_msg("JOBS", "jobs.1")
        assert message.data == b"created"
        await client.close()
        server.stop()
        server.stop()


def test_servers_listen_on_loopback_only(nats_server: NatsServer, object_store_server: WeedServer) -> None:
    assert listening_addresses(nats_server.process.pid) == {"127.0.0.1"}
    assert listening_addresses(object_store_server.process.pid) == {"127.0.0.1"}


def test_secrets_are_not_on_the_command_line(nats_server: NatsServer, object_store_server: WeedServer) -> None:
    for process, secret in (
        (nats_server.process, nats_server.settings.token),
        (object_store_server.process, object_store_server.settings.secret_key),
    ):
        assert secret not in " ".join(psutil.Process(process.pid).cmdline())
    assert (nats_server.settings.folder / "nats.conf").stat().st_mode & 0o077 == 0


async def test_weed_keeps_its_objects_over_a_crash_and_on_other_ports(tmp_path: Path) -> None:
    with reserve_ports(5) as reserved:
        server = start_weed(weed_settings(tmp_path, reserved.ports))
        async with ObjectStore(server.address) as store:
            await store.ensure_bucket()
            await store.put_bytes("jobs/1/result.zip", b"x" * 100_000)
        server.kill()
    with reserve_ports(5) as others:
        server = start_weed(weed_settings(tmp_path, others.ports))
        async with ObjectStore(server.address) as store:
            assert await store.get_bytes("jobs/1/result.zip", 1 << 20) == b"x" * 100_000
            await store.put_bytes("jobs/2/result.zip", b"y")
            assert [info.key async for info in store.list("jobs/")] == ["jobs/1/result.zip", "jobs/2/result.zip"]
        server.stop()
        server.stop()
    assert server.process.returncode == 0
    sockets = [path.name for path in Path("/tmp").glob("seaweedfs-*.sock")]
    assert not [
        name for name in sockets if any(name.endswith(f"-{port}.sock") for port in server.settings.ports.values())
    ]


PARENT = """
import sys, time
from pathlib import Path
from deploy.local.ports import reserve_ports
from deploy.local.servers import NatsSettings, WeedSettings, launch_nats, launch_weed, wait_for_nats, wait_for_weed

folder = Path(sys.argv[1])
reserved = reserve_ports(7)
nats = launch_nats(NatsSettings(folder / "nats", *reserved.ports[:2], token="token"))
weed = launch_weed(WeedSettings(folder / "weed", *reserved.ports[2:], "key", "secret", "alidade"))
wait_for_nats(nats)
wait_for_weed(weed)
print(nats.process.pid, weed.process.pid, flush=True)
time.sleep(600)
"""


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_servers_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(tmp_path), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    deadline = time.monotonic() + 60.0
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "a server outlived its parent"
        await asyncio.sleep(0.02)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with reserve_ports(7) as reserved, socket.socket() as squatter:
        taken = reserved.ports[0]
        squatter.bind(("127.0.0.1", taken))
        squatter.listen()
        with pytest.raises(ConfigurationError, match=f"Port {taken}, wanted for NATS, is taken"):
            launch_nats(nats_settings(tmp_path, reserved.ports[:2]))
        settings = weed_settings(tmp_path, reserved.ports[2:])
        with pytest.raises(ConfigurationError, match=f"Port {taken}, wanted for S3, is taken"):
            launch_weed(replace(settings, s3_port=taken))
        with pytest.raises(ConfigurationError, match="too high"):
            launch_weed(replace(settings, filer_port=60_000))


def test_reserved_ports_are_given_to_nobody_else() -> None:
    code = (
        "from deploy.local.ports import reserve_ports; import sys\n"
        "print(*reserve_ports(300).ports, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        with reserve_ports(300) as ours:
            assert len(theirs) == len(set(ours.ports)) == 300
            assert not theirs & set(ours.ports)
            assert all(is_free(port) and is_free(port + COMPANION_OFFSET) for port in ours.ports)
        other.communicate()


def test_released_ports_leave_no_descriptor() -> None:
    before = psutil.Process().num_fds()
    with reserve_ports(50):
        assert psutil.Process().num_fds() == before + 50
    assert psutil.Process().num_fds() == before


def test_secrets_differ_and_are_safe_in_a_url() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.isalnum() and len(secret) >= 32 for secret in secrets)


class Restartable(Protocol):
    server: NatsServer

    @property
    def url(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...


def test_a_restartable_server_comes_back_at_its_address(restartable_nats: Restartable) -> None:
    url, pid = restartable_nats.url, restartable_nats.server.process.pid
    restartable_nats.kill()
    restartable_nats.start()
    assert restartable_nats.url == url
    assert restartable_nats.server.process.pid != pid
