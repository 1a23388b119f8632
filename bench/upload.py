"""How fast an upload passes through the gateway, against the object store's own put, and what memory it takes.

    python bench/upload.py [--size-mb 2048]

Starts its own NATS server, object store and gateway process. Ends with one figure: the gateway's throughput as a share
of what the same object store takes directly, from the same machine in the same run.
"""

import argparse
import asyncio
import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from contracts import subjects
from contracts.errors import DependencyUnavailable
from contracts.jobs import JobKind
from contracts.uploads import Inspection
from deploy.local.ports import LOOPBACK, reserve_ports
from deploy.local.servers import NatsSettings, WeedSettings, new_secret, start_nats, start_weed
from runtime.access import create_access_file
from runtime.bus import Bus
from runtime.object_store import ObjectStore, StoreAddress
from runtime.settings import BusSettings

BLOCK_BYTES = 1 << 20
BOUNDARY = "alidade-bench"
_SAMPLE_S = 0.02
_READY_S = 30.0
_MB = 1e6


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway in a process of its own, on the loopback address. `stderr` is the file that its log goes to."""

    process: "subprocess.Popen[bytes]"
    port: int
    remap_port: int
    ops_port: int
    stderr: Path

    def stop(self) -> int:
        """Tell it to stop; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30.0)


@contextlib.contextmanager
def gateway_process(folder: Path, nats_url: str, store: StoreAddress) -> Iterator[GatewayProcess]:
    """A running gateway that keeps its access file in `folder`. Raises DependencyUnavailable if it does not start."""
    with reserve_ports(3) as reserved:
        port, remap_port, ops_port = reserved.ports
        environment = os.environ | {
            "ALIDADE_BUS__URL": nats_url,
            "ALIDADE_STORE__ENDPOINT_URL": store.endpoint_url,
            "ALIDADE_STORE__ACCESS_KEY": store.access_key,
            "ALIDADE_STORE__SECRET_KEY": store.secret_key,
            "ALIDADE_STORE__BUCKET": store.bucket,
            "ALIDADE_ACCESS__FILE": str(folder / "access.json"),
            "ALIDADE_GATEWAY__PORT": str(port),
            "ALIDADE_GATEWAY__REMAP_PORT": str(remap_port),
            "ALIDADE_OPS__PORT": str(ops_port),
        }
        log = folder / "gateway.log"
        root = Path(__file__).parent.parent
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway"], cwd=root, env=environment, stderr=stderr
            )
        try:
            _wait_until_ready(process, ops_port, log)
            yield GatewayProcess(process, port, remap_port, ops_port, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", ops_port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if fetch_status(ops_port, "/readyz") == 200:
                return
        time.sleep(_SAMPLE_S)
    raise DependencyUnavailable(f"The gateway did not start. Its log ends: {log.read_text()[-2000:]}")


def fetch_status(port: int, path: str) -> int:
    """The status of a GET on the loopback address. Raises OSError if nobody listens."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


class PeakMemory:
    """The largest resident set of a process while the `with` block runs, in bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before_bytes = self._process.memory_info().rss
        self.peak_bytes = self.before_bytes

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


@dataclass(frozen=True)
class Measurement:
    """One run. Speeds in bytes per second."""

    size_bytes: int
    put_speed: float
    upload_speed: float
    memory_before_bytes: int
    memory_peak_bytes: int

    @property
    def ratio(self) -> float:
        return self.upload_speed / self.put_speed


async def measure(folder: Path, nats_url: str, store_address: StoreAddress, size_bytes: int) -> Measurement:
    """Put `size_bytes` into the store directly and send as many through a gateway of its own.

    Half of the puts come before the upload and half after it, so that a machine that gets busier favours neither. The inspection is answered at once: it is not the gateway's work. The bytes are random, so that nobody compresses.
    """
    block = random.Random(7).randbytes(BLOCK_BYTES)
    credentials = create_access_file(folder / "access.json")
    async with ObjectStore(store_address) as store, await Bus.connect(BusSettings(url=nats_url), "bench") as bus:
        await store.ensure_bucket()

        async def accept(_: bytes) -> bytes:
            return Inspection(files=("rgb.mp4",)).model_dump_json().encode()

        subscription = await bus.answer(subjects.inspect(JobKind.CAPTURE), "ingest", accept)
        with gateway_process(folder, nats_url, store_address) as gateway:
            put_s = await _put(store, block, size_bytes // 2)
            with PeakMemory(gateway.process.pid) as memory:
                upload_s = await asyncio.to_thread(_upload, gateway.port, credentials.api_key, block, size_bytes)
            put_s += await _put(store, block, size_bytes // 2)
        await subscription.unsubscribe()
        await store.delete_prefix("uploads/")
    return Measurement(size_bytes, size_bytes / put_s, size_bytes / upload_s, memory.before_bytes, memory.peak_bytes)


async def _put(store: ObjectStore, block: bytes, size_bytes: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    async with store.upload("bench/put") as upload:
        for _ in range(size_bytes // BLOCK_BYTES):
            await upload.write(block)
    seconds = time.perf_counter() - began
    await store.delete("bench/put")
    return seconds


def _upload(port: int, api_key: str, block: bytes, size_bytes: int) -> float:
    """Seconds."""
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="capture.zip"\r\n'
        "Content-Type: application/zip\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size_bytes // BLOCK_BYTES):
            yield block
        yield tail

    headers = {
        "Authorization": f"Bearer {api_key}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + size_bytes + len(tail)),
    }
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=300.0)
    began = time.perf_counter()
    connection.request("POST", "/api/v1/upload", body=body(), headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    seconds = time.perf_counter() - began
    connection.close()
    if answer.status != 201:
        raise DependencyUnavailable(f"The gateway answered {answer.status}: {text}")
    return seconds


def table(found: Measurement) -> str:
    """The measurement for people to read."""
    rows = [
        ("", "MB/s"),
        ("object store, direct put", f"{found.put_speed / _MB:.0f}"),
        ("through the gateway", f"{found.upload_speed / _MB:.0f}"),
        ("", "MB"),
        ("sent", f"{found.size_bytes / _MB:.0f}"),
        ("gateway's memory before", f"{found.memory_before_bytes / _MB:.0f}"),
        ("gateway's memory at most", f"{found.memory_peak_bytes / _MB:.0f}"),
    ]
    return "\n".join(f"{name:<28}{value:>8}" for name, value in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput and memory of an upload through the gateway.")
    parser.add_argument("--size-mb", type=int, default=2048, help="how much is sent, in MiB (default 2048)")
    size_bytes = parser.parse_args().size_mb * BLOCK_BYTES
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as name, reserve_ports(7) as reserved:
        folder = Path(name)
        nats_port, monitoring_port, s3, master, volume, filer, admin = reserved.ports
        nats = start_nats(NatsSettings(folder / "nats", nats_port, monitoring_port, token=new_secret()))
        weed = start_weed(
            WeedSettings(
                folder=folder / "store",
                s3_port=s3,
                master_port=master,
                volume_port=volume,
                filer_port=filer,
                admin_port=admin,
                access_key=new_secret(),
                secret_key=new_secret(),
                bucket="alidade",
            )
        )
        try:
            found = asyncio.run(measure(folder, nats.url, weed.address, size_bytes))
        finally:
            weed.kill()
            nats.kill()
    print(table(found))
    print(f"gateway / direct put: {found.ratio:.2f}")


if __name__ == "__main__":
    main()
