"""The Cloud2BIM document's own clients, character by character, against gateway and notifier; a worker is played here.

What they are run with besides is only what they leave to whoever uses them: the address, the files, a browser.
"""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from nats.aio.msg import Msg

from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.jobs import Failure, JobKind, JobStatus, Performance, Progress
from contracts.pipelines import BUILDING
from contracts.subjects import job_event
from runtime.access import Access
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, parse_event
from runtime.job_view import JobView
from runtime.metrics import SSE_CLIENTS
from runtime.object_store import ObjectStore
from runtime.settings import NotifierSettings, Settings
from services.notifier.app import Parts, build_app
from services.notifier.streams import OpenStreams
from tests.services.gateway.running_gateway import Gateway, running_gateway

CLIENTS = Path(__file__).parents[2] / "e2e" / "cloud2bim_clients"
IN_TIME_S = 60.0
MODEL = b"ISO-10303-21;\nEND-ISO-10303-21;\n"
MAPPING = b'{"total_points": 4, "mapped_points": 0, "elements": []}'
LINES = ["2", "2", "0 0 0", "1 0 0", "0 1 0", "0 0 1", "1 0 0 0", "0 1 0 0", "0 0 1 0", "0 0 0 1"]
SCAN = "\n".join([*LINES, *(f"{n} 0 0 0.5" for n in range(4)), ""])
UUID = "[0-9a-f]{8}-[0-9a-f-]{27}"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


class PlayedWorker:
    """Takes every new building job through all steps to its end."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()
        self.waits_for_listener = False
        self.failure: Failure | None = None

    async def hear(self, message: Msg) -> None:
        job_id = parse_event(message.data).data.job.job_id
        self._tasks.add(asyncio.create_task(self._work(job_id, SSE_CLIENTS._value.get())))

    async def done(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _work(self, job_id: str, listeners_before: float) -> None:
        while self.waits_for_listener and SSE_CLIENTS._value.get() == listeners_before:
            await asyncio.sleep(0.01)
        gateway = self._gateway
        # What is heard may not be stored yet.
        while (last := await gateway.parts.job_log.read(job_id)) is None:
            await asyncio.sleep(0.01)
        for stage in BUILDING.stages:
            for step in stage.steps:
                last = await gateway.change(
                    last,
                    EventType.PROGRESSED,
                    status=JobStatus.PROCESSING,
                    started_at=last.job.started_at or now(),
                    progress=Progress(
                        percent=(step.from_percent + step.to_percent) / 2,
                        step=step.name,
                        processed_items=15_000,
                        total_items=30_000,
                        items_per_s=15_000.0,
                        remaining_s=1.0,
                    ),
                    performance=Performance(cpu_percent=78.5, memory_percent=42.1, memory_used_mb=1024),
                )
        if self.failure is not None:
            await gateway.change(last, EventType.FAILED, status=JobStatus.FAILED, error=self.failure, performance=None)
            return
        files = {
            "model.ifc": (MODEL, "application/x-step"),
            "point_mapping.json": (MAPPING, "application/json"),
        }
        await gateway.completed_building(last, files)


@dataclass(frozen=True)
class Bench:
    """A folder with the files that the document's clients name, and a system to run them against."""

    gateway: Gateway
    worker: PlayedWorker
    folder: Path

    def text(self, name: str) -> str:
        """A code block of the document with this system's address in it."""
        written = (CLIENTS / name).read_text(encoding="utf-8")
        return written.replace("http://localhost:8000", self.gateway.url).replace(
            "http://your-server:8000", self.gateway.url
        )

    async def run(self, *command: str) -> tuple[int, str]:
        """Exit status, and stdout and stderr together."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=os.environ | {"BASE_URL": self.gateway.url, "API_KEY": self.gateway.api_key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(IN_TIME_S):
            printed, _ = await process.communicate()
            await self.worker.done()
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def finished(self, job_id: str) -> None:
        """Wait for a job's end: the worker hears of jobs a moment after their submission is answered."""
        async with asyncio.timeout(IN_TIME_S):
            while (recorded := await self.gateway.parts.view.find(job_id)) is None or not recorded.job.status.is_final:
                await asyncio.sleep(0.01)

    async def python(self, client: str, then: str = "") -> tuple[int, str]:
        (self.folder / "program.py").write_text(self.text(client) + then)
        return await self.run(sys.executable, "program.py")

    async def node(self, client: str, then: str = "") -> tuple[int, str]:
        shutil.copy(CLIENTS / "browser.mjs", self.folder)
        program = 'import "./browser.mjs";\n' + self.text(client) + then
        (self.folder / "program.mjs").write_text(program)
        return await self.run("node", "program.mjs")


