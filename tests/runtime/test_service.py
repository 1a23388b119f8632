"""How a service begins and ends: exit codes, sentences instead of tracebacks, readiness."""

import socket
from contextlib import AsyncExitStack

import aiohttp
import pytest

from contracts.errors import ConfigurationError, DependencyUnavailable
from deploy.local.ports import LOOPBACK, reserve_ports
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.service import bus_check, serve_ops, store_address, taking_port, view_check
from runtime.settings import BusSettings, OpsSettings, StoreSettings


def test_a_taken_port_is_said_in_a_sentence_that_names_the_setting() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"Port {port} on {LOOPBACK} .* ALIDADE_X__PORT"),
            taking_port(LOOPBACK, port, "ALIDADE_X__PORT"),
        ):
            socket.create_server((LOOPBACK, port))


async def test_readiness_is_served_until_the_stack_closes() -> None:
    answers = True

    async def check() -> None:
        if not answers:
            raise DependencyUnavailable("It is silent.")

    with reserve_ports(1) as reserved:
        (port,) = reserved.ports
        settings = OpsSettings(host=LOOPBACK, port=port)
        url = f"http://{LOOPBACK}:{port}/readyz"
        async with aiohttp.ClientSession() as client:
            async with AsyncExitStack() as stack:
                await serve_ops(stack, settings, {"it": check})
                async with client.get(url) as answer:
                    assert (answer.status, (await answer.json())["status"]) == (200, "ready")
                answers = False
                async with client.get(url) as answer:
                    assert (answer.status, (await answer.json())["problems"]) == (503, {"it": "It is silent."})
                async with AsyncExitStack() as other:
                    with pytest.raises(ConfigurationError, match="ALIDADE_OPS__PORT"):
                        await serve_ops(other, settings, {})
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get(url)


async def test_bus_and_view_are_checked(nats_url: str) -> None:
    async with await Bus.connect(BusSettings(url=nats_url), "test") as bus, JobView(bus, JobLog(bus, "test")) as view:
        await bus_check(bus)()
        await view_check(view)()
        await bus.close()
        for check in (bus_check(bus), view_check(view)):
            with pytest.raises(DependencyUnavailable):
                await check()


def test_the_stores_address_is_its_settings() -> None:
    address = store_address(StoreSettings(endpoint_url="http://s:1", secret_key="s", bucket="b", region="r"))
    assert (address.endpoint_url, address.access_key, address.secret_key) == ("http://s:1", "alidade", "s")
    assert (address.bucket, address.region) == ("b", "r")
