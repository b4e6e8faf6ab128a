"""Which metric judges a model: the one that was asked for, or what its outputs and labels suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converters.quantize.accuracy.evaluate import check_labels
from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.outputs import classes_of
from device_agent.errors import EdgeError, MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.samples.validation import Validation

AGAINST = "there are no labels, so the float model's own outputs are what is compared with"


def choose(name: str | None, model: Model, validation: Validation) -> tuple[Metric, str]:
    """The metric of that name, or the one that fits the model and its labels, and why it is that one.

    Without a name: `top1` for class indices and class scores, `auc` for 0 and 1 and an autoencoder, `map` for
    boxes, `mae` for quantities like the output; without labels `agreement` where the one output is class
    scores, else `snr`.

    Raises:
        MetricError: the metric cannot judge the model, needs labels that are not there, or the labels suggest
            none.
        InvalidRequest: there is no such metric.
    """
    if name is not None:
        metric = open_metric(name, model)
        check_labels(metric, validation)
        return metric, "asked for" if metric.labelled else f"asked for; {AGAINST}"
    if validation.labels is None:
        # of several outputs none is left unjudged
        alone = len(model.outputs) == 1 and _has_scores(model)
        return open_metric("agreement" if alone else "snr", model), AGAINST
    guess, why = _suggested(next(validation.labels()), model)
    try:
        return open_metric(guess, model), why
    except MetricError as e:
        raise MetricError(
            f"{e.what}; it was chosen because {why}",
            where=e.where,
            got=e.got,
            expected=e.expected,
            next_step=e.next_step or "Name the metric: `--metric`.",
        ) from e


def _suggested(label: Any, model: Model) -> tuple[str, str]:
    if isinstance(label, dict):
        return "map", "the labels are boxes"
    import numpy as np

    try:
        array = np.asarray(label)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.ndim == 2 and array.shape[1] == 5 and _is_detector(model):
        return "map", "the labels are boxes"
    if array.dtype.kind in "biu" and array.size <= 1 and _has_scores(model):
        return "top1", "the labels are class indices, and the model gives class scores"
    if array.dtype.kind in "biu" and array.size == 1 and _is_autoencoder(model):
        return "auc", "the labels are 0 and 1, and the model reconstructs its input"
    if (
        array.dtype.kind in "biuf"
        and array.size
        and any(_like(spec.shape, array.shape) for spec in model.outputs)
    ):
        return "mae", "the labels are quantities like the output"
    raise MetricError(
        "the labels do not show which metric they are for",
        got=f"a label {str(label)[:60]!r}, and outputs "
        + ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in model.outputs),
        next_step="Name the metric: `--metric`.",
    )


def _like(output: tuple[int, ...], label: tuple[int, ...]) -> bool:
    return [size for size in output if size != 1] == [size for size in label if size != 1]


def _has_scores(model: Model) -> bool:
    inputs = {spec.shape for spec in model.inputs}
    return any(classes_of(spec) > 1 and spec.shape not in inputs for spec in model.outputs)


def _is_autoencoder(model: Model) -> bool:
    inputs = {spec.shape for spec in model.inputs}
    return any(spec.shape in inputs for spec in model.outputs)


def _is_detector(model: Model) -> bool:
    try:
        open_metric("map", model)
    except EdgeError:
        return False
    return True
