"""Watching: each update once, over lost connections, and polling only where there are no events."""

import pytest

from client.api import Alidade
from client.errors import ConnectionLost, JobCancelled, JobFailed, NotAllowed, NotFound
from tests.client.conftest import HASTE, JOB, KEY, Server, answers, framed, sends, update

DONE = framed("complete", update(100, "completed"), 9)


def watched(alidade: Alidade, **options: object) -> tuple[list[tuple[int, str, int | None]], list[str]]:
    notices: list[str] = []
    updates = alidade.watch(JOB, on_notice=notices.append, **options)
    return [(u.percentage, u.status.value, u.event_id) for u in updates], notices


def test_every_update_comes_once_although_it_is_sent_twice(server: Server, alidade: Alidade) -> None:
    server.streams = [sends(framed("progress", update(10), 3), framed("progress", update(20), 5), DONE)]
    updates, notices = watched(alidade)
    assert updates == [(10, "processing", 3), (20, "processing", 5), (100, "completed", 9)]
    assert notices == []


def test_the_fields_arrive(server: Server, alidade: Alidade) -> None:
    server.streams = [sends(framed("complete", update(100, "completed", warnings=["w"]), 9))]
    [last] = alidade.watch(JOB)
    assert (last.step, last.estimated_remaining, last.processing_speed) == ("Features", "00:02:30", "12 items/sec")
    assert last.warnings == ("w",)


@pytest.mark.parametrize("how", ["break", "end", "silence"])
def test_it_goes_on_where_the_connection_was_lost(server: Server, alidade: Alidade, how: str) -> None:
    server.streams = [
        sends(framed("progress", update(10), 3), then=how),
        sends(framed("progress", update(20), 5), then=how),
        answers(503),
        sends(DONE),
    ]
    updates, notices = watched(alidade)
    assert updates == [(10, "processing", 3), (20, "processing", 5), (100, "completed", 9)]
    assert [headers.get("Last-Event-ID") for headers in server.headers("/stream")] == [None, "3", "5", "5"]
    assert len(notices) == 3
    assert all("Connecting again" in notice for notice in notices)


def test_half_a_pair_is_not_taken_for_an_update(server: Server, alidade: Alidade) -> None:
    half = framed("progress", update(10), 3).partition(b"event:")[0]
    server.streams = [sends(half, then="break"), sends(framed("progress", update(10), 3), DONE)]
    updates, _ = watched(alidade)
    assert updates == [(10, "processing", 3), (100, "completed", 9)]


def test_it_can_begin_at_an_id(server: Server, alidade: Alidade) -> None:
    server.streams = [sends(DONE)]
    watched(alidade, last_event_id=7)
    assert server.headers("/stream")[0]["Last-Event-ID"] == "7"


def test_a_server_without_events_is_polled_and_it_says_so(server: Server, alidade: Alidade) -> None:
    server.status = "completed"
    updates, notices = watched(alidade)
    assert updates == [(100, "completed", None)]
    assert len(notices) == 1
    assert "no event stream" in notices[0]


def test_what_is_not_an_event_stream_is_not_read_as_one(server: Server, alidade: Alidade) -> None:
    server.status = "completed"
    server.streams = [answers(200, "text/html", "<p>Sign in</p>")]
    updates, notices = watched(alidade)
    assert updates == [(100, "completed", None)]
    assert len(notices) == 1


def test_a_job_that_is_not_there_is_not_polled_for(alidade: Alidade) -> None:
    with pytest.raises(NotFound, match="Job not found"):
        list(alidade.watch("000000000000"))


def test_no_content_means_that_the_job_has_ended(server: Server, alidade: Alidade) -> None:
    server.status = "failed"
    server.error = "No model."
    server.streams = [answers(204)]
    [last] = alidade.watch(JOB)
    assert (last.status.value, last.error) == ("failed", "No model.")


def test_patience_ends(server: Server) -> None:
    url = server.url.replace("127.0.0.1", "127.0.0.2")
    patience = type(HASTE)(first_pause_s=0.01, longest_pause_s=0.01, give_up_s=0.1)
    with Alidade(url, KEY, patience=patience) as nobody, pytest.raises(ConnectionLost, match=r"127\.0\.0\.2"):
        list(nobody.watch(JOB))


def test_a_wrong_key_is_no_lost_connection(server: Server) -> None:
    server.streams = [sends(DONE)]
    with Alidade(server.url, "wrong", patience=HASTE) as stranger, pytest.raises(NotAllowed) as caught:
        list(stranger.watch(JOB))
    assert caught.value.status == 403
    assert caught.value.message == "The API key is not valid."


def test_waiting_raises_for_a_job_that_does_not_complete(server: Server, alidade: Alidade) -> None:
    server.streams = [
        sends(framed("error", update(30, "failed", error="No two pictures overlap."), 4)),
        sends(framed("error", update(30, "cancelled", error="The job was cancelled."), 4)),
        sends(DONE),
    ]
    with pytest.raises(JobFailed, match="No two pictures overlap"):
        alidade.wait(JOB)
    with pytest.raises(JobCancelled):
        alidade.wait(JOB)
    assert alidade.wait(JOB).percentage == 100
