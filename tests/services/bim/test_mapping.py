"""point_mapping.json: exactly as documented, for every point, however many there are."""

import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import JsonValue

from contracts.progress import Silence
from services.bim import mapping
from services.bim.ifc.writer import ElementId


def elements(count: int) -> tuple[list[str], dict[str, ElementId]]:
    ids = [f"m{i}" for i in range(count)]
    return ids, {
        i: ElementId(i, f"W-0-{n:03d}", "IfcWall" if n % 2 else "IfcSlab", f"guid{n}") for n, i in enumerate(ids)
    }


def naive(
    labels: NDArray[np.int32],
    count: int,
    source: NDArray[np.uint32] | None,
    total: int,
    left_out: frozenset[int] = frozenset(),
) -> dict[str, JsonValue]:
    rows = np.arange(len(labels)) if source is None else source
    listed: list[JsonValue] = []
    for n in range(count):
        if n not in left_out:
            indices = sorted(int(row) for row in rows[labels == n])
            listed.append(
                {
                    "element_id": f"W-0-{n:03d}",
                    "element_type": "IfcWall" if n % 2 else "IfcSlab",
                    "point_indices": list[JsonValue](indices),
                    "point_count": len(indices),
                }
            )
    mapped = sum(int((labels == n).sum()) for n in range(count) if n not in left_out)
    return {"total_points": total, "mapped_points": mapped, "elements": listed}


def test_the_documented_fields_in_the_documented_order(tmp_path: Path) -> None:
    ids, named = elements(2)
    labels = np.array([1, -1, 1, 0, 1], np.int32)
    mapped = mapping.write(
        labels, ids, named, source_index=None, total_points=7, out=tmp_path / "map.json", report=Silence()
    )
    assert mapped == 4
    found = json.loads((tmp_path / "map.json").read_text())
    assert list(found) == ["total_points", "mapped_points", "elements"]
    assert [list(element) for element in found["elements"]] == [
        ["element_id", "element_type", "point_indices", "point_count"]
    ] * 2
    assert found == {
        "total_points": 7,
        "mapped_points": 4,
        "elements": [
            {"element_id": "W-0-000", "element_type": "IfcSlab", "point_indices": [3], "point_count": 1},
            {"element_id": "W-0-001", "element_type": "IfcWall", "point_indices": [0, 2, 4], "point_count": 3},
        ],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["map.json"]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_the_same_as_the_plain_way(points: int, count: int, seed: int, shuffled: bool) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(-1, count, points).astype(np.int32)
    source = random.permutation(points + 50)[:points].astype(np.uint32) if shuffled else None
    ids, named = elements(count)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "map.json"
        mapping.write(labels, ids, named, source_index=source, total_points=points + 50, out=out, report=Silence())
        assert json.loads(out.read_text()) == naive(labels, count, source, points + 50)


def test_numbers_of_every_length(tmp_path: Path) -> None:
    """Around every power of ten, up to the largest index there can be."""
    edges = [value for power in range(11) for value in (10**power - 1, 10**power, 10**power + 1)] + [2**32 - 1]
    source = np.array(sorted({value for value in edges if value < 2**32}), np.uint32)
    labels = np.zeros(len(source), np.int32)
    ids, named = elements(1)
    mapping.write(
        labels,
        ids,
        named,
        source_index=source[::-1].copy(),
        total_points=2**32,
        out=tmp_path / "map.json",
        report=Silence(),
    )
    assert json.loads((tmp_path / "map.json").read_text())["elements"][0]["point_indices"] == source.tolist()


def test_pieces_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_PIECE", 97)
    random = np.random.default_rng(3)
    labels = random.integers(-1, 7, 5000).astype(np.int32)
    source = random.permutation(5000).astype(np.uint32)
    ids, named = elements(7)
    for each in (None, source):
        mapping.write(
            labels, ids, named, source_index=each, total_points=5000, out=tmp_path / "map.json", report=Silence()
        )
        assert json.loads((tmp_path / "map.json").read_text()) == naive(labels, 7, each, 5000)


def test_elements_that_are_not_in_the_model_count_as_unmapped(tmp_path: Path) -> None:
    ids, named = elements(3)
    del named["m1"]
    labels = np.array([0, 1, 1, 2, -1], np.int32)
    assert (
        mapping.write(
            labels, ids, named, source_index=None, total_points=5, out=tmp_path / "map.json", report=Silence()
        )
        == 2
    )
    assert json.loads((tmp_path / "map.json").read_text()) == naive(labels, 3, None, 5, frozenset({1}))


def test_many_elements(tmp_path: Path) -> None:
    """More than 16 bits can count."""
    count = 40_000
    labels = np.array([39_999, 32_767, 5, 32_768, 39_999, -1], np.int32)
    ids, named = elements(count)
    mapping.write(labels, ids, named, source_index=None, total_points=6, out=tmp_path / "map.json", report=Silence())
    found = json.loads((tmp_path / "map.json").read_text())["elements"]
    seen = {n: element["point_indices"] for n, element in enumerate(found) if element["point_count"]}
    assert seen == {5: [2], 32_767: [1], 32_768: [3], 39_999: [0, 4]}
    assert len(found) == count


@pytest.mark.parametrize("wrong", [2, -2])
def test_a_label_without_an_element_is_refused(tmp_path: Path, wrong: int) -> None:
    ids, named = elements(2)
    with pytest.raises(ValueError, match="2 elements"):
        mapping.write(
            np.array([0, wrong], np.int32),
            ids,
            named,
            source_index=None,
            total_points=2,
            out=tmp_path / "map.json",
            report=Silence(),
        )
    assert not list(tmp_path.iterdir())


def test_memory_is_a_few_bytes_a_point(tmp_path: Path) -> None:
    points = 3_000_000
    labels = np.random.default_rng(0).integers(-1, 300, points).astype(np.int32)
    ids, named = elements(300)
    tracemalloc.start()
    mapping.write(
        labels, ids, named, source_index=None, total_points=points, out=tmp_path / "map.json", report=Silence()
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 4 bytes a point for the order, and pieces of 2 million points at up to 40 bytes each.
    assert peak < 4 * points + 40 * 2**21 + 10e6
