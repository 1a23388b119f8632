"""The notifier as it is run: what keeps it from starting is said in a sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK
from runtime.access import create_access_file
from runtime.settings import CONFIG_VARIABLE


def start(nats_url: str, access_file: Path, settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    own = {"ALIDADE_BUS__URL": nats_url, "ALIDADE_ACCESS__FILE": str(access_file), "ALIDADE_NOTIFIER__PORT": "0"}
    return subprocess.run(
        [sys.executable, "-m", "services.notifier"],
        check=False,
        env=inherited | own | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("setting", ["ALIDADE_NOTIFIER__PORT", "ALIDADE_OPS__PORT"])
def test_a_taken_port_is_said_in_a_sentence(nats_url: str, tmp_path: Path, setting: str) -> None:
    create_access_file(tmp_path / "access.json")
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        done = start(nats_url, tmp_path / "access.json", {setting: str(port)})
    assert done.returncode == 1
    assert f"Port {port} on {LOOPBACK}" in done.stderr
    assert setting in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_access_file_is_said_in_a_sentence(nats_url: str, tmp_path: Path) -> None:
    done = start(nats_url, tmp_path / "access.json", {})
    assert done.returncode == 1
    assert "access.json" in done.stderr
    assert "Traceback" not in done.stderr
