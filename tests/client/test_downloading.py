"""Downloads: complete or not there at all, and never mixed of two results."""

import os
from pathlib import Path

import pytest

from client.api import Alidade
from client.errors import ConnectionLost, FileUnusable, NotFound
from client.http import Patience
from tests.client.conftest import JOB, KEY, Server

RESULT = os.urandom(700_000)
IMPATIENCE = Patience(first_pause_s=0.01, longest_pause_s=0.01, give_up_s=0.0)


def stopped_after(server: Server, out: Path, count: int) -> None:
    """An earlier process that got `count` bytes and gave up."""
    server.cut_after = [count]
    with Alidade(server.url, KEY, patience=IMPATIENCE) as impatient, pytest.raises(ConnectionLost):
        impatient.download(JOB, out)
    assert not out.exists()
    assert out.with_name(out.name + ".part").stat().st_size == count
    server.seen.clear()


def test_a_result_arrives_whole_with_its_progress(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    heard: list[tuple[int, int]] = []
    got = alidade.download(JOB, tmp_path / "new" / "result.zip", lambda done, total: heard.append((done, total)))
    assert got.path.read_bytes() == RESULT
    assert (got.size_bytes, got.resumed_at_bytes) == (len(RESULT), 0)
    assert heard[-1] == (len(RESULT), len(RESULT))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert sorted(path.name for path in got.path.parent.iterdir()) == ["result.zip"]


def test_lost_connections_are_taken_up_where_they_broke(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    server.cut_after = [100_000, 0, 250_000]
    got = alidade.download(JOB, tmp_path / "result.zip")
    assert got.path.read_bytes() == RESULT
    ranges = [headers.get("Range") for headers in server.headers("/result")]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=350000-"]
    assert [headers.get("If-Range") for headers in server.headers("/result")[1:]] == [server.etag] * 3


def test_a_later_process_goes_on(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    out = tmp_path / "result.zip"
    stopped_after(server, out, 123_456)
    got = alidade.download(JOB, out)
    assert out.read_bytes() == RESULT
    assert got.resumed_at_bytes == 123_456
    assert [headers.get("Range") for headers in server.headers("/result")] == ["bytes=123456-"]


def test_a_part_of_another_result_is_not_built_upon(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = os.urandom(len(RESULT))
    out = tmp_path / "result.zip"
    stopped_after(server, out, 123_456)
    server.result, server.etag = RESULT, '"two"'
    got = alidade.download(JOB, out)
    assert out.read_bytes() == RESULT
    assert got.resumed_at_bytes == 0


def test_a_part_without_its_record_is_not_built_upon(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    out = tmp_path / "result.zip"
    out.with_name("result.zip.part").write_bytes(b"x" * 1000)
    assert alidade.download(JOB, out).resumed_at_bytes == 0
    assert out.read_bytes() == RESULT


def test_a_part_that_lacks_only_its_name_gets_it(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    out = tmp_path / "result.zip"
    stopped_after(server, out, 600_000)
    part = out.with_name("result.zip.part")
    part.write_bytes(RESULT)
    assert alidade.download(JOB, out).size_bytes == len(RESULT)
    assert out.read_bytes() == RESULT


def test_a_part_that_is_too_long_is_thrown_away(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    out = tmp_path / "result.zip"
    stopped_after(server, out, 600_000)
    out.with_name("result.zip.part").write_bytes(RESULT + b"more")
    alidade.download(JOB, out)
    assert out.read_bytes() == RESULT


def test_into_a_folder_it_gets_the_server_s_name_but_not_its_folder(
    server: Server, alidade: Alidade, tmp_path: Path
) -> None:
    server.result = RESULT
    folder = tmp_path / "inner"
    folder.mkdir()
    assert alidade.download(JOB, folder).path == folder / "remap_result.zip"
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_an_unknown_job_leaves_nothing(alidade: Alidade, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        alidade.download("000000000000", tmp_path / "result.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(server: Server, alidade: Alidade, tmp_path: Path) -> None:
    server.result = RESULT
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnusable, match="cannot be written"):
        alidade.download(JOB, tmp_path / "file" / "result.zip")
