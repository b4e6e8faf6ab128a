"""The area under the ROC curve: of a binary score, or of an autoencoder's reconstruction error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Common, checked, finite
from converters.quantize.accuracy.metrics.outputs import classes_of, listed, named, only
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from device_agent.bundle import TensorSpec

    Arrays = Mapping[str, np.ndarray]


@define(kw_only=True)
class Auc(Common):
    """The probability that a positive (label 1) has a greater score than a negative (0), in points.

    Equal scores count half (https://en.wikipedia.org/wiki/Receiver_operating_characteristic). Of each row
    the score and the label are kept. Two scores per row count as the second less the first.
    """

    output: str
    scores: int  # per row: 1 or 2
    resamples: int = 2000

    def observe(self, outputs: Arrays, _reference: Arrays, label: Any) -> tuple[tuple[float, int], ...]:
        """Score and label of each row; where a batch has one label, the mean of its scores."""
        rows = checked(outputs[self.output], self.output).reshape(-1, self.scores)
        return _pairs(rows[:, 0] if self.scores == 1 else rows[:, 1] - rows[:, 0], label)

    def value(self, kept: Sequence[Any]) -> float:
        """The area, in points; MetricError where all labels are the same."""
        areas = self.resampled(kept, np.ones((1, len(kept)), np.int64))
        if np.isnan(areas[0]):
            raise MetricError(
                "auc needs samples of both kinds",
                got=f"{len(kept)} samples with the label {kept[0][0][1]}" if kept else "no samples",
                expected="labels 0 and 1",
            )
        return finite(self.name, float(areas[0]))

    def resampled(self, kept: Sequence[Any], counts: np.ndarray) -> np.ndarray:
        """The area in each resample, NaN where one has labels of one kind only: see `Resampled`."""
        if not kept:
            return np.full(len(counts), np.nan)
        sample = np.repeat(np.arange(len(kept)), [len(rows) for rows in kept])
        scores, labels = np.asarray([row for rows in kept for row in rows], np.float64).T
        order = np.argsort(scores, kind="stable")
        weights = counts[:, sample[order]].astype(np.float64)
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of each run of equal scores
        positive = np.add.reduceat(weights * labels[order], starts, axis=1)
        negative = np.add.reduceat(weights * (1 - labels[order]), starts, axis=1)
        below = negative.cumsum(axis=1) - negative
        won = (positive * (below + negative / 2)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            areas: np.ndarray = 100 * won / (positive.sum(axis=1) * negative.sum(axis=1))
        return areas


@define(kw_only=True)
class ReconstructionAuc(Auc):
    """`Auc` with the mean squared difference between input and output as the score: 1 is the anomaly.

    That is how MLPerf Tiny's anomaly detection is judged
    (https://github.com/mlcommons/tiny/tree/master/benchmark/training/anomaly_detection).
    """

    input: str
    scores: int = 1

    def observe(self, _outputs: Arrays, _reference: Arrays, _label: Any) -> tuple[tuple[float, int], ...]:
        """Refused: the outputs alone do not tell."""
        raise MetricError("a reconstruction error needs the input beside the output", where=self.name)

    def observe_from(
        self, inputs: Arrays, outputs: Arrays, _reference: Arrays, label: Any
    ) -> tuple[tuple[float, int], ...]:
        """Score and label of each row; where a batch has one label, the mean of its scores."""
        given = np.asarray(inputs[self.input], np.float64)
        error = np.square(checked(outputs[self.output], self.output) - given)
        return _pairs(error.reshape(len(error), -1).mean(axis=1), label)


def open_auc(model: Model, output: str | None) -> Auc:
    """The area under the curve of a score, or of the reconstruction error where the output is like an input.

    Raises:
        MetricError: no output is a score of one or two values, none has the shape of an input, or several.
    """
    specs = [named(model, output)] if output is not None else list(model.outputs)
    scores = [spec for spec in specs if classes_of(spec) in (1, 2) and _mirrored(model, spec) is None]
    if scores:
        spec = only(scores, model, "auc")
        return Auc(name="auc", output=spec.name, scores=classes_of(spec))
    mirrors = [spec for spec in specs if _mirrored(model, spec) is not None]
    if not mirrors:
        raise MetricError(
            "auc needs a score, or an autoencoder",
            where=model.path.name,
            got=listed(specs),
            expected="an output [N, 1] or [N, 2], or one in the shape of an input",
        )
    spec = only(mirrors, model, "auc")
    mirror = _mirrored(model, spec)
    return ReconstructionAuc(name="auc", output=spec.name, input=mirror or "")


def _mirrored(model: Model, spec: TensorSpec) -> str | None:
    """The input that an output reconstructs: one of its shape."""
    floats = (one for one in model.inputs if one.dtype.startswith("float"))
    return next((one.name for one in floats if one.shape == spec.shape), None)


def _pairs(scores: np.ndarray, label: Any) -> tuple[tuple[float, int], ...]:
    labels = np.asarray(label)
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise MetricError("the label is not binary", got=repr(label)[:100], expected="0 or 1")
    if labels.size == 1:
        scores = scores.mean(keepdims=True)
    if labels.size != scores.size:
        raise MetricError(
            "the label does not match the sample",
            got=f"{labels.size} labels",
            expected=f"1 or {scores.size}",
        )
    return tuple((float(s), int(y)) for s, y in zip(scores, labels.reshape(-1), strict=True))
