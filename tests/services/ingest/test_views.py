"""What is taken for six views and six depth renders, and what is refused with which sentence."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.object_files import STORED_NAMES, stored_name
from services.ingest.views.inspection import MAX_SIDE_PX, inspect_views
from services.ingest.views.png import SIGNATURE, decode, read_header
from tests.services.ingest.view_files import SIZE_PX, depth, jpeg, png, view

WHOLE = view()


def upload(instead: Mapping[tuple[str, int], bytes] | None = None, name: str = "side.png") -> io.BytesIO:
    """As the gateway stores it; `instead` replaces pictures by field and place."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for field, make in (("views", view), ("depth_renders", depth)):
            for index in range(6):
                info = zipfile.ZipInfo(stored_name(field, index))
                info.comment = name.encode()
                archive.writestr(info, (instead or {}).get((field, index)) or make(index))
    return packed


def refused(instead: Mapping[tuple[str, int], bytes]) -> UserError:
    with pytest.raises(UserError) as caught:
        inspect_views(upload(instead))
    return caught.value


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def declared(width_px: int, height_px: int, bits: int, colour: int) -> bytes:
    """A PNG that says so, and has no pixels."""
    return (
        SIGNATURE
        + chunk(b"IHDR", struct.pack(">2I5B", width_px, height_px, bits, colour, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


def test_twelve_pictures_are_taken_in_their_order() -> None:
    assert inspect_views(upload()) == STORED_NAMES


RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8)
GREY = RGB[..., 0]


def with_palette() -> bytes:
    packed = io.BytesIO()
    Image.fromarray(RGB).quantize(16).save(packed, "PNG")
    return packed.getvalue()


VIEWS = {
    "grey": png(GREY),
    "grey and alpha": png(np.dstack([RGB, GREY])),
    "16-bit colour": png(RGB.astype(np.uint16) * 257),
    "palette": with_palette(),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_of_many_kinds_are_taken(kind: str) -> None:
    inspect_views(upload({("views", 3): VIEWS[kind]}))


DEPTHS = {
    "8-bit grey": png(GREY),
    "grey three times over": png(np.dstack([GREY] * 3)),
    "16-bit grey that ends at its maximum": png(np.where(GREY > 99, 65535, GREY).astype(np.uint16)),
}


@pytest.mark.parametrize("kind", DEPTHS)
def test_depth_of_many_kinds_is_taken(kind: str) -> None:
    inspect_views(upload({("depth_renders", 0): DEPTHS[kind]}))


DARK = np.zeros((SIZE_PX, SIZE_PX), np.uint16)
REFUSED = {
    "empty": ("views", b"\0", ErrorCode.INVALID_IMAGE, "View 3 (side.png) is not a PNG image"),
    "a JPEG": ("views", jpeg(), ErrorCode.INVALID_IMAGE, "but a JPEG by another name"),
    "cut short": ("views", WHOLE[: len(WHOLE) // 2], ErrorCode.INVALID_IMAGE, "cut short or damaged"),
    "without its end": ("views", WHOLE[:-12], ErrorCode.INVALID_IMAGE, "cut short or damaged"),
    "one pixel": ("views", view(size_px=1), ErrorCode.UNSUPPORTED_FORMAT, "1 x 1 pixels, too small"),
    "another size": ("views", view(size_px=48), ErrorCode.UNSUPPORTED_FORMAT, "48 x 48 and view 1 is 32 x 32"),
    "bits": ("views", declared(32, 32, 4, 0), ErrorCode.UNSUPPORTED_FORMAT, "4 bits a channel"),
    "a bomb": ("views", declared(60_000, 60_000, 8, 2), ErrorCode.TOO_LARGE, f"at most {MAX_SIDE_PX}"),
    "black depth": ("depth_renders", png(DARK), ErrorCode.INVALID_DEPTH, "Depth render 3 (side.png) shows no object"),
    "white depth": ("depth_renders", png(DARK + 65535), ErrorCode.INVALID_DEPTH, "all of it is background (65535)"),
    "depth of another size": (
        "depth_renders",
        depth(size_px=40),
        ErrorCode.INVALID_DEPTH,
        "all six must have one size",
    ),
    "16-bit colour depth": (
        "depth_renders",
        png(np.dstack([DARK + 7] * 3)),
        ErrorCode.INVALID_DEPTH,
        "save depth as a grey PNG of 8 or 16 bits",
    ),
    "coloured depth": ("depth_renders", png(RGB), ErrorCode.INVALID_DEPTH, "is in colour"),
    "palette depth": ("depth_renders", with_palette(), ErrorCode.INVALID_DEPTH, "palette image"),
    "one pixel of depth": ("depth_renders", depth(size_px=1), ErrorCode.INVALID_DEPTH, "too small"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence(what: str) -> None:
    field, data, code, words = REFUSED[what]
    error = refused({(field, 2): data})
    assert (error.code, error.field) == (code, field)
    assert words in error.message
    assert error.message.endswith(".")


def test_a_name_without_png_is_refused() -> None:
    with pytest.raises(UserError, match="does not end in") as caught:
        inspect_views(upload(name="side.jpg"))
    assert caught.value.code is ErrorCode.INVALID_IMAGE


def test_a_bomb_costs_no_memory() -> None:
    # Sixty thousand lines of zeros pack to a thousandth.
    row = zlib.compress(bytes(1 + 3 * 8000) * 8000, 9)
    header = chunk(b"IHDR", struct.pack(">2I5B", 8000, 8000, 8, 2, 0, 0, 0))
    bomb = upload({("views", 5): SIGNATURE + header + chunk(b"IDAT", row) + chunk(b"IEND", b"")})
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        inspect_views(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert peak_bytes < 8 << 20


@given(st.integers(0, len(WHOLE) - 1))
def test_a_picture_that_is_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(UserError) as caught:
        decode_whole(WHOLE[:length])
    assert caught.value.code is ErrorCode.INVALID_IMAGE


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_picture_with_one_wrong_byte_is_refused(place: int, flip: int) -> None:
    broken = bytearray(WHOLE)
    broken[place] ^= flip
    with pytest.raises(UserError):
        decode_whole(bytes(broken))


def decode_whole(data: bytes) -> None:
    header = read_header(data, "View 1")
    # What a damaged header declares is not decoded, as in an upload.
    if max(header.width_px, header.height_px) > MAX_SIDE_PX:
        raise UserError(ErrorCode.TOO_LARGE, "View 1 is too large.")
    decode(data, "View 1")


def test_decoding_gives_what_was_stored() -> None:
    assert (decode(WHOLE, "View 1") == cv2.imdecode(np.frombuffer(WHOLE, np.uint8), 1)[..., ::-1]).all()
    stored = cv2.imdecode(np.frombuffer(depth(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (decode(depth(), "Depth render 1") == stored).all()


@pytest.mark.parametrize("data", [b"no archive", b""])
def test_an_upload_that_is_no_archive_is_not_the_users_fault(data: bytes) -> None:
    with pytest.raises(AlidadeError) as caught:
        inspect_views(io.BytesIO(data))
    assert not isinstance(caught.value, UserError)
