"""A user's own metric, `module:function`: a function of outputs and label, or an object with state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Common, Sums, finite
from converters.quantize.samples.user_code import imported
from device_agent.errors import EdgeError, MetricError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Arrays = Mapping[str, np.ndarray]

WAY = (
    "A metric is `module:function`, importable from the current folder: a function (outputs, label) -> "
    "float, or a class with `observe(outputs, reference, label)` and `value(kept)`."
)
ATTRIBUTES = ("unit", "greater_is_better", "labelled", "default_drop", "default_share")


@define(kw_only=True)
class Function(Sums):
    """The mean over samples of a user's `function(outputs, label) -> float`."""

    function: Callable[[Arrays, Any], Any]

    def observe(self, outputs: Arrays, _reference: Arrays, label: Any) -> tuple[float, float]:
        """What the function says of one sample, and 1 sample."""
        with _named(self.name):
            found = self.function(outputs, label)
        return _number(self.name, "a function's result", found), 1.0

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The mean."""
        mean: np.ndarray = sums[..., 0] / sums[..., 1]
        return mean


@define(kw_only=True)
class Object(Common):
    """A user's object with `observe` and `value`, as `Metric` has them."""

    user: Any

    def observe(self, outputs: Arrays, reference: Arrays, label: Any) -> Any:
        """What the object keeps of one sample."""
        with _named(self.name):
            return self.user.observe(outputs, reference, label)

    def value(self, kept: Sequence[Any]) -> float:
        """What the object says of the samples."""
        with _named(self.name):
            found = self.user.value(kept)
        return finite(self.name, _number(self.name, "`value`", found, nan=True))


def open_custom(name: str) -> Function | Object:
    """The metric that `module:function` names.

    The function or class may say more by attributes of these names: `unit`, `greater_is_better`,
    `labelled`, `default_drop` and `default_share`; without, greater is better, labels are needed, and 1 % of
    the float model's value may be lost.

    Raises:
        MetricError: it cannot be imported or made, or is neither.
    """
    found = imported(name, MetricError, WAY, callable_only=False)
    if isinstance(found, type):
        with _named(name):
            found = found()
    stateful = callable(getattr(found, "observe", None)) and callable(getattr(found, "value", None))
    if not stateful and not callable(found):
        raise MetricError(
            "the metric is no function and has no observe and value",
            where=name,
            got=type(found).__name__,
            next_step=WAY,
        )
    said = {key: getattr(found, key) for key in ATTRIBUTES if hasattr(found, key)}
    if "default_drop" not in said:
        said = {"default_drop": 0.0, "default_share": 0.01, **said}
    said.setdefault("unit", "")
    return Object(name=name, user=found, **said) if stateful else Function(name=name, function=found, **said)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Names the metric in whatever the user's code raises."""
    try:
        yield
    except EdgeError:
        raise
    except Exception as e:  # whatever the user's code raises, it is named and chained
        raise MetricError("the metric raises an error", where=name, got=repr(e)[:500]) from e


def _number(name: str, what: str, found: Any, *, nan: bool = False) -> float:
    """A user's result as a number; MetricError where it is none, or where NaN and Inf will not do."""
    array = np.asarray(found)
    if array.dtype.kind not in "biuf" or array.size != 1:
        raise MetricError(
            f"{what} is no number", where=name, got=repr(found)[:100], expected="a float for each sample"
        )
    number = float(array.reshape(()))
    if not nan and not np.isfinite(number):
        raise MetricError(f"{what} is {number}", where=name, expected="a finite number")
    return number
