"""Ranges of activations from their statistics: what a quantised tensor holds, and what it clips.

An end of a range is only ever moved towards zero, and never across it: zero is held by every quantised range
(padding and ReLU need it exact), so an end at zero costs nothing and stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from converters.quantize.integer.prepared import Range
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np

    from converters.quantize.integer.statistics import Statistics, TensorStatistics

TAIL = 1e-4  # the share of values that `percentile` leaves out at each end
# how far from the best ends so far `mse` looks in each round, as a share of them, and in how many places
_ROUNDS = ((0.7, 25), (0.15, 11), (0.03, 11), (0.006, 11))
_ITERATIONS = 100
_SETTLED = 1e-6  # of the range: `octav` ends when both ends move less


def choose(
    statistics: Statistics, method: str, *, bits: int = 8, symmetric: bool = False
) -> dict[str, Range]:
    """The range of every tensor.

    Args:
        statistics: of the activations.
        method: one of `METHODS`.
        bits: of the quantised values.
        symmetric: the quantised values have zero-point 0, so that both ends have the same step.

    Raises:
        InvalidRequest: no such method.
    """
    if method not in _CHOICES:
        raise InvalidRequest("unknown ranges", got=repr(method), expected=" or ".join(METHODS))
    chosen = _CHOICES[method]
    return {
        # of a constant there is nothing to clip
        name: chosen(one, bits, symmetric) if one.minimum < one.maximum else minmax(one, bits, symmetric)
        for name, one in statistics.tensors.items()
    }


def minmax(statistics: TensorStatistics, _bits: int, _symmetric: bool) -> Range:
    """From the least to the greatest value that was seen."""
    return Range(statistics.minimum, statistics.maximum)


def percentile(statistics: TensorStatistics, _bits: int, _symmetric: bool) -> Range:
    """What holds all but the outermost `TAIL` of the values at either end.

    99.99 % is what Wu et al. 2020 find best for most networks (https://arxiv.org/abs/2004.09602, 4.3), there
    of absolute values.
    """
    import numpy as np

    edges = _edges(statistics)
    below = np.concatenate([[0.0], np.cumsum(statistics.histogram / statistics.histogram.sum())])
    low, high = np.interp([TAIL, 1 - TAIL], below, edges)
    return _towards_zero(statistics, float(low), float(high))


def mse(statistics: TensorStatistics, bits: int, symmetric: bool) -> Range:
    """What makes the mean squared error of quantised values least: see `quantization_error`.

    From the better of `minmax` and `octav`, each end alone and both together are moved over a grid, then over
    finer ones around the best.
    """
    import numpy as np

    def ends_of(range_: Range) -> list[float]:
        low, high = min(range_.minimum, 0.0), max(range_.maximum, 0.0)
        return [-max(-low, high), max(-low, high)] if symmetric else [low, high]

    whole = ends_of(minmax(statistics, bits, symmetric))
    tried = np.array([whole, ends_of(octav(statistics, bits, symmetric))])
    one_ended = symmetric or 0.0 in whole
    moves = np.array([[1, 1]] if one_ended else [[0, 1], [1, 0], [1, 1]])
    best = tried[quantization_error(statistics, tried, bits, symmetric).argmin()]
    for reach, places in _ROUNDS:
        for move in moves:
            factors = 1 + np.linspace(-reach, reach, places)[:, None] * move
            tried = np.concatenate([best[None], best * factors]).clip(whole[0], whole[1])
            best = tried[quantization_error(statistics, tried, bits, symmetric).argmin()]
    return _towards_zero(statistics, float(best[0]), float(best[1]))


def octav(statistics: TensorStatistics, bits: int, symmetric: bool) -> Range:
    """Optimally clipped tensors, by Newton's iteration (Sakr et al. 2022, equation 6).

    Rounding is taken to add noise of step^2 / 12 to every value within the range. The paper
    (https://proceedings.mlr.press/v162/sakr22a.html) has one end: half of a symmetric range, or the upper end
    of a range from zero. Here both ends move, each at the other's place; for a symmetric distribution, and
    for one from zero, this is the paper's iteration.
    """
    import numpy as np

    edges = _edges(statistics)
    shares = statistics.histogram / statistics.histogram.sum()
    centres = (edges[:-1] + edges[1:]) / 2
    count = np.concatenate([[0.0], np.cumsum(shares)])  # of what is below an edge
    total = np.concatenate([[0.0], np.cumsum(shares * centres)])
    noise = 1 / (12 * (2.0**bits - 1) ** 2)

    def below(place: float) -> tuple[float, float]:
        return float(np.interp(place, edges, count)), float(np.interp(place, edges, total))

    low = high = 0.0
    for _ in range(_ITERATIONS):
        (under, sum_under), (within, sum_within) = below(low), below(high)
        over, sum_over = 1 - within, float(total[-1]) - sum_within
        inside = noise * (within - under)
        if symmetric:
            inside *= 4  # the step is that of a range twice as wide
            high_next = (sum_over - sum_under) / max(over + under + inside, 1e-30)
            low_next = -high_next
        else:
            high_next = (sum_over + inside * low) / max(over + inside, 1e-30)
            low_next = (sum_under + inside * high) / max(under + inside, 1e-30)
        low_next = min(max(low_next, statistics.minimum), 0.0)
        high_next = max(min(high_next, statistics.maximum), 0.0)
        moved = max(abs(low_next - low), abs(high_next - high))
        low, high = low_next, high_next
        if moved <= _SETTLED * (statistics.maximum - statistics.minimum):
            break
    return _towards_zero(statistics, low, high)


def quantization_error(
    statistics: TensorStatistics, ends: np.ndarray, bits: int, symmetric: bool
) -> np.ndarray:
    """The mean squared error of a tensor's values when they are quantised to ranges.

    The values of a bin are taken to be spread evenly over it; over that, the squared distance to the nearest
    quantised value is integrated exactly, clipped values included.

    Args:
        statistics: of the tensor.
        ends: float64[N, 2], the ranges, each with zero in it.
        bits: of the quantised values.
        symmetric: their zero-point is 0.

    Returns:
        float64[N], in the square of the tensor's unit.
    """
    import numpy as np

    low, high = ends[:, :1], ends[:, 1:]
    if symmetric:
        greatest = 2.0 ** (bits - 1) - 1
        step = np.maximum(np.maximum(-low, high) / greatest, 1e-300)
        first, last = -greatest, greatest
    else:
        steps = 2.0**bits - 1
        step = np.maximum((high - low) / steps, 1e-300)
        first = np.rint(low / step)
        last = first + steps
    places = _edges(statistics) / step
    nearest = np.clip(np.rint(places), first, last)
    off = places - nearest
    integral = off * off * off / 3 + nearest / 12  # of (x - nearest(x))^2 from 0 to x, in steps
    shares = statistics.histogram / statistics.histogram.sum()
    widths = np.maximum(places[:, 1] - places[:, 0], 1e-300)  # of bins, all of them
    errors: np.ndarray = np.diff(integral, axis=1) @ shares / widths * step[:, 0] ** 2
    return errors


def _edges(statistics: TensorStatistics) -> np.ndarray:
    import numpy as np

    return np.linspace(statistics.minimum, statistics.maximum, len(statistics.histogram) + 1)


def _towards_zero(statistics: TensorStatistics, low: float, high: float) -> Range:
    """The range between these, its ends moved towards zero only, and by a bin of the histogram at least."""
    least, greatest = statistics.minimum, statistics.maximum
    width = (greatest - least) / len(statistics.histogram)  # what is nearer than this cannot be told apart
    return Range(
        least if least >= 0 or low <= least + width else min(low, 0.0),
        greatest if greatest <= 0 or high >= greatest - width else max(high, 0.0),
    )


_CHOICES: dict[str, Callable[[TensorStatistics, int, bool], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "octav": octav,
}
METHODS = tuple(_CHOICES)
