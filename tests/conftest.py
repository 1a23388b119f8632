"""Real servers for tests: NATS with JetStream and SeaweedFS, started once a session on free loopback ports."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.ports import reserve_ports
from deploy.local.servers import NatsServer, NatsSettings, WeedServer, WeedSettings, new_secret, start_nats, start_weed
from runtime.object_store import ObjectStore, StoreAddress


class RestartableNats:
    """A NATS server of a test's own, to be stopped, killed and started again on the same port and folder."""

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self.server = start_nats(settings)

    @property
    def url(self) -> str:
        return self.server.url

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server = start_nats(self.settings)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="alidade-nats-") as folder, reserve_ports(2) as reserved:
        port, monitoring_port = reserved.ports
        server = start_nats(NatsSettings(Path(folder), port, monitoring_port, token=new_secret()))
        yield server
        server.kill()


@pytest.fixture(scope="session")
def nats_url(nats_server: NatsServer) -> str:
    return nats_server.url


@pytest.fixture
def restartable_nats(tmp_path: Path) -> Iterator[RestartableNats]:
    with reserve_ports(2) as reserved:
        port, monitoring_port = reserved.ports
        nats = RestartableNats(NatsSettings(tmp_path / "nats", port, monitoring_port, token=new_secret()))
        yield nats
        nats.kill()


@pytest.fixture(scope="session")
def object_store_server() -> Iterator[WeedServer]:
    # Not below pytest's own folder, which keeps the gigabytes of the last three runs.
    with tempfile.TemporaryDirectory(prefix="alidade-weed-") as folder, reserve_ports(5) as reserved:
        s3, master, volume, filer, admin = reserved.ports
        settings = WeedSettings(
            folder=Path(folder),
            s3_port=s3,
            master_port=master,
            volume_port=volume,
            filer_port=filer,
            admin_port=admin,
            access_key=new_secret(),
            secret_key=new_secret(),
            bucket="alidade",
        )
        server = start_weed(settings)
        yield server
        server.kill()


@pytest.fixture
def store_address(object_store_server: WeedServer) -> StoreAddress:
    """Credentials, and the name of a bucket that is the test's own and does not exist yet."""
    return replace(object_store_server.address, bucket=f"test-{uuid4().hex[:16]}")


@pytest.fixture
async def store(store_address: StoreAddress) -> AsyncIterator[ObjectStore]:
    """An object store with an empty bucket of the test's own."""
    async with ObjectStore(store_address) as connected:
        await connected.ensure_bucket()
        yield connected
        await connected.remove_bucket()
