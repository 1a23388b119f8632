"""How fast one notifier reaches everybody who watches a job.

A notifier in a process of its own, a NATS server, and listeners over loopback in this process. For each number of
listeners, updates are written one after the other; an update's time runs from before its write to its arrival at the
last listener. Run: `.venv/bin/python bench/sse.py`. It takes about half a minute and stops by itself.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.events import EventType
from contracts.identifiers import new_capture_job_id, new_dataset_id
from contracts.jobs import Job, JobKind, JobStatus, Progress
from deploy.local.ports import LOOPBACK, reserve_ports
from deploy.local.servers import NatsSettings, new_secret, spawn, start_nats
from runtime.access import create_access_file
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.settings import BusSettings

LISTENERS = (100, 500, 2000)
UPDATES = 10
LIMIT_S = 180.0
_PAUSE_S = 0.05
_CONNECTING_AT_ONCE = 100


class Listener:
    """One client: knows the last id that it has heard."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, job_id: str, api_key: str) -> "Listener":
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        head = f"GET /api/progress/{job_id}/stream HTTP/1.1\r\nHost: {LOOPBACK}\r\nX-API-Key: {api_key}\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"The notifier answered {status.decode().strip()}.")
        return cls(reader, writer)

    async def hear(self, sequence: int) -> float:
        """The moment at which the event with this id was complete."""
        wanted = f"id: {sequence}\n".encode()
        while await self._reader.readline() != wanted:
            if self._reader.at_eof():
                raise RuntimeError("The notifier closed a stream.")
        await self._reader.readuntil(b"\n\n")
        return time.perf_counter()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def running_notifier(folder: Path) -> AsyncIterator[tuple[JobLog, int, str, psutil.Process]]:
    """A bus and a notifier: the log to write to, the notifier's port, a key, and its process."""
    with reserve_ports(4) as reserved:
        nats_port, monitoring, port, ops_port = reserved.ports
        nats = start_nats(NatsSettings(folder / "nats", nats_port, monitoring, token=new_secret()))
        access_file = folder / "access.json"
        api_key = create_access_file(access_file, "bench").api_key
        environment = {
            "ALIDADE_BUS__URL": nats.url,
            "ALIDADE_ACCESS__FILE": str(access_file),
            "ALIDADE_NOTIFIER__PORT": str(port),
            "ALIDADE_OPS__PORT": str(ops_port),
        }
        process = spawn([sys.executable, "-m", "services.notifier"], folder / "notifier.log", environment)
        try:
            async with await Bus.connect(BusSettings(url=nats.url), "bench") as bus:
                await _until_listening(port)
                yield JobLog(bus, "bench"), port, api_key, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(20)
            nats.stop()


async def _until_listening(port: int) -> None:
    for _ in range(400):
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError("The notifier did not start.")


async def new_job(job_log: JobLog) -> Recorded:
    moment = now()
    return await job_log.create(
        Job(
            job_id=new_capture_job_id(),
            kind=JobKind.CAPTURE,
            owner="bench",
            status=JobStatus.PROCESSING,
            stage="sfm",
            request=CaptureRequest(dataset_id=new_dataset_id(), settings=CaptureSettings()),
            created_at=moment,
            updated_at=moment,
        )
    )


async def measure(job_log: JobLog, port: int, api_key: str, count: int) -> tuple[float, list[float]]:
    """Seconds until everybody was connected, and seconds until the last listener had each update."""
    last = await new_job(job_log)
    began = time.perf_counter()
    listeners: list[Listener] = []
    while len(listeners) < count:
        batch = min(_CONNECTING_AT_ONCE, count - len(listeners))
        listeners += await asyncio.gather(*(Listener.connect(port, last.job.job_id, api_key) for _ in range(batch)))
    await asyncio.gather(*(listener.hear(last.sequence) for listener in listeners))
    connected_s = time.perf_counter() - began
    times_s = []
    for number in range(UPDATES):
        await asyncio.sleep(_PAUSE_S)
        progress = Progress(percent=number, step="matching", operation="pairs", processed_items=number, total_items=9)
        began = time.perf_counter()
        last = await job_log.write(last, EventType.PROGRESSED, last.job.changed(now(), progress=progress))
        times_s.append(max(await asyncio.gather(*(listener.hear(last.sequence) for listener in listeners))) - began)
    for listener in listeners:
        listener.close()
    return connected_s, times_s


async def main() -> None:
    print(f"{'listeners':>9}  {'connected':>10}  {'median':>9}  {'worst':>9}  {'notifier':>9}")
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as folder:
        async with asyncio.timeout(LIMIT_S), running_notifier(Path(folder)) as (job_log, port, api_key, process):
            figure_s = 0.0
            for count in LISTENERS:
                connected_s, times_s = await measure(job_log, port, api_key, count)
                memory_mib = process.memory_info().rss / (1 << 20)
                figure_s = statistics.median(times_s)
                print(
                    f"{count:>9}  {connected_s:>8.2f} s  {figure_s * 1e3:>6.0f} ms  {max(times_s) * 1e3:>6.0f} ms"
                    f"  {memory_mib:>5.0f} MiB"
                )
    print(f"{figure_s * 1e3:.0f} ms until the last of {LISTENERS[-1]} listeners has an update")


if __name__ == "__main__":
    asyncio.run(main())