@asynccontextmanager
async def running_streams(settings: Settings, access: Access) -> AsyncIterator[str]:
    """A notifier with the gateway's own access file; yields its address."""
    async with await Bus.connect(settings.bus, "notifier-test") as bus:
        job_log = JobLog(bus, "notifier")
        async with JobView(bus, job_log) as view, OpenStreams(5.0) as streams:
            app = build_app(Parts(NotifierSettings(), access, bus, job_log, view, streams))
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=2)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            await runner.cleanup()


@pytest.fixture
async def bench(gateway_settings: Settings, access: Access, store: ObjectStore, tmp_path: Path) -> AsyncIterator[Bench]:
    shutil.copy(CLIENTS / "config.yaml", tmp_path)
    for name in ("scan.ptx", "building_scan.ptx"):
        (tmp_path / name).write_text(SCAN)
    (tmp_path / "output").mkdir()
    async with running_streams(gateway_settings, access) as notifier_url:
        redirected = gateway_settings.gateway.model_copy(update={"notifier_url": notifier_url})
        settings = gateway_settings.model_copy(update={"gateway": redirected})
        async with running_gateway(settings, access, store) as gateway:
            worker = PlayedWorker(gateway)
            created = job_event(JobKind.BUILDING, "*", EventType.CREATED)
            subscription = await gateway.parts.bus.listen(created, worker.hear)
            yield Bench(gateway, worker, tmp_path)
            await subscription.unsubscribe()
            await gateway.parts.bus.jetstream.purge_stream("WORK")


async def test_the_first_python_client_listens_and_downloads(bench: Bench) -> None:
    bench.worker.waits_for_listener = True
    status, printed = await bench.python("python_client.py.txt")
    assert status == 0, printed
    assert re.search(f"^Job submitted: {UUID}$", printed, re.MULTILINE)
    assert "Progress: 55% - Detecting walls and openings" in printed
    assert "Progress: 100% - Job completed" in printed
    assert "Status:" not in printed, "it fell back to polling"
    assert re.search(r"^Conversion complete! IFC: results/.*_model\.ifc$", printed, re.MULTILINE)
    (model,) = (bench.folder / "results").glob("*_model.ifc")
    (mapping,) = (bench.folder / "results").glob("*_mapping.json")
    assert (model.read_bytes(), mapping.read_bytes()) == (MODEL, MAPPING)


async def test_the_first_python_client_tells_why_a_job_failed(bench: Bench) -> None:
    bench.worker.failure = Failure(code=ErrorCode.INVALID_CLOUD, message="building_scan.ptx holds a single plane.")
    status, printed = await bench.python("python_client.py.txt")
    assert status == 1
    # Told by the stream first; then it polls, as it does after every exception.
    assert "Exception: Job failed\n" in printed
    assert "Exception: Job failed: building_scan.ptx holds a single plane." in printed


async def test_the_short_python_example_gets_an_id(bench: Bench) -> None:
    status, printed = await bench.python("convert.py.txt", "\nprint(job_id)\n")
    assert status == 0, printed
    assert re.fullmatch(UUID, printed.strip())


SDK_WORKFLOW = """
import os
sdk = Cloud2BIMSDK(base_url=os.environ["BASE_URL"] + "/", api_key=os.environ["API_KEY"])
job_id = sdk.submit_job("scan.ptx", "config.yaml")
final = sdk.wait_for_completion(job_id, lambda status: print(status["progress"], status["stage"]), poll_interval=1)
print(final["status"], final["message"])
sdk.download_results(job_id, "./output")
try:
    Cloud2BIMSDK(base_url=os.environ["BASE_URL"]).get_job_status(job_id)
except Cloud2BIMError as error:
    print(error)
"""


async def test_the_python_sdk_submits_with_its_key_waits_and_downloads(bench: Bench) -> None:
    sdk = (CLIENTS / "python_sdk.py.txt").read_text().partition("# Usage example")[0]
    (bench.folder / "program.py").write_text(sdk + SDK_WORKFLOW)
    status, printed = await bench.run(sys.executable, "program.py")
    assert status == 0, printed
    assert "completed Job completed" in printed
    assert "100 finalizing" in printed
    assert "404 Client Error" in printed, "its job is nobody else's"
    assert (bench.folder / "output" / "model.ifc").read_bytes() == MODEL
    assert (bench.folder / "output" / "point_mapping.json").read_bytes() == MAPPING


