"""What is framed is what a parser of the standard reads."""

import re

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from services.notifier import frames

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


def parse(stream: bytes) -> list[ServerSentEvent]:
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, content=stream)
    return list(EventSource(response).iter_sse())


@given(texts, st.none() | names, st.none() | st.integers(0, 2**63 - 1))
def test_a_message_arrives_as_it_was(data: str, event: str | None, event_id: int | None) -> None:
    [heard] = parse(frames.message(data, event=event, event_id=event_id))
    assert heard.data == re.sub(r"\r\n|\r", "\n", data)
    assert heard.event == (event or "message")
    assert heard.id == ("" if event_id is None else str(event_id))


@given(st.lists(texts, max_size=5))
def test_messages_do_not_run_into_each_other(several: list[str]) -> None:
    heard = parse(b"".join(frames.message(data) + frames.HEARTBEAT for data in several))
    assert [event.data for event in heard] == [re.sub(r"\r\n|\r", "\n", data) for data in several]


def test_both_listeners_hear_it_and_the_id_comes_with_the_second() -> None:
    unnamed, named = parse(frames.for_both_listeners("{}", event="progress", event_id=7))
    assert (unnamed.event, unnamed.data, unnamed.id) == ("message", "{}", "")
    assert (named.event, named.data, named.id) == ("progress", "{}", "7")


def test_the_retry_hint_is_in_milliseconds() -> None:
    assert frames.retry_hint(2.5) == b"retry: 2500\n\n"


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb"])
def test_a_name_cannot_smuggle_lines(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        frames.message("x", event=name)


@given(st.integers(0, 10**19 - 1))
def test_an_id_is_read_as_it_was_sent(sequence: int) -> None:
    assert frames.parse_last_event_id(str(sequence)) == sequence


@given(texts)
def test_any_other_id_is_none(text: str) -> None:
    parsed = frames.parse_last_event_id(text)
    assert parsed is None or (text.strip().isascii() and int(text) == parsed >= 0)


@pytest.mark.parametrize("text", [None, "", "-1", "1.0", "٣", "9" * 20, "abc"])
def test_what_is_not_an_id(text: str | None) -> None:
    assert frames.parse_last_event_id(text) is None
