"""A gateway in this process, on the real bus and object store."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from deploy.local.servers import WeedServer
from runtime.access import Access, Credentials, create_access_file
from runtime.object_store import ObjectStore
from runtime.settings import AccessSettings, BusSettings, GatewaySettings, Settings
from tests.services.gateway.running_gateway import CLOUD_LIMIT_BYTES, UPLOAD_LIMIT_BYTES, Gateway, running_gateway


@pytest.fixture(scope="session")
async def shared_store(object_store_server: WeedServer) -> AsyncIterator[ObjectStore]:
    """One bucket for all of these tests: a new bucket's first object takes a fifth of a second."""
    async with ObjectStore(replace(object_store_server.address, bucket="test-gateway")) as connected:
        await connected.ensure_bucket()
        yield connected
        await connected.remove_bucket()


@pytest.fixture
async def store(shared_store: ObjectStore) -> AsyncIterator[ObjectStore]:
    """The shared bucket, empty."""
    yield shared_store
    async for info in shared_store.list(""):
        await shared_store.delete(info.key)


@pytest.fixture(scope="session")
def access_settings(tmp_path_factory: pytest.TempPathFactory) -> AccessSettings:
    return AccessSettings(file=tmp_path_factory.mktemp("access") / "access.json", cors_origins=("https://app.example",))


@pytest.fixture(scope="session")
def person(access_settings: AccessSettings) -> Credentials:
    """Somebody with a password, for the whole session: a password's hash takes a quarter of a second by intent."""
    return create_access_file(access_settings.file)


@pytest.fixture(scope="session")
def access(access_settings: AccessSettings, person: Credentials) -> Access:
    return Access(access_settings, "127.0.0.1")


@pytest.fixture(scope="session")
def gateway_settings(nats_url: str, access_settings: AccessSettings) -> Settings:
    return Settings(
        bus=BusSettings(url=nats_url),
        access=access_settings,
        gateway=GatewaySettings(
            upload_limit_bytes=UPLOAD_LIMIT_BYTES,
            cloud_limit_bytes=CLOUD_LIMIT_BYTES,
            inspect_timeout_s=10.0,
            remap_port=None,
            port=0,
        ),
    )


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[Gateway]:
    """Takes captures of up to 1 MB, and clouds of up to 2 MB."""
    async with running_gateway(gateway_settings, access, store) as running:
        yield running


@pytest.fixture
async def large_gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[Gateway]:
    """Takes uploads that the store gets in several parts."""
    larger = gateway_settings.gateway.model_copy(update={"upload_limit_bytes": 64 << 20})
    async with running_gateway(gateway_settings.model_copy(update={"gateway": larger}), access, store) as running:
        yield running
