"""Arrays that may be larger than memory: long ones lie in a temporary file, which is mapped into memory.

Such a file has no name, so that it is gone with the array. What is done with long arrays is done block by block, and
the pages of a block are let go afterwards: they stay with the operating system, and no longer count as this process's.
"""

import mmap
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

IN_MEMORY = 64 * 2**20  # bytes of an array; a longer one lies in a file
BLOCK = 2**20  # elements that are looked at together


class Growing:
    """An array that is made piece by piece."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._pieces: list[npt.NDArray[Any]] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._rows = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self._rows

    def append(self, piece: npt.NDArray[Any]) -> None:
        """More rows of the same type and width. Raises OSError where no space is left for a file."""
        self._rows += len(piece)
        self._bytes += piece.nbytes
        self._pieces.append(piece)
        if self._file is None and self._bytes > IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix="unroll-")  # noqa: SIM115 - it lives as long as the array
        if self._file is not None:
            for waiting in self._pieces:
                self._file.write(np.ascontiguousarray(waiting).view(np.uint8).data)
            self._pieces = [piece[:0].copy()]  # the type and the width

    def array(self) -> npt.NDArray[Any]:
        """All rows; nothing is appended afterwards."""
        if self._file is None:
            return np.concatenate(self._pieces) if self._pieces else np.empty(0, np.float32)
        self._file.flush()
        like = self._pieces[0]
        mapped = mmap.mmap(self._file.fileno(), self._bytes)
        self._file.close()
        return np.ndarray((self._rows, *like.shape[1:]), like.dtype, mapped)


def blocks(count: int, width: int = 1) -> Iterator[slice]:
    """So many rows of a width as slices, one after the other."""
    size = max(1, BLOCK // width)
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def pairs(count: int) -> Iterator[tuple[slice, slice]]:
    """So many elements as slices that hold all pairs of neighbours once: of the pairs, and of the elements."""
    for block in blocks(max(0, count - 1)):
        yield block, slice(block.start, block.stop + 1)


def taken(array: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows of an array that a mask or an order chooses."""
    if array.nbytes <= IN_MEMORY:
        return array[rows]  # type: ignore[no-any-return]
    made = Growing()
    for block in blocks(len(rows)):
        made.append(array[block][rows[block]] if rows.dtype == bool else array[rows[block]])
        release(array)
    return made.array()


def release(*arrays: npt.NDArray[Any] | None) -> None:
    """Lets go of the memory of arrays that lie in files; their values stay."""
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