async def test_the_batch_example_runs_every_job(bench: Bench) -> None:
    sdk = bench.text("python_sdk.py.txt").partition("# Usage example")[0]
    then = bench.text("batch.py.txt") + '\nprocess_batch([("scan.ptx", "config.yaml")] * 2, "./output")\n'
    # It leaves an import to its reader, and pauses for five seconds even after its last job.
    (bench.folder / "program.py").write_text("import os\n" + sdk + then)
    status, printed = await bench.run(sys.executable, "program.py")
    assert status == 0, printed
    assert printed.count("Completed: scan.ptx") == 2
    assert len(list((bench.folder / "output").glob("*/model.ifc"))) == 2


async def test_the_safe_call_of_the_document_knows_our_errors(bench: Bench) -> None:
    then = (
        "\nprint(safe_api_call(f'{base}/status/550e8400-e29b-41d4-a716-446655440000'))"
        "\nprint(safe_api_call(f'{base}/')['version'])"
        "\nprint(safe_api_call(f'{base}/submit'))\n"
    ).replace("{base}", bench.gateway.url)
    status, printed = await bench.python("safe_api_call.py.txt", then)
    assert (status, printed.splitlines()) == (0, ["Job not found", "None", "1.0.0", "HTTP error: 405", "None"])


@needs_node
async def test_the_first_javascript_client_listens_and_downloads(bench: Bench) -> None:
    bench.worker.waits_for_listener = True
    status, printed = await bench.node("javascript_client.mjs.txt")
    assert status == 0, printed
    assert "55% - Detecting walls and openings" in printed
    assert printed.splitlines()[-2:] == ["100% - Job completed", "Job completed!"]
    assert "Error" not in printed


@needs_node
async def test_the_first_javascript_client_is_told_of_a_failure_once(bench: Bench) -> None:
    bench.worker.failure = Failure(code=ErrorCode.INVALID_CLOUD, message="A single plane.")
    status, printed = await bench.node("javascript_client.mjs.txt")
    assert status == 0, printed
    assert printed.splitlines().count("Error: Job failed") == 1
    assert "SSE connection failed" not in printed


@needs_node
async def test_the_javascript_sdk_streams_and_downloads(bench: Bench) -> None:
    bench.worker.waits_for_listener = True
    status, printed = await bench.node("javascript_sdk.mjs.txt", "\nawait main();\n")
    assert status == 0, printed
    assert "Progress: 55%" in printed
    assert printed.splitlines()[-2:] == [
        "model.ifc: blob",
        "Point mapping: { total_points: 4, mapped_points: 0, elements: [] }",
    ]
    assert "rror" not in printed


LISTENERS = """
await new Promise((closed) => {
    for (const name of ["progress", "complete", "error"]) {
        eventSource.addEventListener(name, (event) => {
            if (event.data) console.log(`${name} ${event.lastEventId} ${JSON.parse(event.data).status}`);
            if (name !== "progress") closed();
        });
    }
});
eventSource.close();
"""


@needs_node
async def test_both_kinds_of_listeners_hear_the_same(bench: Bench) -> None:
    bench.worker.waits_for_listener = True
    recorded = await bench.gateway.building_job("anonymous")
    written = bench.text("stream.mjs.txt").replace("550e8400-e29b-41d4-a716-446655440000", recorded.job.job_id)
    shutil.copy(CLIENTS / "browser.mjs", bench.folder)
    (bench.folder / "program.mjs").write_text('import "./browser.mjs";\n' + written + LISTENERS)
    status, printed = await bench.run("node", "program.mjs")
    assert status == 0, printed
    assert "Stage: Detecting walls and openings" in printed
    assert printed.count("Progress:") == len(re.findall(r"^(?:progress|complete) \d+ ", printed, re.MULTILINE))
    assert re.search(r"^complete \d+ completed$", printed, re.MULTILINE)
    assert "error" not in printed.lower()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_curl_commands_run_as_written(bench: Bench) -> None:
    commands = bench.text("curl.txt").split("\n\n")
    assert len(commands) == 4
    for command in commands[:2]:
        status, printed = await bench.run("bash", "-c", command.replace("curl ", "curl -s "))
        found = re.search(UUID, printed)
        assert (status, found is not None) == (0, True), printed
    assert found is not None
    await bench.finished(found[0])
    for command in commands[2:]:
        spoken = command.replace("550e8400-e29b-41d4-a716-446655440000", found[0]).replace("curl ", "curl -s ")
        status, printed = await bench.run("bash", "-c", spoken)
        assert status == 0, printed
    assert (bench.folder / "model.ifc").read_bytes() == MODEL
