"""`quantize()`: from a model and samples to one that keeps its accuracy, without devices, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from converters.progress import Progress, silent
from edge_sdk import pipeline

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.convert import Conversion
    from converters.model import Model
    from converters.quantize.samples.calibration import CalibrationSource
    from converters.quantize.search.types import Search
    from device_agent.bundle import Execution
    from edge_sdk.saving import Saved
    from targets.schema import Target


@frozen
class Quantization:
    """A model that was quantised: the conversion with its artifact, and what the search found.

    `search` is None where there was nothing to search or judge: a model that was quantised before, a target
    that computes nothing.
    """

    conversion: Conversion

    @property
    def artifact(self) -> Artifact:
        """The compiled file."""
        return self.conversion.artifact

    @property
    def search(self) -> Search | None:
        """What was tried, kept and rejected, and how far the result is from the float model."""
        return self.conversion.search

    def save(self, folder: str | Path, *, name: str | None = None) -> Saved:
        """Write the compiled model, its bundle, `quantization.json` and `quantization.txt`: all or nothing.

        Args:
            folder: made where it is missing.
            name: the deployment's name on devices; made from the model's file name if None.

        Raises:
            InvalidRequest: `name` cannot name a deployment.
            OutputError: the files cannot be written.
        """
        from edge_sdk import saving

        return saving.save(self.conversion, Path(folder), name=name)


def quantize(
    model: Model | str | Path,
    *,
    calibration: CalibrationSource,
    target: Target | str = "local",
    precision: str = "auto",
    io: str = "integer",
    preprocessing: Path | None = None,
    validation: CalibrationSource | None = None,
    labels: Any = None,
    metric: str | None = None,
    max_drop: float | None = None,
    confidence: float = 0.95,
    prove: bool = False,
    ranges: str | None = None,
    repairs: Sequence[str] | None = None,
    time_budget: float | None = None,
    memory_budget: int | None = None,
    resume: str | Path | None = None,
    runtime: str | None = None,
    execution: Execution | None = None,
    progress: Progress = silent,
) -> Quantization:
    """Quantise a model so that it keeps its accuracy; nothing is written.

    Args:
        model: from `edge_sdk.load`, or a model file.
        calibration: samples of real inputs: an `.npz` or `.npy` file, a folder of images,
            `module:function`, or arrays (`float32[N, ...]` or a dict of them by input name).
        target: a board, its name or the path of a board file.
        precision: `auto`, or the one precision to make and to judge.
        io: whether the model's own inputs and outputs are `integer` or `float`.
        preprocessing: how images become inputs (a TOML file); `preprocessing.toml` in the folder if None.
        validation: samples that accuracy is judged on; the calibration samples if None.
        labels: of the validation samples: a file or an array, `[N, ...]`; a file of samples may hold them.
        metric: what accuracy is: a name or `module:function`; by the data and the outputs if None.
        max_drop: how much worse than float the result may be, in the metric's unit; its default if None.
        confidence: of the bounds of the drop.
        prove: the upper bound of the drop must be within `max_drop`, not only the drop itself.
        ranges: how the ranges of activations are chosen; `auto` tries each if None.
        repairs: what is mended before rounding; `auto` tries each of them, all that it knows if None.
        time_budget: seconds after which a search stops.
        memory_budget: bytes of this process that a search may take.
        resume: a file that keeps what was tried, to go on from there.
        runtime: that of the board which is to run it; the board's preferred if None.
        execution: how a runtime with several processors is to run it; the usual if None.
        progress: called as `progress(what, done, total)`.

    Raises:
        AccuracyMissed: no candidate keeps the accuracy; `Quantization(error.best)` is the nearest.
        BudgetExceeded: the search does not fit the memory it may use.
        CalibrationError: samples are absent or do not fit the model.
        InvalidRequest: an unknown name, or a number that makes no sense.
        MissingDependency: the runtime's converter is not installed.
        MetricError: the metric cannot judge the model with these labels.
        UnsupportedOperator: the target cannot run the model.
    """
    from converters.model import Model

    progress("read the model", 0, 0)
    opened = model if isinstance(model, Model) else pipeline.load(model)
    plan = pipeline.plan(
        opened, target, precision=precision, io=io, metric=metric, max_drop=max_drop, judge=True,
        confidence=confidence, prove=prove, ranges=ranges, repairs=repairs,
        time_budget=time_budget, memory_budget=memory_budget, runtime=runtime, execution=execution,
    )  # fmt: skip
    conversion = pipeline.convert(
        opened, plan, calibration=calibration, preprocessing=preprocessing,
        validation=validation, labels=labels, resume=resume, progress=progress,
    )  # fmt: skip
    return Quantization(conversion)
