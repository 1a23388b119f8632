"""Two gigabytes through a gateway process: its memory stays flat, and it keeps up with the store."""

from pathlib import Path

import pytest

from bench.upload import measure, table
from deploy.local.servers import NatsServer
from runtime.object_store import StoreAddress


@pytest.mark.slow
async def test_two_gigabytes_pass_in_bounded_memory(
    tmp_path: Path, nats_server: NatsServer, store_address: StoreAddress
) -> None:
    found = await measure(tmp_path, nats_server.url, store_address, 2 << 30)
    assert found.memory_peak_bytes < 250e6, table(found)
    assert found.ratio >= 0.5, table(found)
