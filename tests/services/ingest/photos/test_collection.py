"""Whole collections: what is kept under which name, what is left out and said, and what the manifest tells."""

import math
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from contracts.errors import ErrorCode, UserError
from contracts.photos import LeftOut, PhotoManifest
from contracts.progress import Silence
from services.ingest.photos.collection import build_collection, measure_collection
from services.ingest.photos.statistics import measure_picture
from tests.services.ingest.photos.photo_files import encoded, exif, stored_as, textured, zip_of

FOCAL = ExifTags.Base.FocalLength
FILM = ExifTags.Base.FocalLengthIn35mmFilm


class Heard(Silence):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.progressed: list[tuple[int, int]] = []
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.progressed.append((done, total))

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def build(tmp_path: Path, files: dict[str, bytes], heard: Heard | None = None) -> PhotoManifest:
    upload = tmp_path / "upload"
    upload.write_bytes(zip_of(files).getvalue())
    manifest = build_collection(upload, tmp_path / "out", heard or Heard())
    stored = PhotoManifest.model_validate_json((tmp_path / "out" / "photos.json").read_text(encoding="utf-8"))
    assert stored == manifest
    return manifest


def three(first: int = 100) -> dict[str, bytes]:
    return {f"z{seed}.jpg": encoded(textured(seed)) for seed in range(first, first + 3)}


def test_every_kind_becomes_a_file_that_shows_it(tmp_path: Path) -> None:
    kinds = {"a.jpg": "JPEG", "b.png": "PNG", "c.tif": "TIFF", "d/e.bmp": "BMP", "d/f.webp": "WEBP"}
    files = {name: encoded(textured(seed), kind) for seed, (name, kind) in enumerate(kinds.items())}
    manifest = build(tmp_path, files)
    assert [photo.name for photo in manifest.photos] == list(kinds)
    assert [photo.file for photo in manifest.photos] == [
        "pictures/000000.jpg", "pictures/000001.png", "pictures/000002.png", "pictures/000003.png",
        "pictures/000004.png",
    ]  # fmt: skip
    for seed, photo in enumerate(manifest.photos):
        with Image.open(tmp_path / "out" / photo.file) as written:
            assert (written.mode, written.size) == ("RGB", (photo.width_px, photo.height_px)) == ("RGB", (96, 72))
            assert np.abs(np.asarray(written).astype(int) - textured(seed)).max() <= 6
    assert (tmp_path / "out" / "pictures" / "000000.jpg").read_bytes() == files["a.jpg"]
    assert {path.name for path in (tmp_path / "out").rglob("*.*")} == {
        "photos.json", *(Path(photo.file).name for photo in manifest.photos)
    }  # fmt: skip


def test_equal_bytes_and_equal_pixels_count_once(tmp_path: Path) -> None:
    heard = Heard()
    jpeg, png = encoded(textured(1)), encoded(textured(2), "PNG")
    files = {
        "a.jpg": jpeg,
        "b/copy.jpg": jpeg,
        "c.png": png,
        "d.tif": encoded(textured(2), "TIFF"),
        "e.png": encoded(stored_as(textured(2), 6), "PNG", exif=exif(orientation=6)),
        "f.jpg": encoded(textured(3)),
    }
    manifest = build(tmp_path, files, heard)
    assert [photo.name for photo in manifest.photos] == ["a.jpg", "c.png", "f.jpg"]
    assert manifest.left_out == (
        LeftOut(name="b/copy.jpg", reason="duplicate", same_as="a.jpg"),
        LeftOut(name="d.tif", reason="duplicate", same_as="c.png"),
        LeftOut(name="e.png", reason="duplicate", same_as="c.png"),
    )
    assert sorted(path.name for path in (tmp_path / "out" / "pictures").iterdir()) == [
        "000000.jpg", "000002.png", "000005.jpg"
    ]  # fmt: skip
    assert any("3 pictures" in line for line in heard.lines)
    assert heard.warnings == []


def test_nearly_equal_pictures_are_two(tmp_path: Path) -> None:
    other = textured(1).copy()
    other[40, 50, 1] ^= 1
    files = {"a.png": encoded(textured(1), "PNG"), "b.png": encoded(other, "PNG"), "c.png": encoded(textured(2), "PNG")}
    assert len(build(tmp_path, files).photos) == 3


def test_corrupt_and_tiny_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    heard = Heard()
    whole = encoded(textured(1))
    files = {
        **three(),
        "cut.jpg": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.webp": b"not a picture",
        "tiny.png": encoded(textured(1, 40, 80), "PNG"),
    }
    manifest = build(tmp_path, files, heard)
    assert [photo.name for photo in manifest.photos] == ["z100.jpg", "z101.jpg", "z102.jpg"]
    assert [(left.name, left.reason) for left in manifest.left_out] == [
        ("cut.jpg", "corrupt"), ("empty.png", "corrupt"), ("text.webp", "corrupt"), ("tiny.png", "too_small"),
    ]  # fmt: skip
    assert len(heard.warnings) == 2
    assert heard.warnings[0].startswith("3 pictures could not be read")
    assert "cut.jpg, empty.png, text.webp" in heard.warnings[0]
    assert "tiny.png" in heard.warnings[1]
    assert heard.progressed == [(done, 7) for done in range(1, 8)]


def test_a_picture_damaged_within_the_zip_is_left_out(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**three(), "a.jpg": encoded(textured(1))}.items():
            archive.writestr(name, data)
    data = bytearray(buffer.getvalue())
    data[data.index(b"a.jpg") + 200] ^= 0xFF
    upload = tmp_path / "upload"
    upload.write_bytes(data)
    manifest = build_collection(upload, tmp_path / "out", Heard())
    assert manifest.left_out == (LeftOut(name="a.jpg", reason="corrupt"),)
    assert len(manifest.photos) == 3


