"""A histogram over a range that is not known before the values are seen."""

from __future__ import annotations

import math

import numpy as np

FINE = 8192  # bins while counting: at least half of them are in use, then they are resampled
_LEAST_EXPONENT = -100  # bins are never narrower than 2**-100, so that their inverse is a float32
_MANTISSA = 24  # bits of a float32


class Histogram:
    """Counts in bins of width `2**exponent`, at multiples of it.

    When a value lies outside, the bins are joined in pairs until all fit; as bins start at multiples of
    their width, joining is exact, and the counts are the same in whatever order values come.
    """

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self._exponent = _LEAST_EXPONENT
        self._first = 0  # the first bin covers [first * 2**exponent, (first + 1) * 2**exponent)
        self._counts = np.zeros(FINE, np.int64)

    def add(self, values: np.ndarray, minimum: float, maximum: float) -> None:
        """Count values.

        Args:
            values: float32[n], a part of those that were seen.
            minimum: the least of all that were seen, finite.
            maximum: the greatest.
        """
        self._cover(min(self.minimum, minimum), max(self.maximum, maximum))
        places = np.multiply(values, np.float32(2.0**-self._exponent))  # exact: a power of two
        np.floor(places, out=places)
        indices = places.astype(np.intp)
        indices -= self._first
        self._counts += np.bincount(indices, minlength=FINE)

    def _cover(self, minimum: float, maximum: float) -> None:
        """Make room for these; the width depends on nothing but the least and the greatest value so far."""
        largest = max(abs(minimum), abs(maximum))
        exponent = self._exponent
        if largest > 0:  # narrower bins than the values' own resolution would say nothing
            exponent = max(exponent, math.frexp(largest)[1] - _MANTISSA)
        while True:
            first = math.floor(minimum / 2.0**exponent)
            last = math.floor(maximum / 2.0**exponent)
            if last - first < FINE:
                break
            exponent += 1
        self.minimum, self.maximum = minimum, maximum
        if exponent > self._exponent or first < self._first or last >= self._first + FINE:
            self._regroup(exponent, first)

    def _regroup(self, exponent: int, first: int) -> None:
        used = np.flatnonzero(self._counts)
        places = ((used + self._first) >> (exponent - self._exponent)) - first
        counts = np.zeros_like(self._counts)
        np.add.at(counts, places, self._counts[used])
        self._exponent, self._first, self._counts = exponent, first, counts

    def resampled(self, bins: int) -> np.ndarray:
        """The counts in equal bins from the least to the greatest value: int64[bins].

        What lies in a bin is taken to be spread evenly over it; the total stays.
        """
        counts = np.zeros(bins, np.int64)
        if not self.minimum < self.maximum:
            counts[0] = self._counts.sum()
            return counts
        edges = (self._first + np.arange(FINE + 1)) * 2.0**self._exponent
        edges = np.clip(edges, self.minimum, self.maximum)
        below = np.concatenate([[0], np.cumsum(self._counts)])
        used = np.flatnonzero(np.diff(edges) > 0)  # a bin of no width may not hide the one before it
        places = np.append(edges[used], self.maximum)
        wanted = np.linspace(self.minimum, self.maximum, bins + 1)
        counts[:] = np.diff(np.rint(np.interp(wanted, places, np.append(below[used], below[-1]))))
        return counts
