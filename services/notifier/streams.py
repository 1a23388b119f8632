"""Open streams: written to within limits, kept alive by one task, ended together."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Iterator
from types import TracebackType
from typing import Self

from aiohttp import web

from contracts.errors import AlidadeError
from runtime.job_view import Feed, JobView
from runtime.metrics import SSE_CLIENTS
from services.notifier import frames

_BUFFER_BYTES = 64 << 10
"""What may wait for one client, in this process and once more in the kernel."""
_HEARTBEATS_AT_ONCE = 200


class ClientTooSlow(AlidadeError):
    """The client does not take what is sent to it."""


class Stream:
    """One client's stream."""

    def __init__(self, response: web.StreamResponse, transport: asyncio.Transport, stall_s: float) -> None:
        self._response = response
        self._transport = transport
        self._stall_s = stall_s
        self.feed: Feed | None = None
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # The kernel would otherwise take megabytes for each client before a slow one is noticed.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)

    async def send(self, data: bytes) -> None:
        """Raises ClientTooSlow if the client takes nothing for too long, ConnectionError if it has gone."""
        await self._in_time(self._response.write(data))

    async def finish(self) -> None:
        """Say that the stream is complete. Raises as `send` does."""
        await self._in_time(self._response.write_eof())

    async def _in_time(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                await writing
        except TimeoutError:
            raise ClientTooSlow(f"Nothing was taken for {self._stall_s} s.") from None

    async def beat(self) -> None:
        """A sign of life, unless something is under way anyway."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            return
        with contextlib.suppress(ConnectionError):
            await self._response.write(frames.HEARTBEAT)

    def cut(self) -> None:
        """Drop the connection with everything that waits in it."""
        self._transport.abort()


class OpenStreams:
    """Every stream of this process. As an async context manager it keeps them alive."""

    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._open: set[Stream] = set()
        self._beating: asyncio.Task[None] | None = None
        self.is_stopping = False

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat(), name="sse-heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating

    def stop(self) -> None:
        """End every stream. Clients come back by themselves, to another replica or to the next start."""
        self.is_stopping = True
        for stream in self._open:
            if stream.feed is not None:
                stream.feed.close()

    @contextlib.contextmanager
    def opened(self, stream: Stream) -> Iterator[None]:
        """Count a stream among the open ones."""
        self._open.add(stream)
        SSE_CLIENTS.inc()
        try:
            yield
        finally:
            self._open.discard(stream)
            SSE_CLIENTS.dec()

    @contextlib.contextmanager
    def feed(self, stream: Stream, view: JobView, job_id: str, size: int) -> Iterator[Feed]:
        """A live feed that `stop` ends."""
        with view.feed(job_id, size) as feed:
            stream.feed = feed
            if self.is_stopping:
                feed.close()
            try:
                yield feed
            finally:
                stream.feed = None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            for number, stream in enumerate(tuple(self._open), start=1):
                if stream in self._open:
                    await stream.beat()
                if number % _HEARTBEATS_AT_ONCE == 0:
                    await asyncio.sleep(0)
