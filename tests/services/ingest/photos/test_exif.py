"""Focal lengths in pixels from tags of known cameras, and who shares a camera."""

import math
from io import BytesIO

import pytest
from PIL import ExifTags, Image

from services.ingest.photos.exif import CameraTags, camera_name, crop_factors, focal_length_px, read_tags
from tests.services.ingest.photos.photo_files import encoded, exif, textured

FOCAL = ExifTags.Base.FocalLength
FILM = ExifTags.Base.FocalLengthIn35mmFilm
PLANE_X = ExifTags.Base.FocalPlaneXResolution
PLANE_UNIT = ExifTags.Base.FocalPlaneResolutionUnit
WIDTH = ExifTags.Base.ExifImageWidth
HEIGHT = ExifTags.Base.ExifImageHeight


def tags_of(tags: dict[int, object], kind: str = "JPEG", **root: object) -> CameraTags:
    """Written by Pillow into a file and read back."""
    made = exif(tags=tags, **root)  # type: ignore[arg-type]
    with Image.open(BytesIO(encoded(textured(1), kind, exif=made))) as image:
        image.load()
        return read_tags(image)


def focal_px(tags: CameraTags, width_px: int = 4000, height_px: int = 3000) -> float | None:
    return focal_length_px(tags, width_px, height_px, {})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_tags_are_read_from_every_kind_of_file(kind: str) -> None:
    tags = tags_of({FOCAL: 4.25, FILM: 26}, kind, make="Acme", model="Acme One\0")
    assert tags == CameraTags(make="Acme", model="Acme One", focal_mm=4.25, film_focal_mm=26.0)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25.4 * 200), (3, 2000.0), (4, 200.0), (5, 0.2), (None, 25.4 * 200)])
def test_the_sensors_resolution_gives_the_focal_length(unit: int | None, per_unit: float) -> None:
    # 200 pixels a millimetre: 4000 pixels are 20 mm, and 24 mm of focal length 4800 pixels.
    tags: dict[int, object] = {FOCAL: 24.0, PLANE_X: per_unit, WIDTH: 4000, HEIGHT: 3000}
    if unit is not None:
        tags[PLANE_UNIT] = unit
    assert focal_px(tags_of(tags)) == pytest.approx(4800, abs=0.1)


def test_the_sensors_resolution_is_scaled_with_the_picture_whichever_way_up() -> None:
    tags = tags_of({FOCAL: 24.0, PLANE_X: 200.0, PLANE_UNIT: 4, WIDTH: 4000, HEIGHT: 3000})
    assert focal_px(tags, 2000, 1500) == pytest.approx(2400, abs=0.1)
    assert focal_px(tags, 1500, 2000) == pytest.approx(2400, abs=0.1)


def test_film_compares_diagonals() -> None:
    tags = tags_of({FILM: 26})
    assert focal_px(tags, 4032, 3024) == pytest.approx(26 * 5040 / math.sqrt(36**2 + 24**2), abs=0.01)
    assert focal_px(tags, 3024, 4032) == pytest.approx(26 * 5040 / math.sqrt(36**2 + 24**2), abs=0.01)


def test_a_known_phone_comes_out_as_its_sensor_says() -> None:
    """A 1/3 inch sensor of 4032 pixels of 1.22 micrometres behind 3.99 mm is sold as 28 mm."""
    assert focal_px(tags_of({FOCAL: 3.99, FILM: 28}), 4032, 3024) == pytest.approx(3.99 / 0.00122, rel=0.01)


def test_the_sensor_is_exact_and_film_decides_where_they_contradict() -> None:
    plane = {FOCAL: 24.0, PLANE_X: 200.0, PLANE_UNIT: 4, WIDTH: 4000, HEIGHT: 3000}
    crop = math.sqrt(36**2 + 24**2) / 25
    agreeing = tags_of({**plane, FILM: round(24 * crop)})
    assert focal_px(agreeing) == pytest.approx(4800, abs=0.1)
    # Made smaller by a program that wrote the new size, and left the sensor's resolution.
    shrunk = tags_of({**plane, FILM: round(24 * crop), WIDTH: 1000, HEIGHT: 750})
    assert focal_px(shrunk, 1000, 750) == pytest.approx(1200, rel=0.02)


def test_another_picture_of_the_camera_tells_the_crop() -> None:
    told = tags_of({FOCAL: 10.0, FILM: 20}, make="Acme", model="One")
    silent = tags_of({FOCAL: 15.0}, make="Acme", model="One")
    stranger = tags_of({FOCAL: 15.0}, make="Acme", model="Two")
    crops = crop_factors([told, silent, stranger])
    assert crops == {("Acme", "One"): 2.0}
    assert focal_length_px(silent, 3600, 2400, crops) == pytest.approx(3000, abs=0.01)
    assert focal_length_px(stranger, 3600, 2400, crops) is None


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FOCAL: 0.0},
        {FILM: 0},
        {FOCAL: 24.0},
        {FOCAL: 24.0, PLANE_X: 200.0, PLANE_UNIT: 9, WIDTH: 4000, HEIGHT: 3000},
        {FOCAL: 24.0, PLANE_X: 200_000.0, PLANE_UNIT: 4, WIDTH: 4000, HEIGHT: 3000},
        {FILM: 60_000},
    ],
)  # fmt: skip
def test_tags_that_tell_nothing_or_nonsense_give_none(tags: dict[int, object]) -> None:
    assert focal_px(tags_of(tags)) is None


def test_rationals_with_a_zero_below_the_line_are_not_numbers() -> None:
    data = encoded(textured(1), exif=exif(tags={FOCAL: 7.919}))
    above, below = (number.to_bytes(4, "big") for number in (7919, 1000))
    assert data.count(above + below) == 1
    with Image.open(BytesIO(data.replace(above + below, above + bytes(4)))) as image:
        assert read_tags(image) == CameraTags()


def test_pictures_share_a_camera_by_make_model_focal_length_and_size() -> None:
    one = CameraTags(make="Acme", model="Acme One", focal_mm=4.25, film_focal_mm=26)
    name = camera_name(one, 3000.04, 4000, 3000)
    assert name == camera_name(one, 3000.0, 4000, 3000) == "Acme One 4.25 mm 3000.0 px 4000x3000"
    others = {
        camera_name(one, 3000.0, 3000, 4000),
        camera_name(one, 3100.0, 4000, 3000),
        camera_name(CameraTags(make="Acme", model="Acme Two", focal_mm=4.25), 3000.0, 4000, 3000),
        camera_name(CameraTags(make="Acme", model="Acme One", focal_mm=9.0), 3000.0, 4000, 3000),
        camera_name(CameraTags(), None, 4000, 3000),
    }
    assert len(others | {name}) == 6
    assert camera_name(CameraTags(), None, 4000, 3000) == "4000x3000"
