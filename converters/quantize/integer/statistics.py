"""What calibration learns of every activation of a float graph, in one pass over the samples."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from device_agent.errors import CalibrationError, QuantizationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from converters.graph.ir import Graph
    from converters.progress import Progress
    from converters.quantize.integer.histogram import Histogram
    from converters.quantize.samples.calibration import Calibration, Digest

BINS = 2048
COUNTED = 32_768  # values of a tensor that are counted per sample, at most about so many
_REDUCED_AT_ONCE = 4096  # values; see `_channels`


@frozen
class TensorStatistics:
    """Of one float tensor, over all samples.

    `channel_*` are float32[C] over the last axis, of length C (scalars have C = 1). `histogram` counts the
    values in equal bins from `minimum` to `maximum`, int64[BINS]; of large tensors every k-th value is
    counted.
    """

    minimum: float
    maximum: float
    channel_minimum: np.ndarray = field(repr=False)
    channel_maximum: np.ndarray = field(repr=False)
    channel_mean: np.ndarray = field(repr=False)
    histogram: np.ndarray = field(repr=False)


@frozen
class Statistics:
    """Statistics by tensor name, constants excluded, and the number of samples they are of."""

    tensors: dict[str, TensorStatistics]
    samples: int


def collect(graph: Graph, calibration: Calibration, progress: Progress, *, cached: bool = True) -> Statistics:
    """Run the samples through the graph in LiteRT, one at a time, and note the values of every activation.

    Memory holds one sample's activations and a histogram per tensor, however many samples there are. Of
    tensors of more than `COUNTED` values every k-th goes into the histogram, k coprime to all sizes so that
    no channel is left out; least and greatest value are of all values. The order of the samples does not
    matter, except to the last digits of `channel_mean` (sums of float64). Inf counts as the greatest float32.
    What was found before of the same graph and samples is taken from the user's cache (see `cache.default`).

    Args:
        graph: float32; not changed.
        calibration: its samples, one or more.
        progress: told of every sample.
        cached: whether the cache may be used; where the calibration has no digest it never is.

    Returns:
        The statistics of every float32 tensor that is no constant and not empty.

    Raises:
        CalibrationError: there are no samples at this pass.
        QuantizationError: LiteRT cannot run the graph, or a tensor holds NaN.
    """
    from converters.graph.write import write
    from converters.quantize.integer import cache as caches
    from converters.quantize.samples.calibration import Digest

    data = write(graph)
    kept = caches.default() if cached and calibration.digest is not None else None
    if kept is None or calibration.digest is None:
        return _collected(graph, data, calibration, progress)
    key = caches.key(data, calibration.digest)
    found = kept.load(key)
    if found is not None:
        progress("calibrating", found.samples, found.samples)
        return found
    seen = Digest()
    found = _collected(graph, data, evolve(calibration, samples=_told(calibration, seen)), progress)
    if seen.hexdigest() == calibration.digest:  # a function may give other samples at each call
        kept.store(key, found)
    return found


def _told(calibration: Calibration, digest: Digest) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """The samples, each of which the digest takes in."""

    def samples() -> Iterator[dict[str, np.ndarray]]:
        for sample in calibration.samples():
            digest.add(sample)
            yield sample

    return samples


def _collected(graph: Graph, data: bytes, calibration: Calibration, progress: Progress) -> Statistics:
    from converters.quantize.integer.tracing import Tracing, computed

    traced = Tracing(graph, data)
    names = computed(graph)
    totals: dict[str, _Total] = {}
    samples = 0
    progress("calibrating", 0, calibration.count)
    for sample in calibration.samples():
        traced.run(sample)
        for name in names:
            array = traced.value(name)
            if array.size:
                if name not in totals:
                    totals[name] = _Total.of(array)
                if not totals[name].add(array) and not totals[name].add(_bounded(array)):
                    raise _not_a_number(graph, name, array, samples, calibration.source)
            del array  # a view that is still held would stop the next run
        samples += 1
        progress("calibrating", samples, calibration.count)
    if samples == 0:
        raise CalibrationError(
            "the calibration data gave its samples once, and none when it was read again",
            where=calibration.source,
            expected="the same samples at every pass",
            next_step="Make a new iterator in every call of the function.",
        )
    return Statistics({name: total.result() for name, total in totals.items()}, samples)


@define
class _Total:
    """What is known of one tensor so far; sums are float64[C]."""

    minimum: np.ndarray
    maximum: np.ndarray
    sums: np.ndarray
    values: int  # per channel
    histogram: Histogram

    @classmethod
    def of(cls, array: np.ndarray) -> _Total:
        import numpy as np

        from converters.quantize.integer.histogram import Histogram

        channels = array.shape[-1] if array.ndim else 1
        least = np.full(channels, np.inf, np.float32)
        return cls(least, -least, np.zeros(channels), 0, Histogram())

    def add(self, array: np.ndarray) -> bool:
        """Take in one sample's values; False, and nothing taken in, where they hold NaN or Inf."""
        import numpy as np

        channels = len(self.sums)
        least, greatest, sums = _channels(array, channels)
        minimum, maximum = float(least.min()), float(greatest.max())  # NaN shows in both
        if not (math.isfinite(minimum) and math.isfinite(maximum)):
            return False
        np.minimum(self.minimum, least, out=self.minimum)
        np.maximum(self.maximum, greatest, out=self.maximum)
        self.sums += sums
        self.values += array.size // channels
        self.histogram.add(array.reshape(-1)[:: _step(array.shape)], minimum, maximum)
        return True

    def result(self) -> TensorStatistics:
        import numpy as np

        return TensorStatistics(
            float(self.minimum.min()),
            float(self.maximum.max()),
            self.minimum,
            self.maximum,
            np.nan_to_num(self.sums / self.values).astype(np.float32),  # of masks the sums overflow
            self.histogram.resampled(BINS),
        )


