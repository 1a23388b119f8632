"""Framing of Server-Sent Events (HTML standard, section 9.2: Server-sent events). Pure functions over text."""

import re

_LINE_END = re.compile(r"\r\n|\r|\n")

HEARTBEAT = b":\n\n"
"""A comment: proxies and clients see that the stream lives, listeners hear nothing."""


def message(data: str, *, event: str | None = None, event_id: int | None = None) -> bytes:
    """One event. Without a name, browsers hand it to `onmessage`; with one, to the listeners of that name.

    Line ends within `data` arrive as line feeds, whatever they were.
    """
    if event is not None and (not event or _LINE_END.search(event)):
        raise ValueError(f"not a name of an event: {event!r}")
    lines = [] if event is None else [f"event: {event}"]
    if event_id is not None:
        lines.append(f"id: {event_id}")
    lines.extend(f"data: {line}" for line in _LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


def retry_hint(pause_s: float) -> bytes:
    """How long a client should wait before it connects again."""
    return f"retry: {round(pause_s * 1000)}\n\n".encode()


def for_both_listeners(data: str, *, event: str, event_id: int) -> bytes:
    """The same data twice: for `onmessage`, and for listeners of `event`.

    The id is on the second one, so a client that resumes after it has heard both, and hears neither again.
    """
    return message(data) + message(data, event=event, event_id=event_id)


def parse_last_event_id(text: str | None) -> int | None:
    """The stream sequence that a client has heard last, or None if it names none of ours."""
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else None
