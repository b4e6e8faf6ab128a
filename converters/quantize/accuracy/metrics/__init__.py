"""Metrics: how good a model's outputs are, kept per sample so that two models can be compared in pairs.

Nothing heavy is imported here: each family's module is, when one of its metrics is opened.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from converters.quantize.samples.user_code import is_function
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.accuracy.metrics.base import Metric

LABELLED = ("top1", "top5", "map", "map50", "mae", "rmse", "relative", "auc", "wer", "cer")
UNLABELLED = ("agreement", "snr", "cosine")
NAMES = LABELLED + UNLABELLED


def open_metric(name: str, model: Model) -> Metric:
    """The metric of that name for a model.

    Args:
        name: one of `NAMES`, perhaps with a way to read outputs and the output to judge,
            `NAME[@WAY][:OUTPUT]` (`top1:scores`, `map@xyxy`, `cer@ctc0`); or `module:function`, a user's
            own, importable from the current folder.
        model: whose outputs are judged.

    Raises:
        InvalidRequest: no metric of that name, no such output, or a way that the metric does not have.
        MetricError: the model's outputs are none that this metric can judge, more than one could be meant,
            or the user's metric cannot be had.
    """
    first, _, output = name.partition(":")
    kind, at, how = first.partition("@")
    if kind in NAMES:
        return _open(kind, model, how if at else None, output or None)
    if is_function(name):
        from converters.quantize.accuracy.metrics import custom

        return custom.open_custom(name)
    near = difflib.get_close_matches(kind, NAMES, n=1)
    raise InvalidRequest(
        "no such metric",
        got=repr(name),
        expected=near[0] if near else f"{', '.join(NAMES)} or module:function",
    )


def _open(kind: str, model: Model, how: str | None, output: str | None) -> Metric:
    if how is not None and kind not in ("map", "map50", "wer", "cer"):
        raise InvalidRequest(f"{kind} reads outputs in one way only", got=f"{kind}@{how}", expected=kind)
    if kind in ("top1", "top5", "agreement"):
        from converters.quantize.accuracy.metrics import classification

        if kind == "agreement":
            return classification.open_agreement(model, output)
        return classification.open_top(model, int(kind[3:]), output)
    if kind in ("map", "map50"):
        from converters.quantize.accuracy.metrics import detection

        return detection.open_map(kind, model, how, output)
    if kind in ("mae", "rmse", "relative"):
        from converters.quantize.accuracy.metrics import regression

        return regression.open_error(kind, model, output)
    if kind in ("wer", "cer"):
        from converters.quantize.accuracy.metrics import text

        return text.open_rate(kind, model, how, output)
    if kind == "auc":
        from converters.quantize.accuracy.metrics import roc

        return roc.open_auc(model, output)
    from converters.quantize.accuracy.metrics import similarity

    return similarity.open_snr(model, output) if kind == "snr" else similarity.open_cosine(model, output)
