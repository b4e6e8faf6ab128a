"""What a metric is: something kept of every sample, and a value of what was kept of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]


class Metric(Protocol):
    """How good outputs are.

    `name` is what `--metric` calls it. `unit` is `points` for shares of 1 that are told in hundredths, else
    the values' own unit or empty. `labelled` says whether it needs labels; one that does not compares with
    the float model's outputs, and is told as such. `binary` says that what is kept of a sample is right (1)
    or wrong (0) and the value is the mean: McNemar's test applies. `default_drop` is the drop that is
    allowed where a user names none, in `unit`.
    """

    name: str
    unit: str
    greater_is_better: bool
    labelled: bool
    binary: bool
    default_drop: float

    def observe(self, outputs: Arrays, reference: Arrays, label: Any) -> Any:
        """What is kept of one sample.

        Args:
            outputs: the model's, dequantised, by public name, with the model's batch.
            reference: the float source model's for the same sample.
            label: the sample's, None where there are none.

        Raises:
            MetricError: the outputs or the label are none that this metric can judge.
        """
        ...

    def value(self, kept: Sequence[Any]) -> float:
        """The metric over samples, in its unit (points: 0 to 100); MetricError where it is not finite."""
        ...


@frozen
class Evaluation:
    """A model on the validation samples: what the metric kept of each, and the value over all."""

    value: float
    kept: tuple[Any, ...] = field(repr=False)


@frozen
class Judgement:
    """A candidate against the float model on the same samples.

    `drop` is how much worse the candidate is, in the metric's unit, whichever way the metric counts
    (negative: better). `lower` and `upper` bound it, one-sided each, at `confidence`. `within` says that
    `drop` is at most the greatest allowed, `proven` that `upper` is; `method` names the bound
    (`McNemar`, `bootstrap`). `needed` is about how many samples would prove it, if the drop stays what it
    is: None where it is proven, or where no number would.
    """

    drop: float
    lower: float
    upper: float
    confidence: float
    samples: int
    method: str
    within: bool
    proven: bool
    needed: int | None
