"""Arrays that grow on disk, in numpy's .npy format, and are read again in pieces.

Memory maps would do the same, but their pages count as the process's memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

READ_ROWS = 1 << 20


class GrowingArray:
    """A .npy file of unknown length: rows are appended, and its header is written again when it is closed."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, columns: int | None = None) -> None:
        self.path = path
        self.dtype: np.dtype[np.generic] = np.dtype(dtype)
        self.rows = 0
        self._columns = columns
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        assert rows.dtype == self.dtype and rows.shape[1:] == (() if self._columns is None else (self._columns,))
        np.ascontiguousarray(rows).tofile(self._file)
        self.rows += len(rows)

    def append_zeros(self, count: int) -> None:
        """Rows of zeros, in bounded memory."""
        shape = () if self._columns is None else (self._columns,)
        for begin in range(0, count, READ_ROWS):
            self.append(np.zeros((min(READ_ROWS, count - begin), *shape), self.dtype))

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            self._file.seek(0)
            self._write_header()
            self._file.close()

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write_header(self) -> None:
        # numpy leaves room for a longer first dimension, so the header keeps its length.
        shape = (self.rows,) if self._columns is None else (self.rows, self._columns)
        descr = npy.dtype_to_descr(self.dtype)
        npy.write_array_header_1_0(self._file, {"descr": descr, "fortran_order": False, "shape": shape})


def read_pieces(path: Path) -> Iterator[npt.NDArray[np.generic]]:
    """The rows of a .npy file in order, a million at a time."""
    with path.open("rb") as file:
        npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file)
        width = int(np.prod(shape[1:], dtype=np.int64))
        for begin in range(0, shape[0], READ_ROWS):
            rows = min(READ_ROWS, shape[0] - begin)
            yield np.fromfile(file, dtype, rows * width).reshape(rows, *shape[1:])


def rewrite(path: Path, change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> None:
    """Replace a .npy file's rows, a million at a time, by what `change` makes of them; the dtype may be another."""
    target: GrowingArray | None = None
    part = path.with_name(path.name + ".part")
    for rows in read_pieces(path):
        changed = change(rows)
        if target is None:
            target = GrowingArray(part, changed.dtype, changed.shape[1] if changed.ndim > 1 else None)
        target.append(changed)
    if target is not None:
        target.close()
        part.replace(path)
