"""The state folder of `alidade up`, and what a run that was killed leaves in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from deploy.local import state as state_module
from deploy.local.state import Running, StateFolder
from runtime.access import hash_api_key, read_access_file

RUNNING = Running(pid=1, url="http://127.0.0.1:8000", remap_url=None, services={"gateway": 2})


def test_what_a_killed_run_said_of_itself_is_not_repeated(tmp_path: Path) -> None:
    StateFolder(tmp_path).write_running(RUNNING)
    starting, second = StateFolder(tmp_path), StateFolder(tmp_path)
    assert starting.lock()
    assert not second.lock()
    assert second.read_running() is None, "nothing is running yet"
    starting.write_running(RUNNING)
    assert second.read_running() == RUNNING


def test_what_a_killed_run_had_started_is_waited_for(tmp_path: Path) -> None:
    killed = StateFolder(tmp_path)
    lock = killed.family_lock(0.0)
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(lock,))
    with server:
        assert server.stdout is not None
        server.stdout.readline()
        os.close(lock)
        with pytest.raises(ConfigurationError, match=r"is still running after 0\.2 s"):
            StateFolder(tmp_path).family_lock(0.2)
        server.communicate(b"")
    os.close(StateFolder(tmp_path).family_lock(20.0))


@pytest.mark.parametrize("crash_before", ["write_private", "replace"])
def test_credentials_are_whole_wherever_their_making_is_cut_off(tmp_path: Path, monkeypatch, crash_before: str) -> None:
    class PowerCut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        if crash_before == "write_private":
            patched.setattr(state_module, "write_private", cut)
        else:
            patched.setattr(Path, "replace", _cut_at_access_file(Path.replace, cut))
        with pytest.raises(PowerCut):
            StateFolder(tmp_path).credentials("http://127.0.0.1:8000")
    credentials, _ = StateFolder(tmp_path).credentials("http://127.0.0.1:8001")
    access = read_access_file(tmp_path / "access.json")
    assert credentials.url == "http://127.0.0.1:8001"
    assert access.keys[0].sha256 == hash_api_key(credentials.api_key)
    assert sorted(path.name for path in tmp_path.glob("access*")) == ["access.json"]


def _cut_at_access_file(replace, cut):
    def replacing(self: Path, target: Path) -> Path:
        if Path(target).name == "access.json":
            cut()
        return replace(self, target)

    return replacing
