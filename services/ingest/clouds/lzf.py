"""LZF, the compression of PCD files, from file to file in bounded memory.

The format (M. Lehmann, LibLZF): a control byte below 32 announces that many and one more literal bytes; else its upper three bits are a
length less 2 (7: another byte is added to it), its lower five and the next byte how far back to copy from, less 1.
"""

from typing import BinaryIO

READ_BYTES = 1 << 20
_WINDOW_BYTES = 1 << 13
_LONGEST_TOKEN = 33
MAX_RATIO = 133
"""Two bytes and a length give 264 bytes at most, once for every three bytes; with room for short streams."""


class LzfError(ValueError):
    """The stream is damaged."""


def decompress(source: BinaryIO, packed_bytes: int, target: BinaryIO, plain_bytes: int) -> None:
    """Unpack the next `packed_bytes` of `source` into exactly `plain_bytes` of `target`. Raises LzfError."""
    if plain_bytes > packed_bytes * MAX_RATIO:
        raise LzfError(f"{packed_bytes} bytes cannot unpack to {plain_bytes}")
    window = bytearray()
    data, left, written = b"", packed_bytes, 0
    while left or data:
        if left and len(data) < READ_BYTES:
            read = source.read(min(READ_BYTES, left))
            if not read:
                raise LzfError("the file ends too early")
            left -= len(read)
            data += read
        kept = len(window)
        used = _unpack(data, window, kept + READ_BYTES * 16, is_last=not left)
        data = data[used:]
        written += len(window) - kept
        if written > plain_bytes:
            raise LzfError("it unpacks to more than the header says")
        target.write(memoryview(window)[kept:])
        if not used and left == 0 and data:
            raise LzfError("the last token is cut off")
        window = window[-_WINDOW_BYTES:]
    if written != plain_bytes:
        raise LzfError(f"it unpacks to {written} bytes instead of {plain_bytes}")


def _unpack(data: bytes, out: bytearray, limit: int, *, is_last: bool) -> int:
    """Unpack whole tokens of `data` behind what is in `out`, until that has `limit` bytes. Returns the bytes used."""
    at, end = 0, len(data)
    safe = end if is_last else end - _LONGEST_TOKEN
    while at < safe and len(out) < limit:
        control = data[at]
        if control < 32:
            following = at + 2 + control
            if following > end:
                raise LzfError("a literal run is cut off")
            out += data[at + 1 : following]
            at = following
            continue
        length = (control >> 5) + 2
        at += 1
        if length == 9:
            if at + 1 >= end:
                raise LzfError("a copy is cut off")
            length += data[at]
            at += 1
        elif at >= end:
            raise LzfError("a copy is cut off")
        begin = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        if begin < 0:
            raise LzfError("a copy reaches before the beginning")
        chunk = out[begin : begin + length]
        if len(chunk) < length:
            # Copies may overlap themselves: then what is there is repeated.
            chunk = (chunk * (length // len(chunk) + 1))[:length]
        out += chunk
    return at
