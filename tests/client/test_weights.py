"""`alidade weights` against a server of files on this machine."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.commands import app
from contracts.weights import RECORD_NAME, WEIGHTS, file_key, read_record

KEY = "disk_lightglue/disk_lightglue.pth"
runner = CliRunner()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder that the server serves."""
    folder = tmp_path / "source"
    for entry in WEIGHTS:
        for file in entry.files:
            path = folder / file_key(entry, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"parameters of {entry.name}".encode() * 1000)
    return folder


@pytest.fixture
def mirror(source: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(source)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def said(*arguments: str, exit_code: int = 0) -> list[dict[str, object]]:
    done = runner.invoke(app, ["weights", *arguments, "--json"])
    assert done.exit_code == exit_code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_pulled_is_there_recorded_and_not_fetched_again(tmp_path: Path, source: Path, mirror: str) -> None:
    folder = str(tmp_path / "weights")
    lines = said("pull", "disk+lightglue", "--folder", folder, "--mirror", mirror)
    assert lines[-1]["state"] == "as recorded" and lines[-1]["name"] == "disk_lightglue"
    assert [line["event"] for line in lines[:-1]] == ["fetch"] * (len(lines) - 1) and len(lines) > 1
    assert (tmp_path / "weights" / KEY).read_bytes() == (source / KEY).read_bytes()
    assert list(read_record(tmp_path / "weights").digests) == [KEY]
    (source / KEY).unlink()
    assert [line["event"] for line in said("pull", "disk+lightglue", "--folder", folder, "--mirror", mirror)] == [
        "weights"
    ]


def test_another_file_than_the_first_is_thrown_away(tmp_path: Path, source: Path, mirror: str) -> None:
    folder = tmp_path / "weights"
    said("pull", "disk+lightglue", "--folder", str(folder), "--mirror", mirror)
    (folder / KEY).unlink()
    (source / KEY).write_bytes(b"swapped")
    (error,) = [line for line in said("pull", "disk+lightglue", "--folder", str(folder), "--mirror", mirror, exit_code=2) if line["event"] == "error"]  # fmt: skip
    assert error["code"] == "FILE_UNUSABLE" and KEY in str(error["message"])
    assert list((folder / "disk_lightglue").iterdir()) == []


def test_what_the_catalogue_knows_must_be_that(tmp_path: Path, mirror: str) -> None:
    folder = tmp_path / "weights"
    lines = said("pull", "aliked-n16", "--folder", str(folder), "--mirror", mirror, exit_code=2)
    assert lines[-1]["code"] == "FILE_UNUSABLE"
    assert not (folder / "aliked-n16" / "aliked-n16.pth").exists()


def test_a_licence_against_commercial_use_is_shown_and_must_be_agreed_to(tmp_path: Path, mirror: str) -> None:
    folder = tmp_path / "weights"
    arguments = ["weights", "pull", "superpoint_aachen", "disk+lightglue", "--folder", str(folder), "--mirror", mirror]
    # Standard input is no terminal here: nobody can agree.
    refused = runner.invoke(app, arguments)
    assert refused.exit_code == 2
    assert "non-commercial" in refused.stderr and "SuperPointPretrainedNetwork" in refused.stderr
    assert "--accept-non-commercial" in refused.stderr
    assert not folder.exists()
    agreed = runner.invoke(app, [*arguments, "--accept-non-commercial"])
    assert agreed.exit_code == 0
    assert (folder / "superpoint" / "model.safetensors").exists() and (folder / KEY).exists()


def test_list_shows_everything_with_its_licence_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    lines = said("list", "--folder", str(folder))
    assert {line["name"] for line in lines} == {entry.name for entry in WEIGHTS}
    assert {line["state"] for line in lines} == {"missing"}
    assert {line["name"] for line in lines if not line["commercial"]} == {"superpoint", "superglue_outdoor"}
    assert not folder.exists()
    plain = runner.invoke(app, ["weights", "list", "disk", "--folder", str(folder)])
    assert "Apache-2.0" in plain.stdout and "disk: missing" in plain.stdout and "superpoint" not in plain.stdout


def test_verify_records_what_it_sees_first_and_notices_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / KEY).parent.mkdir(parents=True)
    (folder / KEY).write_bytes(b"put there by hand")
    (first,) = said("verify", "disk+lightglue", "--folder", str(folder))
    (second,) = said("verify", "disk+lightglue", "--folder", str(folder))
    assert (first["state"], second["state"]) == ("unrecorded", "as recorded")
    (folder / KEY).write_bytes(b"changed")
    (third,) = said("verify", "disk+lightglue", "--folder", str(folder), exit_code=1)
    assert third["state"] == "wrong"


def test_an_unknown_name_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    (error,) = said("list", "superpoint_inloc", "--folder", str(tmp_path), exit_code=2)
    assert "superpoint_inloc" in str(error["message"]) and "superpoint_aachen" in str(error["message"])


def test_a_source_that_does_not_answer_leaves_nothing_behind(tmp_path: Path, source: Path, mirror: str) -> None:
    folder = tmp_path / "weights"
    (source / KEY).unlink()
    lines = said("pull", "disk+lightglue", "--folder", str(folder), "--mirror", mirror, exit_code=3)
    assert lines[-1]["code"] == "REFUSED"
    said("pull", "disk+lightglue", "--folder", str(folder), "--mirror", "http://127.0.0.1:1", exit_code=3)
    assert not (folder / KEY).exists()


def test_a_record_that_cannot_be_understood_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text("{")
    (error,) = said("list", "--folder", str(tmp_path), exit_code=2)
    assert RECORD_NAME in str(error["message"])


def test_the_folder_is_that_of_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIDADE_WEIGHTS__FOLDER", str(tmp_path / "elsewhere"))
    (line,) = said("list", "disk")
    assert str(line["path"]).startswith(str(tmp_path / "elsewhere"))
