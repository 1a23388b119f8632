"""Parsers of odometry.csv and camera_matrix.csv, in every form that Stray Scanner and ReScan have written."""

import csv
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from contracts.captures import Intrinsics
from contracts.errors import ErrorCode, UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

POSE_COLUMNS = ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw")
INTRINSICS_COLUMNS = ("fx", "fy", "cx", "cy")
MAX_ROWS = 1_000_000
QUATERNION_NORM_TOLERANCE = 0.02
"""Room for four digits after the point; a larger error is another column or a broken export."""
OUT_OF_ORDER_LIMIT = 0.2
_POSITION_LIMIT_M = 1e5
_SCALES = sorted({Fraction(p, q) for p in range(1, 5) for q in range(1, 5)})
_SCALE_TOLERANCE = 0.04


@dataclass(frozen=True)
class Odometry:
    """odometry.csv: row i belongs to video frame i, from 0."""

    timestamps_s: FloatArray
    """(n,) as written; not necessarily in order."""
    frame_ids: IntArray
    """(n,) names of the depth and confidence pictures; may repeat or jump."""
    positions_m: FloatArray
    """(n, 3) camera centres in the phone's world."""
    quaternions_xyzw: FloatArray
    """(n, 4) unit rotations from the camera as the app defines its axes."""
    intrinsics_px: FloatArray | None
    """(n, 4) fx, fy, cx, cy; nan in rows that lack them; None if no row has them."""
    usable: npt.NDArray[np.bool_]
    """(n,) False where the time stamp is out of order."""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.timestamps_s)


@dataclass(frozen=True)
class Calibration:
    """camera_matrix.csv at the resolution of the pictures."""

    intrinsics: Intrinsics
    scale: Fraction
    """Pictures over the matrix's own resolution; 1 as a rule."""
    notes: tuple[str, ...] = ()


def parse_odometry(data: bytes) -> Odometry:
    """Read odometry.csv. Raises UserError INVALID_ODOMETRY naming the line, counted from 1 with the header."""
    text = _decode(data, ErrorCode.INVALID_ODOMETRY, "odometry.csv")
    # Not splitlines(): that would also split at form feeds and the like.
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise _bad_odometry("odometry.csv is empty.")
    if len(numbered) - 1 > MAX_ROWS:
        raise _bad_odometry(f"odometry.csv has {len(numbered) - 1} rows; at most {MAX_ROWS} are accepted.")
    columns = _read_header(numbered[0][1])
    notes: list[str] = []
    rows = []
    for number, line in numbered[1:]:
        try:
            rows.append(_read_row(number, line, columns))
        except UserError:
            # A recording that was cut off ends inside a line; anything else is an error.
            if number != numbered[-1][0] or text.endswith("\n") or not rows:
                raise
            notes.append(f"odometry.csv ends inside line {number}; that row is left out.")
    if not rows:
        raise _bad_odometry("odometry.csv has a header and no rows; record the capture again.")
    return _assemble(np.array(rows, dtype=np.float64), notes)


