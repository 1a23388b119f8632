"""Single photographs: what comes out is upright, 8-bit RGB, and what the file shows; or it is refused in time."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import ErrorCode, UserError
from services.ingest.photos.pictures import MAX_SCANS, UnreadablePicture, read_upright
from tests.services.ingest.photos.photo_files import Rgb, encoded, exif, stored_as, textured

UPRIGHT = textured(1)


def furthest(first: Rgb, second: Rgb) -> int:
    """Largest difference of two pictures of one size, in levels."""
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.mark.parametrize(("kind", "levels"), [("PNG", 0), ("TIFF", 0), ("WEBP", 0), ("JPEG", 6)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, levels: int, orientation: int) -> None:
    data = encoded(stored_as(UPRIGHT, orientation), kind, exif=exif(orientation=orientation))
    picture = read_upright(data, "a")
    assert furthest(picture.rgb, UPRIGHT) <= levels
    assert picture.rgb.shape == (72, 96, 3)
    again = read_upright(picture.encoded, "b")
    assert again.tags.orientation == 1
    assert furthest(again.rgb, picture.rgb) <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    data = encoded(UPRIGHT, "PNG", exif=exif(orientation=orientation))
    assert furthest(read_upright(data, "a").rgb, UPRIGHT) == 0


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_a_file_that_needs_no_change_is_kept_byte_for_byte(kind: str, suffix: str) -> None:
    data = encoded(UPRIGHT, kind, exif=exif(orientation=1, make="Acme"))
    picture = read_upright(data, "a")
    assert picture.encoded == data
    assert picture.suffix == suffix


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP"])
def test_other_kinds_become_png_without_loss(kind: str) -> None:
    picture = read_upright(encoded(UPRIGHT, kind), "a")
    assert picture.suffix == ".png"
    assert furthest(picture.rgb, UPRIGHT) == 0
    assert furthest(np.asarray(Image.open(BytesIO(picture.encoded))), UPRIGHT) == 0


def test_transparent_places_are_white() -> None:
    alpha = np.zeros((72, 96), np.uint8)
    alpha[:, 48:] = 255
    alpha[:, :10] = 51  # a fifth
    picture = read_upright(encoded(np.dstack([UPRIGHT, alpha]), "PNG"), "a")
    assert (picture.rgb[:, 10:48] == 255).all()
    assert furthest(picture.rgb[:, 48:], UPRIGHT[:, 48:]) == 0
    faint = np.rint(UPRIGHT[:, :10] * 0.2 + 255 * 0.8).astype(np.uint8)
    assert furthest(picture.rgb[:, :10], faint) <= 1
    assert picture.encoded != b""
    assert furthest(read_upright(picture.encoded, "b").rgb, picture.rgb) == 0


def test_a_palette_with_a_transparent_colour_is_white_there() -> None:
    paletted = Image.new("P", (96, 72))
    paletted.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    paletted.putdata([0, 1, 2] * (32 * 72))
    rgb = read_upright(encoded(paletted, "PNG", transparency=1), "a").rgb
    assert rgb[0, :3].tolist() == [[10, 20, 30], [255, 255, 255], [1, 2, 3]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_become_eight(kind: str) -> None:
    grey = np.linspace(0, 65535, 96 * 72).reshape(72, 96).astype(np.uint16)
    rgb = read_upright(encoded(Image.fromarray(grey), kind), "a").rgb
    assert furthest(rgb[..., 0], np.rint(grey / 257.0).astype(np.uint8)) == 0
    assert (rgb == rgb[..., :1]).all()


def png_of(rows: bytes, width_px: int, height_px: int, *, depth: int, colour: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_of_colour_become_eight_and_are_written_anew() -> None:
    deep = UPRIGHT.astype(">u2") * 257
    data = png_of(b"".join(b"\0" + row.tobytes() for row in deep), 96, 72, depth=16, colour=2)
    picture = read_upright(data, "a")
    assert furthest(picture.rgb, UPRIGHT) == 0
    assert picture.encoded[24] == 8


def test_floating_point_is_stretched_over_its_range() -> None:
    values = np.linspace(-2.0, 6.0, 96 * 72, dtype=np.float32).reshape(72, 96)
    rgb = read_upright(encoded(Image.fromarray(values), "TIFF"), "a").rgb
    assert furthest(rgb[..., 1], np.rint((values + 2) / 8 * 255).astype(np.uint8)) <= 1


def test_grey_and_cmyk_jpegs_become_rgb_jpegs() -> None:
    for mode in ("L", "CMYK"):
        image = Image.fromarray(UPRIGHT).convert(mode)
        picture = read_upright(encoded(image, "JPEG"), "a")
        assert picture.suffix == ".jpg"
        assert furthest(picture.rgb, np.asarray(image.convert("RGB"))) <= 12
        with Image.open(BytesIO(picture.encoded)) as written:
            assert written.mode == "RGB"


def test_the_first_picture_of_several_counts() -> None:
    second = Image.fromarray(textured(2))
    for kind in ("TIFF", "PNG", "WEBP", "MPO"):
        picture = read_upright(encoded(UPRIGHT, kind, save_all=True, append_images=[second]), "a")
        assert furthest(picture.rgb, UPRIGHT) <= (20 if kind == "MPO" else 0), kind


def test_the_suffix_does_not_matter_to_the_reader() -> None:
    assert furthest(read_upright(encoded(UPRIGHT, "PNG"), "photo.jpg").rgb, UPRIGHT) == 0


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(100), b"\xff\xd8\xff\xe0" + bytes(50), b"RIFF"])
def test_what_is_no_picture_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        read_upright(data, "a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_a_file_that_is_cut_short_is_unreadable(kind: str) -> None:
    whole = encoded(UPRIGHT, kind)
    for length in np.linspace(0, len(whole) * 0.98, 40).astype(int).tolist():
        with pytest.raises(UnreadablePicture):
            read_upright(whole[:length], "a")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_are_read_or_refused_and_nothing_else(kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(UPRIGHT, kind, exif=exif(orientation=6, make="Acme", tags={37386: 4.2})))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        picture = read_upright(bytes(data), "a")
    except (UnreadablePicture, UserError):
        return
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.ndim == 3


@pytest.mark.parametrize(("width_px", "height_px"), [(100_000, 10), (10, 100_000), (32_000, 32_000)])
def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(width_px: int, height_px: int) -> None:
    data = png_of(bytes(1000), width_px, height_px, depth=8, colour=2)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read_upright(data, "wide.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code is ErrorCode.UNSAFE_ARCHIVE
    assert caught.value.field == "wide.png"
    assert f"{width_px:,}" in caught.value.message


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encoded(UPRIGHT, "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    with pytest.raises(UserError) as caught:
        read_upright(data[:scan] + data[scan:-2] * MAX_SCANS + data[-2:], "scans.jpg")
    assert caught.value.code is ErrorCode.UNSAFE_ARCHIVE


def test_pillows_own_guard_is_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    read_upright(encoded(UPRIGHT), "a")
    with pytest.raises(UnreadablePicture):
        read_upright(b"x", "a")
    assert before == Image.MAX_IMAGE_PIXELS
