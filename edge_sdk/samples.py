"""The samples that a conversion is made with and judged on, from what a user gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.progress import Progress, silent
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.samples.calibration import Calibration, CalibrationSource
    from converters.quantize.samples.validation import Validation


def load(
    model: Model,
    calibration: CalibrationSource | None,
    *,
    preprocessing: Path | None = None,
    validation: CalibrationSource | None = None,
    labels: Any = None,
    progress: Progress = silent,
) -> tuple[Calibration | None, Validation | None]:
    """The samples to calibrate with and those to judge on, checked against the model; None where not given.

    Args:
        model: whose inputs they are for.
        calibration: as `edge_sdk.convert` takes it.
        preprocessing: how images become inputs (a TOML file); `preprocessing.toml` in the folder if None.
        validation: samples that accuracy is judged on; with labels alone, the calibration samples.
        labels: of the validation samples.
        progress: called as `progress(what, done, total)`.

    Raises:
        CalibrationError: no samples, or one that does not fit the model.
        MetricError: labels that cannot be read, or are not as many as the samples.
        InvalidRequest: labels without samples, or for samples that can be read only once.
    """
    from converters.quantize.samples.calibration import load_calibration

    samples = judged = None
    if validation is None and labels is not None and isinstance(calibration, Iterator):
        raise InvalidRequest(
            "an iterator of calibration samples can be read only once, so they cannot be judged on as well",
            got=type(calibration).__name__,
            next_step="Give the labelled samples as `validation`, or the calibration samples as an array.",
        )
    if calibration is not None:
        samples = load_calibration(calibration, model, preprocessing=preprocessing, progress=progress)
    given = calibration if validation is None and labels is not None else validation
    if given is not None:
        from converters.quantize.samples.validation import load_validation

        judged = load_validation(given, model, labels=labels, preprocessing=preprocessing)
    elif labels is not None:
        raise InvalidRequest("labels without samples", next_step="Give the samples they are of.")
    return samples, judged
