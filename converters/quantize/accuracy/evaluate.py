"""A model on the validation samples: what the metric keeps of each, and its value over all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

from converters.progress import silent
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.accuracy.metrics.base import Evaluation, FromInputs
from device_agent.errors import InvalidRequest, MetricError

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.progress import Progress
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.accuracy.recording import Recording
    from converters.quantize.samples.validation import Validation

    Arrays = Mapping[str, np.ndarray]

EVERY = 16  # samples between two reports of progress


def evaluate(
    artifact: Artifact, metric: Metric, validation: Validation, reference: Recording, progress: Progress
) -> Evaluation:
    """Run an artifact on every validation sample and judge it; only what the metric keeps is held.

    Args:
        artifact: run by its own runtime, on one thread of this machine.
        metric: what judges it.
        validation: the samples, and their labels where the metric needs them.
        reference: the float source's outputs for all of these samples.
        progress: told of every few samples.

    Raises:
        MetricError: the metric cannot judge a sample, which is named, or the samples as a whole.
        InvalidRequest: the recording is not of all validation samples.
    """
    run = runner(artifact)
    return _evaluated(lambda sample, _expected: run(sample), metric, validation, reference, progress)


def evaluate_source(metric: Metric, validation: Validation, reference: Recording) -> Evaluation:
    """Judge the float source model by its recorded outputs; see `evaluate`."""
    return _evaluated(lambda _sample, expected: expected, metric, validation, reference, silent)


def check_labels(metric: Metric, validation: Validation) -> None:
    """Refuse a metric that needs labels where there are none.

    Raises:
        MetricError: there are none; it offers the metrics that need none.
    """
    if metric.labelled and validation.labels is None:
        raise MetricError(
            f"{metric.name} needs labels, and the validation data has none",
            where=validation.source,
            next_step=(
                "Give them: `--labels labels.csv`, an array `labels` in the .npz, a subfolder of images per "
                "class. Without labels, `--metric agreement` (class scores) or `--metric snr` (any outputs) "
                "compares with the float model."
            ),
        )


def _evaluated(
    outputs_of: Callable[[Arrays, Arrays], Arrays],
    metric: Metric,
    validation: Validation,
    reference: Recording,
    progress: Progress,
) -> Evaluation:
    check_labels(metric, validation)
    if reference.limit < validation.count:
        raise InvalidRequest(
            "the float model was not recorded on every validation sample",
            got=f"{reference.limit} samples",
            expected=str(validation.count),
        )
    labels = validation.labels() if metric.labelled and validation.labels is not None else repeat(None)
    kept = []
    for number, (sample, expected) in enumerate(reference.pairs(validation.samples)):
        if number % EVERY == 0:
            progress("evaluating", number, validation.count)
        label = _next(labels, number, validation)
        outputs = outputs_of(sample, expected)
        try:
            if isinstance(metric, FromInputs):
                kept.append(metric.observe_from(sample, outputs, expected, label))
            else:
                kept.append(metric.observe(outputs, expected, label))
        except MetricError as e:
            raise _numbered(e, number, validation) from e
    value = metric.value(kept)
    progress("evaluating", len(kept), validation.count)
    return Evaluation(value, tuple(kept))


def _next(labels: Iterator[Any], number: int, validation: Validation) -> Any:
    try:
        return next(labels)
    except StopIteration as e:
        raise MetricError(
            "there are fewer labels than samples",
            where=validation.source,
            got=str(number),
            expected=str(validation.count),
        ) from e


def _numbered(error: MetricError, number: int, validation: Validation) -> MetricError:
    """The error with the sample that it is of."""
    where = f"{error.where}, " if error.where is not None else ""
    return MetricError(
        error.what,
        where=f"{where}sample {number} of {validation.source}",
        got=error.got,
        expected=error.expected,
        next_step=error.next_step,
    )
