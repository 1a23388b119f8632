"""A TCP link between one client and a server that a test can freeze or cut."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


class BreakableLink:
    """Forwards bytes both ways. `async with BreakableLink(url) as link: connect(link.url)`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._counted: dict[bytes, int] = {}
        self._sent = asyncio.Condition()
        self._is_cut = False
        self.thaw()

    async def __aenter__(self) -> "BreakableLink":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.thaw()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The server's address, through the link."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._target.username}@" if self._target.username else ""
        return urlunsplit(self._target._replace(netloc=f"{user}127.0.0.1:{port}"))

    def freeze(self, *directions: str) -> None:
        """Bytes wait from now on: `up` to the server, `down` to the client, both if none is named."""
        for direction in directions or ("up", "down"):
            self._flowing[direction].clear()

    def thaw(self) -> None:
        for event in self._flowing.values():
            event.set()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def sent(self, what: bytes, times: int) -> None:
        """Return once the client has sent chunks with `what` in them `times` times, frozen or not, from now on."""
        self._counted[what] = 0
        async with self._sent:
            await self._sent.wait_for(lambda: self._counted[what] >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, there_writer}
        self._pump(reader, there_writer, "up")
        self._pump(there_reader, writer, "down")

    def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        """Reads on while frozen, so that what was sent can be counted."""
        passing: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks.add(asyncio.create_task(self._read(reader, passing, direction)))
        self._tasks.add(asyncio.create_task(self._write(passing, writer, direction)))

    async def _read(self, reader: asyncio.StreamReader, passing: "asyncio.Queue[bytes]", direction: str) -> None:
        chunk = b"-"
        while chunk:
            chunk = b""
            with contextlib.suppress(OSError):
                chunk = await reader.read(1 << 16)
            if direction == "up":
                async with self._sent:
                    for what in self._counted:
                        self._counted[what] += chunk.count(what)
                    self._sent.notify_all()
            passing.put_nowait(chunk)

    async def _write(self, passing: "asyncio.Queue[bytes]", writer: asyncio.StreamWriter, direction: str) -> None:
        while chunk := await passing.get():
            await self._flowing[direction].wait()
            with contextlib.suppress(OSError):
                writer.write(chunk)
                await writer.drain()
        writer.close()
