"""How far a model's outputs are from the float model's: what tells candidates apart where a metric cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    import numpy as np

    from converters.quantize.accuracy.metrics.base import Metric

    Arrays = Mapping[str, np.ndarray]

FAR = 1e6  # the error of an output that is not finite where the float model's is, or of another shape


def powers(references: Iterable[Arrays]) -> dict[str, float]:
    """The mean square of each output over all samples of the float model; 1 where an output is always 0."""
    import numpy as np

    total: dict[str, float] = {}
    count = 0
    for outputs in references:
        for name, array in outputs.items():
            finite = array[np.isfinite(array)].astype(np.float64)
            total[name] = total.get(name, 0.0) + float(np.square(finite).sum()) / max(1, array.size)
        count += 1
    return {name: power / count if power > 0 else 1.0 for name, power in total.items()}


def of(outputs: Arrays, reference: Arrays, power: Mapping[str, float]) -> float:
    """The output error of one sample: the mean over the outputs of mean((q - r)^2) / power.

    It is the inverse of a signal-to-noise ratio: 0.01 is 20 dB. Each output counts alike, whatever its unit.

    Args:
        outputs: the model's, dequantised, by name.
        reference: the float model's.
        power: of each output, from `powers`.
    """
    import numpy as np

    errors = []
    for name, expected in reference.items():
        got = outputs[name]
        if got.shape != expected.shape:
            return FAR
        q, r = got.astype(np.float64), expected.astype(np.float64)
        same = (q == r) | (np.isnan(q) & np.isnan(r))
        difference = np.subtract(q, r, out=np.zeros_like(r), where=~same)
        error = float(np.square(difference).mean()) / power[name] if r.size else 0.0
        errors.append(error if math.isfinite(error) else FAR)
    return min(FAR, math.fsum(errors) / len(errors)) if errors else 0.0


@define
class WithError:
    """A metric that keeps the output error beside what the metric itself keeps: one pass gives both.

    What is kept of a sample is `(what the metric keeps, output error)`; everything else is the metric's.
    """

    metric: Metric
    power: Mapping[str, float]
    name: str = field(init=False)
    unit: str = field(init=False)
    greater_is_better: bool = field(init=False)
    labelled: bool = field(init=False)
    binary: bool = field(init=False)
    default_drop: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name, self.unit = self.metric.name, self.metric.unit
        self.greater_is_better, self.labelled = self.metric.greater_is_better, self.metric.labelled
        self.binary, self.default_drop = self.metric.binary, self.metric.default_drop

    def observe(self, outputs: Arrays, reference: Arrays, label: Any) -> tuple[Any, float]:
        """What the metric keeps, and the output error."""
        return self.metric.observe(outputs, reference, label), of(outputs, reference, self.power)

    def value(self, kept: Sequence[tuple[Any, float]]) -> float:
        """The metric's, of what it kept."""
        return self.metric.value([one for one, _ in kept])


@define
class WithErrorFromInputs(WithError):
    """`WithError` of a metric that looks at the inputs too (`metrics.base.FromInputs`)."""

    def observe_from(
        self, inputs: Arrays, outputs: Arrays, reference: Arrays, label: Any
    ) -> tuple[Any, float]:
        """What the metric keeps, and the output error."""
        kept = self.metric.observe_from(inputs, outputs, reference, label)  # type: ignore[attr-defined] # is FromInputs
        return kept, of(outputs, reference, self.power)