def _channels(array: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least, greatest and sum by channel.

    Rows of a few channels are reduced several at once: NumPy is fast along rows of thousands of values, and
    a sum of few of them is exact to the last digits in float32.
    """
    import numpy as np

    joined = _joined(array.size // channels, channels)
    wide = array.reshape(-1, joined * channels)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf are looked for in what comes out
        return (
            wide.min(axis=0).reshape(joined, channels).min(axis=0),
            wide.max(axis=0).reshape(joined, channels).max(axis=0),
            wide.sum(axis=0).reshape(joined, channels).sum(axis=0, dtype=np.float64),
        )


@cache
def _joined(rows: int, channels: int) -> int:
    """How many rows are reduced as one."""
    return max(n for n in range(1, max(1, _REDUCED_AT_ONCE // channels) + 1) if rows % n == 0)


@cache
def _step(shape: tuple[int, ...]) -> int:
    """Every how manieth value is counted: coprime to all sizes, so that every channel has its turn."""
    size = math.prod(shape)
    step = -(-size // COUNTED)
    while math.gcd(step, size) > 1:
        step += 1
    return step


def _bounded(array: np.ndarray) -> np.ndarray:
    """The greatest numbers for Inf, with which models mask; NaN stays."""
    import numpy as np

    limit = np.finfo(np.float32).max
    return np.asarray(np.clip(array, -limit, limit))


def _not_a_number(graph: Graph, name: str, array: np.ndarray, sample: int, source: str) -> QuantizationError:
    import numpy as np

    operator = graph.producer(name)
    return QuantizationError(
        f"the float model computes NaN in tensor {name!r} for sample {sample}",
        where=f"{operator.type} operator" if operator is not None else "an input",
        got=f"{int(np.isnan(array).sum())} of {array.size} values",
        expected="numbers, as integers have no NaN",
        next_step=f"Leave the sample out of {source}, or mend the model: it gives NaN in float too.",
    )