def refusal(tmp_path: Path, files: dict[str, bytes]) -> UserError:
    with pytest.raises(UserError) as caught:
        build(tmp_path, files)
    assert not (tmp_path / "out" / "photos.json").exists()
    return caught.value


def test_nothing_but_corrupt_pictures_is_refused_with_their_names(tmp_path: Path) -> None:
    error = refusal(tmp_path, {f"{n}.jpg": b"x" for n in range(9)})
    assert error.code is ErrorCode.INVALID_IMAGE
    assert "0.jpg, 1.jpg" in error.message
    assert "4 more" in error.message


def test_too_few_that_can_be_used_are_refused_with_the_reasons(tmp_path: Path) -> None:
    one = encoded(textured(1))
    error = refusal(tmp_path, {"a.jpg": one, "b.jpg": one, "c.jpg": encoded(textured(2)), "d.jpg": b"x"})
    assert error.code is ErrorCode.TOO_FEW_FRAMES
    assert "Only 2 of 4" in error.message
    assert "b.jpg (duplicate), d.jpg (corrupt)" in error.message


def test_a_hostile_picture_is_refused_by_name(tmp_path: Path) -> None:
    wide = encoded(Image.new("1", (100_000, 8)), "PNG")
    error = refusal(tmp_path, {**three(), "wide.png": wide})
    assert error.code is ErrorCode.UNSAFE_ARCHIVE
    assert error.field == "wide.png"


def test_focal_lengths_cameras_and_upright_sizes(tmp_path: Path) -> None:
    made = {"make": "Acme", "model": "One"}
    files = {
        "a.jpg": encoded(textured(1), exif=exif(**made, tags={FOCAL: 10.0, FILM: 20})),
        "b.jpg": encoded(textured(2), exif=exif(**made, tags={FOCAL: 10.0})),
        "c.jpg": encoded(textured(3, 72, 96), exif=exif(**made, orientation=6, tags={FOCAL: 10.0, FILM: 20})),
        "d.jpg": encoded(textured(4, 72, 96), exif=exif(**made, tags={FOCAL: 10.0, FILM: 20})),
        "e.jpg": encoded(textured(5), exif=exif(**made, tags={FOCAL: 20.0, FILM: 40})),
        "f.jpg": encoded(textured(6)),
        "g.png": encoded(textured(7), "PNG"),
    }
    photos = {photo.name[0]: photo for photo in build(tmp_path, files).photos}
    focal_px = 20 * 120 / math.sqrt(36**2 + 24**2)
    for name in "abcd":
        assert photos[name].focal_px == pytest.approx(focal_px, abs=1e-6)
    assert photos["e"].focal_px == pytest.approx(2 * focal_px, abs=1e-6)
    assert photos["f"].focal_px is photos["g"].focal_px is None
    assert (photos["c"].width_px, photos["c"].height_px) == (96, 72)
    assert (photos["d"].width_px, photos["d"].height_px) == (72, 96)
    groups: dict[str, str] = {}
    for name, photo in photos.items():
        groups[photo.camera] = groups.get(photo.camera, "") + name
    assert sorted(groups.values()) == ["abc", "d", "e", "fg"]


def test_statistics_are_those_of_the_grey_picture() -> None:
    rows, columns = np.mgrid[0:600, 0:800]
    grey = np.where((rows // 8 + columns // 8) % 2, 200, 40).astype(np.uint8)
    measured = measure_picture(np.dstack([grey] * 3))
    assert measured.brightness == pytest.approx(grey.mean(), abs=1e-6)
    assert measured.contrast == pytest.approx(grey.std(), abs=1e-6)
    padded = np.pad(grey.astype(int), 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    assert measured.sharpness == pytest.approx(laplacian.var(), rel=1e-6)


def test_sharpness_falls_with_blur_and_is_one_scale_for_all_sizes() -> None:
    sharp = textured(1, 4, 4).repeat(512, 0).repeat(512, 1)[:1536]
    noisy = cv2.add(sharp, np.random.default_rng(0).integers(0, 60, sharp.shape, dtype=np.uint8))
    blurred = np.asarray(cv2.GaussianBlur(noisy, (0, 0), 3), dtype=np.uint8)
    assert measure_picture(blurred).sharpness < measure_picture(noisy).sharpness / 10
    doubled = noisy.repeat(2, 0).repeat(2, 1)
    assert measure_picture(doubled).sharpness == pytest.approx(measure_picture(noisy).sharpness, rel=0.01)


def test_measurements_are_those_of_the_pictures_that_count(tmp_path: Path) -> None:
    one = encoded(textured(1), "PNG")
    upload = tmp_path / "upload"
    upload.write_bytes(
        zip_of({"a.png": one, "b.png": one, "c.png": b"x", "d.png": encoded(textured(2, 96, 80), "PNG")}).getvalue()
    )
    measured = measure_collection(upload)
    assert measured.images == 2
    assert measured.measurements is not None
    features = measured.measurements.features
    assert features["height"].mean == 76
    assert features["height"].std == 4
    first, second = measure_picture(textured(1)), measure_picture(textured(2, 96, 80))
    assert features["brightness"].mean == pytest.approx((first.brightness + second.brightness) / 2)
    assert features["sharpness"].std == pytest.approx(abs(first.sharpness - second.sharpness) / 2)
    assert measured.measurements.registration_rate is None
