"""The bus goes away and comes back under a running gateway."""

import asyncio

import pytest

from runtime.access import Access
from runtime.object_store import ObjectStore
from runtime.settings import BusSettings, Settings
from tests.conftest import RestartableNats
from tests.services.gateway.running_gateway import running_gateway


@pytest.mark.slow
async def test_an_outage_is_a_503_and_ends_with_it(
    gateway_settings: Settings, access: Access, store: ObjectStore, restartable_nats: RestartableNats
) -> None:
    settings = gateway_settings.model_copy(update={"bus": BusSettings(url=restartable_nats.url)})
    async with running_gateway(settings, access, store) as gateway:
        job_id = (await gateway.job()).job.job_id
        dataset_id = await gateway.dataset()
        restartable_nats.kill()
        # What the gateway knows it still says.
        status, _ = await gateway.get(f"/api/v1/jobs/{job_id}/status")
        assert status == 200
        status, body = await gateway.post("/api/v1/process", {"dataset_id": dataset_id})
        assert (status, body["error"]) == (503, "Service Unavailable")
        restartable_nats.start()
        async with asyncio.timeout(30.0):
            while (await gateway.post("/api/v1/process", {"dataset_id": dataset_id}))[0] != 202:
                await asyncio.sleep(0.1)
        assert (await gateway.post(f"/api/v1/jobs/{job_id}/cancel"))[0] == 200
