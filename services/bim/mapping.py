"""`point_mapping.json`: which points of the uploaded file belong to which element.

    {"total_points": n, "mapped_points": n,
     "elements": [{"element_id": "W-0-012", "element_type": "IfcWall", "point_indices": [1, 2, …], "point_count": n}, …]}

Every element of the model that has a body is listed, also one without points; spaces are not. Indices count from 0 in the
file's own order, invalid points included, and ascend.

Points are sorted by element with a counting sort, piece by piece, in memory of 4 bytes a point; numbers become text in polars.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.progress import Reporter
from services.bim.ifc.writer import ElementId, ElementIds

Labels = NDArray[np.int32]
Indices = NDArray[np.uint32]
Counts = NDArray[np.int64]

_PIECE = 1 << 21
"""Points that are sorted at a time."""
_OPERATION = "Writing the point mapping"


def write(
    labels: Labels,
    model_ids: Sequence[str],
    ids: ElementIds,
    *,
    source_index: Indices | None,
    total_points: int,
    out: Path,
    report: Reporter,
) -> int:
    """Write `out`, and say how many points are mapped.

    labels: (n,) int32, for every point of the cloud the place of its element in `model_ids`, or -1. source_index: (n,) uint32,
    the point's row in the uploaded file; None where that is its row in the cloud. Both may be memory maps. Points of elements
    that are not in the file (`ids`) count as unmapped. Raises ValueError if a label names no element.
    """
    report.progress(0, len(labels), _OPERATION)
    sizes = _sizes(labels, len(model_ids))
    ordered = _ordered(labels, source_index, sizes)
    listed = [(place, ids[model_id]) for place, model_id in enumerate(model_ids) if model_id in ids]
    mapped = int(sum(sizes[place] for place, _ in listed))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    unfinished = out.with_name(out.name + ".part")
    written = 0
    with unfinished.open("wb") as target:
        target.write(f'{{"total_points": {total_points}, "mapped_points": {mapped}, "elements": ['.encode())
        for number, (place, element) in enumerate(listed):
            target.write(b",\n" if number else b"\n")
            report.progress(written, mapped, _OPERATION)
            _write_element(target, element, ordered[starts[place] : starts[place + 1]])
            written += int(sizes[place])
        target.write(b"\n]}\n")
    unfinished.replace(out)
    return mapped


def _sizes(labels: Labels, elements: int) -> Counts:
    """Points of each element (elements,) int64."""
    sizes = np.zeros(elements + 1, np.int64)
    for first in range(0, len(labels), _PIECE):
        piece = np.asarray(labels[first : first + _PIECE])
        if piece.min() < -1 or piece.max() >= elements:
            raise ValueError(f"a point has label {piece.max()}, and there are {elements} elements")
        sizes += np.bincount(piece + 1, minlength=elements + 1)
    return sizes[1:]


def _ordered(labels: Labels, source_index: Indices | None, sizes: Counts) -> Indices:
    """Rows of the uploaded file, element after element, ascending within each."""
    ordered = np.empty(int(sizes.sum()), np.uint32)
    free = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    # Sorting keys of 16 bits is a radix sort, and there are rarely more elements.
    key = np.int16 if len(sizes) <= np.iinfo(np.int16).max else np.int32
    for first in range(0, len(labels), _PIECE):
        piece = np.asarray(labels[first : first + _PIECE]).astype(key)
        order = np.argsort(piece, kind="stable")
        order = order[np.searchsorted(piece[order], 0) :]
        grouped = piece[order]
        begins = np.flatnonzero(np.diff(grouped, prepend=-1))
        counts = np.diff(begins, append=len(grouped))
        rows = order + first if source_index is None else source_index[first : first + _PIECE][order]
        for group, begin, count in zip(grouped[begins].tolist(), begins.tolist(), counts.tolist(), strict=True):
            ordered[free[group] : free[group] + count] = rows[begin : begin + count]
            free[group] += count
    if source_index is not None:
        for end, size in zip(free.tolist(), sizes.tolist(), strict=True):
            ordered[end - size : end].sort()
    return ordered


def _write_element(target: BinaryIO, element: ElementId, indices: Indices) -> None:
    name, kind = json.dumps(element.name), json.dumps(element.ifc_class)
    target.write(f'{{"element_id": {name}, "element_type": {kind}, "point_indices": ['.encode())
    if len(indices):
        # A table of one column whose lines end in commas; after the last number there is none.
        pl.DataFrame({"row": indices[:-1]}).write_csv(target, include_header=False, line_terminator=",")
        target.write(str(int(indices[-1])).encode())
    target.write(f'], "point_count": {len(indices)}}}'.encode())