def parse_camera_matrix(data: bytes) -> FloatArray:
    """Read camera_matrix.csv into K, (3, 3) float64 in pixels. Raises UserError INVALID_INTRINSICS.

    Its origin is the upper left corner of the picture, as in ARKit (and COLMAP): no half pixel is added.
    """
    text = _decode(data, ErrorCode.INVALID_INTRINSICS, "camera_matrix.csv")
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines()) if any(f.strip() for f in row)]
    rows = [row[:-1] if len(row) == 4 and not row[-1] else row for row in rows]
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        shape = f"{len(rows)} rows of {sorted({len(row) for row in rows})} fields"
        raise _bad_intrinsics(f"camera_matrix.csv must be 3 rows of 3 numbers; found {shape}.")
    try:
        k = np.array([[float(field) for field in row] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise _bad_intrinsics(f"camera_matrix.csv holds something that is not a number ({error}).") from error
    # simd matrices are stored by columns; some exports write them that way.
    if not np.allclose(k[2], (0, 0, 1)) and np.allclose(k[:, 2], (0, 0, 1)):
        k = k.T
    if not (np.isfinite(k).all() and np.allclose(k[2], (0, 0, 1)) and np.allclose(k[1, 0], 0)):
        raise _bad_intrinsics("camera_matrix.csv is not a camera matrix: rows fx 0 cx; 0 fy cy; 0 0 1 are expected.")
    if min(k[0, 0], k[1, 1], k[0, 2], k[1, 2]) <= 0 or not 0.5 < k[0, 0] / k[1, 1] < 2:
        raise _bad_intrinsics(
            f"camera_matrix.csv has fx {k[0, 0]:g}, fy {k[1, 1]:g}, cx {k[0, 2]:g}, cy {k[1, 2]:g}; "
            "all must be positive, and fx close to fy."
        )
    return np.ascontiguousarray(k)


def calibrate(k: FloatArray, width_px: int, height_px: int) -> Calibration:
    """Bring K to the pictures' resolution, taking the principal point as near the picture's centre.

    Only ratios of small whole numbers (1/4 to 4) equal in x and y are taken as another resolution.
    Raises UserError INVALID_INTRINSICS when K belongs to another picture.
    """
    scale = fitting_scale(k, width_px, height_px)
    if scale is None:
        raise _bad_intrinsics(
            f"camera_matrix.csv has its principal point at ({k[0, 2]:.1f}, {k[1, 2]:.1f}), which belongs to a picture "
            f"of about {2 * k[0, 2]:.0f}x{2 * k[1, 2]:.0f}; the pictures are {width_px}x{height_px}."
        )
    factor = float(scale)
    intrinsics = Intrinsics(
        fx_px=k[0, 0] * factor, fy_px=k[1, 1] * factor, cx_px=k[0, 2] * factor, cy_px=k[1, 2] * factor
    )
    notes: tuple[str, ...] = ()
    if scale != 1:
        notes = (
            f"camera_matrix.csv is for another resolution than the {width_px}x{height_px} pictures; "
            f"it was multiplied by {scale}.",
        )
    return Calibration(intrinsics, scale, notes)


def fitting_scale(k: FloatArray, width_px: int, height_px: int) -> Fraction | None:
    """The clean ratio of a picture's size to K's own, or None if K does not fit such a picture."""
    ratio_x, ratio_y = width_px / (2 * k[0, 2]), height_px / (2 * k[1, 2])
    # The principal point wanders by a few per cent with focus and stabilisation.
    if abs(ratio_x - 1) < 0.1 and abs(ratio_y - 1) < 0.1:
        return Fraction(1)
    if abs(ratio_x / ratio_y - 1) > 2 * _SCALE_TOLERANCE:
        return None
    mean = math.sqrt(ratio_x * ratio_y)
    nearest = min(_SCALES, key=lambda scale: abs(mean / float(scale) - 1))
    return nearest if abs(mean / float(nearest) - 1) < _SCALE_TOLERANCE else None


def native_fps(timestamps_s: FloatArray) -> float | None:
    """Frames per second from the median step of a track with gaps; None if its time stands still."""
    steps_s = np.diff(timestamps_s)
    steps_s = steps_s[steps_s > 1e-6]
    return float(1 / np.median(steps_s)) if len(steps_s) else None


def files_of_rows(names: Sequence[str], frame_ids: IntArray) -> dict[int, str]:
    """Which numbered file belongs to which row of odometry.csv.

    Files carry the frame id. Some exports count files from 1 and ids from 0: the shift of -1, 0 or 1 under which most
    ids have a file is taken, 0 when in doubt. When an id repeats, its file was written over by the later row; rows
    directly before it with the same id share it, since they are the same instant to within a frame.

    Returns {row: name}; files without a number and rows without a file are left out.
    """
    by_number = {int(match[1]): name for name in names if (match := re.search(r"(\d{1,15})\.\w+$", name))}
    numbers = np.array(sorted(by_number), dtype=np.int64)
    shift = max((0, 1, -1), key=lambda each: int(np.isin(frame_ids + each, numbers).sum()))
    rows: dict[int, str] = {}
    owner: dict[int, int] = {}
    for row in range(len(frame_ids) - 1, -1, -1):
        frame = int(frame_ids[row])
        name = by_number.get(frame + shift)
        if name is not None and owner.get(frame, row + 1) == row + 1:
            rows[row] = name
            owner[frame] = row
    return rows


def _decode(data: bytes, code: ErrorCode, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(code, f"{name} is not a text file in UTF-8.", field=name) from error
    if "\0" in text:
        raise UserError(code, f"{name} is not a text file.", field=name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_header(line: str) -> dict[str, int]:
    names = [field.strip().lower() for field in line.split(",")]
    missing = [name for name in POSE_COLUMNS if name not in names]
    if missing:
        raise _bad_odometry(
            f"odometry.csv's first line must name the columns {', '.join(POSE_COLUMNS)}; missing: {', '.join(missing)}."
        )
    repeated = {name for name in names if name and names.count(name) > 1}
    if repeated:
        raise _bad_odometry(f"odometry.csv's first line names {', '.join(sorted(repeated))} twice.")
    columns = {name: names.index(name) for name in POSE_COLUMNS}
    if all(name in names for name in INTRINSICS_COLUMNS):
        columns |= {name: names.index(name) for name in INTRINSICS_COLUMNS}
    return columns | {"": len(names)}


def _read_row(number: int, line: str, columns: dict[str, int]) -> list[float]:
    fields = [field.strip() for field in line.split(",")]
    if any(fields[columns[""] :]):
        raise _bad_odometry(f"Line {number} of odometry.csv has {len(fields)} fields, its header {columns['']}.")
    values = []
    for name in POSE_COLUMNS:
        field = fields[columns[name]] if columns[name] < len(fields) else ""
        values.append(_read_number(number, name, field))
    norm = math.hypot(*values[5:9])
    if abs(norm - 1) > QUATERNION_NORM_TOLERANCE:
        raise _bad_odometry(f"Line {number} of odometry.csv: the quaternion's length is {norm:.3g}, not 1.")
    values[5:9] = [value / norm for value in values[5:9]]
    if max(map(abs, values[2:5])) > _POSITION_LIMIT_M:
        raise _bad_odometry(f"Line {number} of odometry.csv: the position is more than 100 km from the start.")
    if values[1] != int(values[1]) or not 0 <= values[1] < 2**53:
        raise _bad_odometry(f"Line {number} of odometry.csv: frame {values[1]:g} is not a whole number.")
    return values + _read_intrinsics(number, fields, columns)


def _read_intrinsics(number: int, fields: list[str], columns: dict[str, int]) -> list[float]:
    if "fx" not in columns:
        return [math.nan] * 4
    texts = [fields[columns[name]] if columns[name] < len(fields) else "" for name in INTRINSICS_COLUMNS]
    if not any(texts):
        return [math.nan] * 4
    values = [_read_number(number, name, text) for name, text in zip(INTRINSICS_COLUMNS, texts, strict=True)]
    if min(values) <= 0:
        raise _bad_odometry(f"Line {number} of odometry.csv: fx, fy, cx and cy must be positive.")
    return values


def _read_number(number: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        found = f"'{text[:40]}'" if text else "nothing"
        raise _bad_odometry(f"Line {number} of odometry.csv: {name} must be a number, found {found}.") from error
    if not math.isfinite(value):
        raise _bad_odometry(f"Line {number} of odometry.csv: {name} is {value}; tracking was lost there.")
    return value


def _assemble(table: FloatArray, notes: list[str]) -> Odometry:
    timestamps_s = table[:, 0].copy()
    usable = _in_order(timestamps_s)
    lost = int((~usable).sum())
    if lost > OUT_OF_ORDER_LIMIT * len(table):
        raise _bad_odometry(
            f"{lost} of the {len(table)} rows of odometry.csv are out of time order, so they cannot be matched with "
            "the video's frames; export the capture again."
        )
    if lost:
        notes.append(f"{lost} rows of odometry.csv are out of time order; their frames are not used.")
    intrinsics = None if np.isnan(table[:, 9:]).all() else table[:, 9:].copy()
    if intrinsics is not None and (empty := int(np.isnan(intrinsics[:, 0]).sum())):
        notes.append(f"{empty} rows of odometry.csv lack intrinsics; camera_matrix.csv is used there.")
    return Odometry(
        timestamps_s=timestamps_s,
        frame_ids=table[:, 1].astype(np.int64),
        positions_m=table[:, 2:5].copy(),
        quaternions_xyzw=table[:, 5:9].copy(),
        intrinsics_px=intrinsics,
        usable=usable,
        notes=tuple(notes),
    )


def _in_order(timestamps_s: FloatArray) -> npt.NDArray[np.bool_]:
    """The longest run of rows whose time never steps back (patience sorting): one wild value costs one row."""
    tails: list[float] = []
    tail_rows: list[int] = []
    previous = np.full(len(timestamps_s), -1, dtype=np.int64)
    for row, time_s in enumerate(timestamps_s.tolist()):
        at = bisect_right(tails, time_s)
        if at == len(tails):
            tails.append(time_s)
            tail_rows.append(row)
        else:
            tails[at] = time_s
            tail_rows[at] = row
        previous[row] = tail_rows[at - 1] if at else -1
    usable = np.zeros(len(timestamps_s), dtype=np.bool_)
    row = tail_rows[-1]
    while row >= 0:
        usable[row] = True
        row = int(previous[row])
    return usable


def _bad_odometry(message: str) -> UserError:
    return UserError(ErrorCode.INVALID_ODOMETRY, message, field="odometry.csv")


def _bad_intrinsics(message: str) -> UserError:
    return UserError(ErrorCode.INVALID_INTRINSICS, message, field="camera_matrix.csv")
