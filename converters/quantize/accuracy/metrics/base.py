"""What a metric is: something kept of every sample, and a value of what was kept of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]


class Metric(Protocol):
    """How good outputs are.

    `name` is what `--metric` calls it. `unit` is `points` for shares of 1 that are told in hundredths, else
    the values' own unit or empty. `labelled` says whether it needs labels; one that does not compares with
    the float model's outputs, and is told as such. `binary` says that what is kept of a sample is right (1)
    or wrong (0), or a tuple of that for each row of a batch, and the value is the mean: McNemar's test
    applies. `default_drop` is the drop that is allowed where a user names none, in `unit`.

    Two more may be there. `default_share` is for a metric whose unit says nothing of what is much: the
    allowed drop as a share of the float model's value, see `paired.default_drop`. `enough` is a value past
    which there is no drop: that of a metric whose perfect value no quantised model comes near.
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


@runtime_checkable
class FromInputs(Protocol):
    """A metric that judges outputs by the inputs they came from, as an autoencoder's are."""

    def observe_from(self, inputs: Arrays, outputs: Arrays, reference: Arrays, label: Any) -> Any:
        """`Metric.observe` with the sample as well; it is called in its place."""
        ...


@runtime_checkable
class Resampled(Protocol):
    """A metric whose value over many resamples comes faster than one `value` after the other.

    `resamples` is how many of them a bootstrap of this metric draws.
    """

    resamples: int

    def resampled(self, kept: Sequence[Any], counts: np.ndarray) -> np.ndarray:
        """The value in each of R resamples, float64[R]; NaN where a resample has none.

        Args:
            kept: of n samples.
            counts: int64[R, n], how often each sample is in each resample.
        """
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
    p_value: float | None = None  # McNemar's exact test, two-sided; None of metrics that are not binary
