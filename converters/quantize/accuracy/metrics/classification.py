"""Top-k accuracy: is the labelled class among the k greatest scores?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Common, checked, rows_of
from converters.quantize.accuracy.metrics.outputs import classes_of, scores
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from converters.model import Model

    Arrays = Mapping[str, np.ndarray]


@define(kw_only=True)
class TopK(Common):
    """The share of rows whose labelled class is among the `k` with the greatest scores, in points.

    Among equal scores the class of the lower index counts as the greater, as `argmax` has it. A single
    score per row is the probability of class 1.
    """

    output: str
    classes: int
    k: int
    binary: bool = True

    def observe(self, outputs: Arrays, _reference: Arrays, label: Any) -> Any:
        """1 where the sample is right, 0 where it is wrong; a tuple of that for a batch of several rows."""
        rows = scores_in(outputs, self.output, self.classes)
        return flags(ranks(rows, indices(label, len(rows), rows.shape[1])) < self.k)

    def value(self, kept: Sequence[Any]) -> float:
        """The share of rows that are right, in points."""
        return 100 * float(rows_of(kept).mean())


@define(kw_only=True)
class Agreement(Common):
    """The share of rows with the same class as the float model gives them, in points; needs no labels."""

    output: str
    classes: int
    labelled: bool = False
    binary: bool = True
    default_drop: float = 5.0

    def observe(self, outputs: Arrays, reference: Arrays, _label: Any) -> Any:
        """1 where both models say the same class, 0 where not; a tuple of that for a batch."""
        rows = scores_in(outputs, self.output, self.classes)
        expected = scores_in(reference, self.output, self.classes)
        return flags(rows.argmax(axis=1) == expected.argmax(axis=1))

    def value(self, kept: Sequence[Any]) -> float:
        """The share of rows that agree, in points."""
        return 100 * float(rows_of(kept).mean())


def open_top(model: Model, k: int, output: str | None) -> TopK:
    """top-k of a model's class scores."""
    name = f"top{k}"
    spec = scores(model, name, output, least=1 if k == 1 else k + 1)
    return TopK(name=name, output=spec.name, classes=classes_of(spec), k=k)


def open_agreement(model: Model, output: str | None) -> Agreement:
    """Agreement with the float model's class."""
    spec = scores(model, "agreement", output, least=1)
    return Agreement(name="agreement", output=spec.name, classes=classes_of(spec))


def scores_in(outputs: Arrays, name: str, classes: int) -> np.ndarray:
    """The scores as float64[rows, C], C >= 2; MetricError where they are not finite."""
    rows = checked(outputs[name], name).reshape(-1, classes)
    if classes > 1:
        return rows
    if rows.min() < 0 or rows.max() > 1:
        raise MetricError(
            f"a single score per row must be the probability of class 1 in output {name!r}",
            got=f"{rows.min():g} .. {rows.max():g}",
            expected="0 .. 1",
            next_step="`--metric auc` takes scores of any range.",
        )
    return np.concatenate([1 - rows, rows], axis=1)


def ranks(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the labelled one in each row, int64[rows]."""
    own = rows[np.arange(len(rows)), labels][:, None]
    before = np.arange(rows.shape[1]) < labels[:, None]
    found: np.ndarray = ((rows > own) | ((rows == own) & before)).sum(axis=1)
    return found


def flags(right: np.ndarray) -> int | tuple[int, ...]:
    """Right (1) or wrong (0) of each row; a bare number where there is one row."""
    found = tuple(map(int, right))
    return found[0] if len(found) == 1 else found


def indices(label: Any, rows: int, classes: int) -> np.ndarray:
    """Labels as class indices, int64[rows]; one-hot rows are taken too.

    Raises:
        MetricError: another number of labels than rows, no whole numbers, or an index past the classes.
    """
    array = np.asarray(label)
    if array.dtype.kind not in "biuf":
        raise MetricError(
            "the label is no class index",
            got=repr(label)[:100],
            expected=f"a whole number, 0 .. {classes - 1}",
            next_step="Labels in text need a labels.txt with the classes in the order of the model's scores.",
        )
    if array.size == rows * classes and classes > 1 and _one_hot(array.reshape(rows, classes)):
        hot: np.ndarray = array.reshape(rows, classes).argmax(axis=1)
        return hot
    if array.size != rows:
        raise MetricError(
            "the label does not match the sample", got=f"shape {list(array.shape)}", expected=f"{rows} labels"
        )
    flat = array.reshape(rows).astype(np.float64)
    whole = flat.astype(np.int64) if np.isfinite(flat).all() else np.full(rows, -1)
    if (whole != flat).any():
        raise MetricError(
            "the label is no class index",
            got=f"{flat[whole != flat][0]:g}",
            expected=f"a whole number, 0 .. {classes - 1}",
            next_step="For labels that are quantities use `--metric mae` or `--metric rmse`.",
        )
    if whole.min() < 0 or whole.max() >= classes:
        wrong = whole[(whole < 0) | (whole >= classes)][0]
        raise MetricError(
            "the label is past the model's classes",
            got=f"class {wrong}",
            expected=f"0 .. {classes - 1}, as the model has {classes} scores",
            next_step="Labels count from 0, in the order of the model's scores.",
        )
    return whole


def _one_hot(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())
