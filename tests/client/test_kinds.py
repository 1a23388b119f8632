"""What lies at a path decides which API it goes to."""

import zipfile
from pathlib import Path

import pytest

from client.errors import FileUnusable
from client.kinds import CLOUD_SUFFIXES, find_views, recognise
from contracts.jobs import JobKind


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, b"x")
    return path


def six_views(folder: Path, first: int = 1, views: int = 6) -> Path:
    (folder / "views").mkdir(parents=True)
    (folder / "depth").mkdir()
    for i in range(first, first + views):
        (folder / "views" / f"view{i}.png").write_bytes(b"x")
    for i in range(first, first + 6):
        (folder / "depth" / f"depth{i}.png").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("names", [("odometry.csv", "rgb.mp4"), ("remap_zip_1/odometry.csv", "remap_zip_1/rgb/1.png")])
def test_an_archive_with_odometry_is_a_capture(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert recognise(archive(tmp_path / "a.zip", *names)) is JobKind.CAPTURE


@pytest.mark.parametrize("name", ["a.JPG", "nested/deep/b.webp", "c.tiff"])
def test_an_archive_with_pictures_is_a_scene(tmp_path: Path, name: str) -> None:
    assert recognise(archive(tmp_path / "a.zip", "readme.txt", name)) is JobKind.SCENE


@pytest.mark.parametrize("suffix", sorted(CLOUD_SUFFIXES))
def test_a_cloud_is_known_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix.upper()}"
    path.write_bytes(b"x")
    assert recognise(path) is JobKind.BUILDING


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_folder_of_views_is_an_object_in_the_order_of_its_numbers(tmp_path: Path, first: int) -> None:
    folder = six_views(tmp_path / "mug", first)
    assert recognise(folder) is JobKind.OBJECT
    found = find_views(folder)
    assert [path.stem for path in found.views] == [f"view{i}" for i in range(first, first + 6)]
    assert [path.stem for path in found.depths] == [f"depth{i}" for i in range(first, first + 6)]


def test_what_is_nothing_of_these_is_said_so(tmp_path: Path) -> None:
    text = tmp_path / "notes.md"
    text.write_text("hello")
    for path, says in (
        (tmp_path / "missing.zip", "not there"),
        (text, "--kind"),
        (archive(tmp_path / "b.zip", "readme.txt"), "neither a capture"),
        (six_views(tmp_path / "five", views=5), "holds 5 files view….png and 6 files depth….png"),
    ):
        with pytest.raises(FileUnusable, match=says):
            recognise(path)
