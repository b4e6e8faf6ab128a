"""How near outputs are to the float model's: signal-to-noise ratio and cosine; neither needs labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Sums, checked
from converters.quantize.accuracy.metrics.outputs import named
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from converters.model import Model

    Arrays = Mapping[str, np.ndarray]

ENOUGH_DB = 30.0  # the noise is 0.1 % of the signal's power: nothing that more of it would mend
MOST_DB = 100.0  # what equal outputs count as, which have no noise: about what float32 itself keeps


@define(kw_only=True)
class Snr(Sums):
    """10 log10(sum r^2 / sum (r - q)^2) over all values r of the float model's output and q of this one's.

    Of several outputs the worst counts. Equal outputs have `MOST_DB`.
    https://en.wikipedia.org/wiki/Signal-to-quantization-noise_ratio
    """

    outputs: tuple[str, ...]
    unit: str = "dB"
    labelled: bool = False
    default_drop: float = 15.0
    enough: float | None = ENOUGH_DB

    def observe(self, outputs: Arrays, reference: Arrays, _label: Any) -> tuple[float, ...]:
        """Signal and noise of each output, summed over one sample's values."""
        found: tuple[float, ...] = ()
        for name in self.outputs:
            r, q = _both(outputs, reference, name)
            found += float(np.square(r).sum()), float(np.square(r - q).sum())
        return found

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The least ratio of all outputs."""
        signal, noise = sums[..., 0::2], sums[..., 1::2]
        tiny = np.finfo(np.float64).tiny  # a float model of zeros has no signal: the ratio stays finite
        ratios = 10 * (np.log10(np.maximum(signal, tiny)) - np.log10(np.maximum(noise, tiny)))
        ratios = np.where(noise == 0, MOST_DB, np.minimum(ratios, MOST_DB))
        least: np.ndarray = ratios.min(axis=-1)
        return least


@define(kw_only=True)
class Cosine(Sums):
    """sum rq / sqrt(sum r^2 sum q^2): all values of an output, over all samples, as one vector.

    Of several outputs the worst counts. It does not see a wrong scale, as `snr` does.
    """

    outputs: tuple[str, ...]
    unit: str = ""
    labelled: bool = False
    default_drop: float = 0.02

    def observe(self, outputs: Arrays, reference: Arrays, _label: Any) -> tuple[float, ...]:
        """The three sums of each output, over one sample's values."""
        found: tuple[float, ...] = ()
        for name in self.outputs:
            r, q = _both(outputs, reference, name)
            found += float((r * q).sum()), float(np.square(r).sum()), float(np.square(q).sum())
        return found

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The least cosine of all outputs; 1 where both are zeros, 0 where one is."""
        dot, r, q = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
        length = np.sqrt(r * q)
        cosines = np.where(length > 0, np.minimum(dot / length, 1.0), (r == q) * 1.0)
        least: np.ndarray = cosines.min(axis=-1)
        return least


def open_snr(model: Model, output: str | None) -> Snr:
    """The signal-to-noise ratio of the output that is named, or of all."""
    return Snr(name="snr", outputs=_outputs(model, output))


def open_cosine(model: Model, output: str | None) -> Cosine:
    """The cosine of the output that is named, or of all."""
    return Cosine(name="cosine", outputs=_outputs(model, output))


def _outputs(model: Model, output: str | None) -> tuple[str, ...]:
    if output is not None:
        return (named(model, output).name,)
    return tuple(spec.name for spec in model.outputs)


def _both(outputs: Arrays, reference: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    r, q = checked(reference[name], name), checked(outputs[name], name)
    if r.shape != q.shape:
        raise MetricError(
            f"output {name!r} has another shape than the float model's",
            got=str(list(q.shape)),
            expected=str(list(r.shape)),
        )
    return r, q
