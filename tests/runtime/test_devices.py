"""What a worker says it computes on. NVIDIA's library is stood in for, since most machines have no driver."""

import sys
import types
from dataclasses import dataclass

import pytest

from contracts import subjects
from contracts.devices import Gpu, WorkerDevice
from runtime.bus import Bus
from runtime.devices import describe, find_gpu
from runtime.settings import BusSettings, GpuSettings, Settings
from runtime.worker_service import answer_device

GIB = 1 << 30
CARD = Gpu(
    name="NVIDIA A100", driver_version="535.129.03", memory_total_gb=40.0, memory_free_gb=38.5, memory_used_gb=1.5
)


class NVMLError(Exception):
    pass


@dataclass(frozen=True)
class Memory:
    total: int = 40 * GIB
    free: int = 38 * GIB + GIB // 2
    used: int = GIB + GIB // 2


class Driver(types.ModuleType):
    """The calls of pynvml that are used. `broken` names one that fails."""

    NVMLError = NVMLError

    def __init__(self, *, count: int = 2, broken: str | None = None, name: str | bytes = "NVIDIA A100") -> None:
        super().__init__("pynvml")
        self.asked: list[int | str] = []
        self.shut_down = 0
        self._count = count
        self._broken = broken
        self._name = name

    def _call(self, name: str) -> None:
        if name == self._broken:
            raise NVMLError(name)

    def nvmlInit(self) -> None:
        self._call("nvmlInit")

    def nvmlShutdown(self) -> None:
        self.shut_down += 1

    def nvmlDeviceGetCount(self) -> int:
        return self._count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: int | str) -> Memory:
        self._call("nvmlDeviceGetMemoryInfo")
        return Memory()

    def nvmlDeviceGetName(self, handle: int | str) -> str | bytes:
        return self._name

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        return b"535.129.03" if isinstance(self._name, bytes) else "535.129.03"


@pytest.fixture(autouse=True)
def every_card_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def drive(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


@pytest.mark.parametrize("name", ["NVIDIA A100", b"NVIDIA A100"])
def test_the_first_card_is_described_as_its_driver_does(monkeypatch: pytest.MonkeyPatch, name: str | bytes) -> None:
    driver = drive(monkeypatch, Driver(name=name))
    assert find_gpu() == CARD
    assert (driver.asked, driver.shut_down) == ([0], 1)


@pytest.mark.parametrize(
    ("visible", "asked", "found"),
    [
        ("1", [1], True),
        ("GPU-8f2,0", ["GPU-8f2"], True),
        ("7", [], False),
        ("", [], False),
        ("-1", [], False),
    ],
)
def test_the_card_that_cuda_would_use_is_described(
    monkeypatch: pytest.MonkeyPatch, visible: str, asked: list[int | str], found: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = drive(monkeypatch, Driver())
    assert (find_gpu() is not None) == found
    assert (driver.asked, driver.shut_down) == (asked, 1)


@pytest.mark.parametrize(("broken", "shut_down"), [("nvmlInit", 0), ("nvmlDeviceGetMemoryInfo", 1)])
def test_a_driver_that_does_not_answer_is_no_card(monkeypatch: pytest.MonkeyPatch, broken: str, shut_down: int) -> None:
    driver = drive(monkeypatch, Driver(broken=broken))
    assert find_gpu() is None
    assert driver.shut_down == shut_down


def test_a_machine_without_cards_or_without_the_package_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, Driver(count=0))
    assert find_gpu() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    assert find_gpu() is None


def test_a_worker_is_ready_unless_it_misses_a_card_that_it_must_have() -> None:
    assert describe("mesh", None, gpu_required=False).ready
    assert not describe("mesh", None, gpu_required=True).ready
    on_card = describe("mesh", CARD, gpu_required=True, models=("reconviagen",))
    assert on_card.ready
    assert on_card.device == "NVIDIA A100 (40.0 GB)"
    assert on_card.models == ("reconviagen",)
    assert describe("mesh", None, gpu_required=False).device.startswith("CPU (")


async def test_a_worker_answers_over_the_bus(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, Driver())
    settings = Settings(gpu=GpuSettings(required=True))
    async with await Bus.connect(BusSettings(url=nats_url), "mesh") as bus:
        await answer_device(bus, "mesh", settings, lambda gpu: (gpu.name,) if gpu else ())
        answer = await bus.request(subjects.device("mesh"), b"", timeout_s=10)
    said = WorkerDevice.model_validate_json(answer)
    assert said == describe("mesh", CARD, gpu_required=True, models=("NVIDIA A100",))
