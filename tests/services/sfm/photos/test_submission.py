"""The table of poses: every picture of the archive once, numbers that read back exactly."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.photos import LeftOut, Photo, PhotoManifest
from services.sfm.photos import submission
from services.sfm.photos.submission import COLUMNS, PosedPicture


def photo(name: str, number: int) -> Photo:
    return Photo(
        name=name,
        file=f"pictures/{number:06d}.jpg",
        width_px=640,
        height_px=480,
        camera="one",
        sharpness=1.0,
        brightness=1.0,
        contrast=1.0,
    )


MANIFEST = PhotoManifest(
    photos=(photo("a b.jpg", 0), photo("c.jpg", 1)),
    left_out=(
        LeftOut(name="again.jpg", reason="duplicate", same_as="a b.jpg"),
        LeftOut(name="broken.jpg", reason="corrupt"),
        LeftOut(name="twin.jpg", reason="duplicate", same_as="c.jpg"),
    ),
)
POSE = np.array([[0.0, -1, 0, 0.1], [1, 0, 0, -2.5], [0, 0, 1, 1 / 3]])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_in_it_once_and_duplicates_are_where_their_originals_are(tmp_path: Path) -> None:
    poses = {"000000.jpg": PosedPicture("cluster0", POSE)}
    submission.write(tmp_path / "s.csv", submission.rows("mine", MANIFEST, poses))
    table = {row["image"]: row for row in read(tmp_path / "s.csv")}
    assert sorted(table) == ["a b.jpg", "again.jpg", "broken.jpg", "c.jpg", "twin.jpg"]
    assert {row["dataset"] for row in table.values()} == {"mine"}
    assert {name for name, row in table.items() if row["scene"] == "cluster0"} == {"a b.jpg", "again.jpg"}
    for name in ("broken.jpg", "c.jpg", "twin.jpg"):
        assert table[name]["scene"] == "outliers"
        assert table[name]["rotation_matrix"] == ";".join(["nan"] * 9)
        assert table[name]["translation_vector"] == "nan;nan;nan"


def test_numbers_read_back_exactly(tmp_path: Path) -> None:
    poses = {"000001.jpg": PosedPicture("cluster3", POSE)}
    submission.write(tmp_path / "s.csv", submission.rows("mine", MANIFEST, poses))
    row = next(row for row in read(tmp_path / "s.csv") if row["image"] == "c.jpg")
    rotation = np.array([float(value) for value in row["rotation_matrix"].split(";")]).reshape(3, 3)
    translation = np.array([float(value) for value in row["translation_vector"].split(";")])
    assert (rotation == POSE[:, :3]).all()
    assert (translation == POSE[:, 3]).all()
    assert tuple(row) == COLUMNS


@given(st.text(min_size=1, max_size=60).filter(lambda name: "\x00" not in name))
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("names") / "s.csv"
    submission.write(path, submission.rows("d", PhotoManifest(photos=(photo(name, 0),)), {}))
    assert read(path)[0]["image"] == name
