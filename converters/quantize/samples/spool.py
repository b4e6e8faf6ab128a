"""Samples of an iterator that can be walked once only, kept on disk so that they can be walked again."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from device_agent.errors import CalibrationError


class Spool:
    """What an iterator gives, as an iterable; each item is taken from it once, when it is first asked for.

    Args:
        items: arrays of plain numbers by name, the same names in each.
        where: names the iterator in errors.
    """

    def __init__(self, items: Iterable[Mapping[str, np.ndarray]], where: str) -> None:
        self._items = iter(items)
        self._where = where
        self._names: tuple[str, ...] = ()
        self._places: list[int] = []  # where in the file each item begins
        self._file = tempfile.TemporaryFile(prefix="edge-")  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        index = 0
        while index < len(self._places) or self._take():
            self._file.seek(self._places[index])
            yield {name: np.load(self._file, allow_pickle=False) for name in self._names}
            index += 1

    def _take(self) -> bool:
        """Put the next item at the end of the file; False where there is none."""
        item = next(self._items, None)
        if item is None:
            return False
        self._names = tuple(item)
        try:
            place = self._file.seek(0, 2)
            for array in item.values():
                np.save(self._file, array, allow_pickle=False)
        except OSError as e:
            raise CalibrationError(
                "the samples of an iterator are kept on disk for later passes, and cannot be written there",
                where=self._where,
                got=str(e),
                next_step="Give a function that makes a new iterator for each pass, or free some space "
                f"in {tempfile.gettempdir()}.",
            ) from e
        self._places.append(place)
        return True
