"""What doctor finds, and the mending that it names."""

import json
import socket
from pathlib import Path

import pytest

from client.doctor import (
    Grade,
    disk_space,
    how_to_mend,
    imports,
    memory,
    port_free,
    program_present,
    python_version,
)


def test_modules_are_really_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_gl.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    (tmp_path / "dies.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wanted = {
        "good": {"json": "json"},
        "absent": {"json": "json", "no_such_module": "no-such-package"},
        "library": {"needs_gl": "opencv-python-headless"},
        "dead": {"dies": "dies"},
    }
    good, absent, library, dead = imports(wanted)
    assert (good.grade, good.mend) == (Grade.OK, "")
    assert (absent.grade, absent.mend) == (Grade.MISSING, "pip install no-such-package")
    assert "no_such_module" in absent.found
    assert library.mend == "apt-get install libgl1"
    assert "died" in dead.found


def test_an_unknown_system_library_is_named() -> None:
    reason = {"x": "ImportError: libfancy.so.3: cannot open shared object file"}
    assert how_to_mend("sfm", {"x": "x"}, reason) == "install the system library libfancy.so.3"


def test_a_taken_port_is_told_from_our_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port_free(port, "--port", tmp_path).mend == "alidade up --port 0 takes a free port"
        (tmp_path / "running.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}))
        assert port_free(port, "--port", tmp_path).grade is Grade.OK
    assert port_free(port, "--port", tmp_path).found == "free"


@pytest.mark.parametrize(("kilobytes", "grade"), [(1 << 20, "missing"), (4 << 20, "warning"), (16 << 20, "ok")])
def test_memory_is_judged(tmp_path: Path, kilobytes: int, grade: str) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {kilobytes} kB\n")
    assert memory(tmp_path / "meminfo").grade.value == grade


def test_memory_may_be_unknown(tmp_path: Path) -> None:
    assert memory(tmp_path / "none").grade is Grade.WARNING


def test_the_disk_is_that_of_the_folder_to_be_made(tmp_path: Path) -> None:
    assert disk_space(tmp_path / "a" / "b").name == f"disk at {tmp_path}"


def test_an_old_python_and_a_missing_program_are_missing() -> None:
    assert python_version((3, 10)).grade is Grade.MISSING
    assert python_version((3, 14)).grade is Grade.OK
    assert program_present("no-such-program", "some-bin").mend == "pip install some-bin"
