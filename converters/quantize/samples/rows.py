"""Arrays on disk that are read a slice at a time, so that a set of samples need not fit in memory."""

from __future__ import annotations

import math
import tempfile
import weakref
import zipfile
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any

import numpy as np
from attrs import field, frozen

from device_agent.errors import CalibrationError, EdgeError

SMALL = 1 << 24  # bytes; arrays up to this are simply held


@frozen
class Rows:
    """A C-ordered array in an .npy file; slices along its first axis are read from the disk."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _start: int  # of the values in the file, in bytes
    _file: IO[bytes] = field(repr=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        shape = (max(0, stop - start), *self.shape[1:])
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._file.seek(self._start + start * size)
        data = self._file.read(shape[0] * size)
        return np.frombuffer(data, self.dtype).reshape(shape)


def arrays_in(path: Path) -> Mapping[str, np.ndarray | Rows]:
    """The arrays of an .npz file by name, or the one of an .npy file under its stem.

    Raises:
        CalibrationError: the file cannot be read, is cut off, or holds Python objects.
    """
    try:
        if path.suffix.lower() == ".npy":
            return {path.stem: _opened(path.open("rb"))}
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except EdgeError:
        raise
    except Exception as e:  # NumPy and zipfile let almost any exception out of a damaged file
        raise CalibrationError(
            "the file cannot be read",
            where=str(path),
            got=str(e) or type(e).__name__,
            expected="plain arrays, as np.savez and np.save write them",
        ) from e


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray | Rows:
    # members may be compressed, which can only be read from the front: what is large is laid out first
    file = tempfile.TemporaryFile(prefix="edge-")  # noqa: SIM115 - closed when nothing refers to the rows
    try:
        with archive.open(name) as member:
            copyfileobj(member, file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return _opened(file)


def _opened(file: IO[bytes]) -> np.ndarray | Rows:
    """The array of an .npy file that was opened; the file is closed with it."""
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(file)
        start = file.tell()
        size = math.prod(shape) * dtype.itemsize
        there = file.seek(0, 2) - start
        if there < size:
            raise ValueError(f"it is cut off: {size} bytes of values are announced, {there} are there")  # noqa: TRY301 - closes the file as any other error
        if size <= SMALL or fortran or not shape or dtype.hasobject:
            file.seek(0)
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)  # pickles can run code
            file.close()
            return array
        rows = Rows(shape, dtype, start, file)
    except BaseException:
        file.close()
        raise
    weakref.finalize(rows, file.close)
    return rows
