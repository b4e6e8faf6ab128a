"""Errors of outputs that are quantities: mean absolute, root mean square, and relative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Sums, checked
from converters.quantize.accuracy.metrics.outputs import one
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from converters.model import Model

    Arrays = Mapping[str, np.ndarray]


@define(kw_only=True)
class Error(Sums):
    """`mae`: mean |p - y|; `rmse`: sqrt(mean (p - y)^2); `relative`: sum |p - y| / sum |y| in points.

    p is the output and y the label, of one size. The sums go over all values of all samples, so that a
    label of 0 is no trouble for the relative error. Lower is better.
    """

    output: str
    greater_is_better: bool = False

    def observe(self, outputs: Arrays, _reference: Arrays, label: Any) -> tuple[float, float]:
        """The sums over one sample's values: of the errors, and of what they are divided by."""
        got = checked(outputs[self.output], self.output)
        expected = quantities(label, got, self.output)
        error = np.abs(got.reshape(-1) - expected)
        if self.name == "rmse":
            error = np.square(error)
        return float(error.sum()), float(np.abs(expected).sum() if self.name == "relative" else got.size)

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The error from the sums."""
        mean: np.ndarray = sums[..., 0] / sums[..., 1]
        if self.name == "rmse":
            mean = np.sqrt(mean)
        return mean * (100.0 if self.name == "relative" else 1.0)


def open_error(name: str, model: Model, output: str | None) -> Error:
    """A regression metric of a model's only output, or of the one that is named."""
    spec = one(model, name, output)
    if name == "relative":
        return Error(name=name, output=spec.name)
    # an error in the values' own unit says nothing of what is much: 5 % of the float model's is allowed
    return Error(name=name, output=spec.name, unit="", default_drop=0.0, default_share=0.05)


def quantities(label: Any, output: np.ndarray, name: str) -> np.ndarray:
    """The label as float64[size of the output].

    Raises:
        MetricError: it holds no numbers, NaN or Inf, or has another size or shape than the output.
    """
    array = np.asarray(label)
    if array.dtype.kind not in "biuf":
        raise MetricError("the label is no number", got=repr(label)[:100], expected="quantities")
    if _sizes(array.shape) != _sizes(output.shape):
        raise MetricError(
            f"the label does not match output {name!r}",
            got=f"shape {list(array.shape)}",
            expected=f"shape {list(output.shape)}",
        )
    values = array.reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise MetricError("the label holds NaN or Inf", expected="finite values")
    return values


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
