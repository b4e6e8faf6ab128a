"""Options that several commands take for making a conversion, and the conversion they ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from attrs import field, frozen

from edge_sdk.cli.accuracy import AccuracyOptions
from edge_sdk.cli.running import RuntimeOptions, running

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.model import Model
    from converters.partition.types import Plan
    from converters.progress import Progress

# of converters.quantize.scheme, which this must not import to stay quick; a test compares
AUTO = "auto"
PRECISIONS = ("int8", "int16x8", "dynamic", "weight-int8", "weight-int4", "float16", "float32")
IO_KINDS = ("integer", "float")

F = TypeVar("F", bound=Callable[..., Any])

MODEL = click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
BATCH = click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="What an open batch dimension becomes.",
)


@frozen
class ShapeOptions:
    """What `shaping` parsed, as `edge_sdk.load` takes it."""

    input_shapes: dict[str, tuple[int, ...]] = field(factory=dict)
    bind: dict[str, Any] = field(factory=dict)
    dynamic: dict[str, tuple[int, ...]] = field(factory=dict)
    layout: str = "keep"

    def load(self, path: Path, batch: int) -> Model:
        """The model with its inputs fixed so; raises what `edge_sdk.load` raises."""
        from edge_sdk import pipeline

        return pipeline.load(
            path,
            batch=batch,
            input_shapes=self.input_shapes,
            bind=self.bind,
            dynamic=self.dynamic,
            layout=self.layout,
        )


def shaping(function: F) -> F:
    """The options that fix a model's inputs; the command is given them as `shapes`."""

    @wraps(function)
    def command(
        *args: Any,
        input_shape: tuple[str, ...],
        bind: tuple[str, ...],
        dynamic: tuple[str, ...],
        layout: str,
        **options: Any,
    ) -> Any:
        axes: dict[str, tuple[int, ...]] = {}
        for text in dynamic:
            name, numbers = _integers("--dynamic", text, ":", "images:0")
            axes[name] = (*axes.get(name, ()), *numbers)
        shapes = ShapeOptions(
            _once(
                "--input-shape",
                [_integers("--input-shape", text, "=", "x=1,3,416,416") for text in input_shape],
            ),
            _once("--bind", [_named("--bind", text, "=", "sr=16000") for text in bind]),
            axes,
            layout,
        )
        return function(*args, shapes=shapes, **options)

    decorators = (
        click.option(
            "--input-shape",
            metavar="NAME=SIZES",
            multiple=True,
            help="The shape of an input whose file leaves it open, such as `x=1,3,416,416`; repeatable.",
        ),
        click.option(
            "--bind",
            metavar="NAME=VALUE",
            multiple=True,
            help="Make an input a constant: a number, true, false, a JSON list or an .npy file; repeatable.",
        ),
        click.option(
            "--dynamic",
            metavar="NAME:AXIS",
            multiple=True,
            help="Keep an axis of an input open, to be resized in the runtime (the first is 0); repeatable.",
        ),
        click.option(
            "--layout",
            type=click.Choice(["keep", "nhwc"]),
            default="keep",
            show_default=True,
            help="How image inputs and outputs of a channel-first model lie in the compiled one.",
        ),
    )
    made: Any = command
    for decorator in reversed(decorators):
        made = decorator(made)
    return cast("F", made)


def _named(option: str, text: str, mark: str, example: str) -> tuple[str, str]:
    """An option's name and the text behind it; names may hold the mark, sizes and axes do not."""
    name, found, value = text.partition(mark) if option == "--bind" else text.rpartition(mark)
    if not name or not found:
        raise _misspelt(option, text, example)
    return name, value


def _integers(option: str, text: str, mark: str, example: str) -> tuple[str, tuple[int, ...]]:
    name, value = _named(option, text, mark, example)
    try:
        return name, tuple(int(part) for part in value.split(",") if value)
    except ValueError as e:
        raise _misspelt(option, text, example) from e


def _misspelt(option: str, text: str, example: str) -> click.BadParameter:
    return click.BadParameter(f"{text!r} is not like {example!r}.", param_hint=option)


def _once(option: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.BadParameter(f"{twice!r} is given twice.", param_hint=option)
    return dict(pairs)


def planning(function: F) -> F:
    """The options that decide a plan: target, runtime, precision, ends, and how the inputs are fixed."""
    decorators = (
        MODEL,
        click.option(
            "--target",
            default="local",
            show_default=True,
            help="A board: `edge targets list`, or the path of a board file.",
        ),
        click.option(
            "--precision",
            type=click.Choice((AUTO, *PRECISIONS)),
            default=AUTO,
            show_default=True,
            help="auto is full-integer int8, and more where that costs accuracy (docs/quantization.md).",
        ),
        click.option(
            "--io",
            "io_kind",
            type=click.Choice(IO_KINDS),
            default="integer",
            show_default=True,
            help="What a model that computes in integers takes and gives.",
        ),
        running,
        BATCH,
        shaping,
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def naming(function: F) -> F:
    """The options that say where a conversion's files go, and under which name."""
    decorators = (
        click.option(
            "--name", help="The deployment's name on devices; made from the file's name by default."
        ),
        click.option(
            "-o",
            "--output",
            "folder",
            metavar="DIR",
            type=click.Path(path_type=Path),
            required=True,
            help="Where the compiled model and bundle/ go; made where missing.",
        ),
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def calibrating(function: F) -> F:
    """The options that give calibration data."""
    decorators = (
        click.option(
            "--calibration",
            metavar="SOURCE",
            help="Samples of real inputs, needed for auto, int8 and int16x8: an .npz or .npy file, a folder "
            "of images, or module:function.",
        ),
        click.option(
            "--preprocessing",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="How images become inputs; preprocessing.toml in their folder by default.",
        ),
        click.option(
            "--fold-preprocessing",
            is_flag=True,
            help="For OpenVINO: the model takes pixels (uint8, RGB or gray) and prepares them itself.",
        ),
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@frozen
class PlanOptions:
    """What `planning` parsed."""

    path: Path
    target: str
    precision: str
    io_kind: str
    batch: int
    shapes: ShapeOptions = field(factory=ShapeOptions)
    search: dict[str, Any] = field(factory=dict)
    running: RuntimeOptions = field(factory=RuntimeOptions)

    def load(self) -> Model:
        """The model, its inputs fixed as asked; raises what `edge_sdk.load` raises."""
        return self.shapes.load(self.path, self.batch)

    def asked(self) -> dict[str, Any]:
        """What `edge_sdk.plan` is asked besides the model, the target and the runtime."""
        return {"precision": self.precision, "io": self.io_kind, **self.search}

    def plan(self) -> tuple[Model, Plan]:
        """Load the model and plan it; raises what `edge_sdk.load` and `edge_sdk.plan` raise."""
        model = self.load()
        return model, self.plan_of(model, self.running.runtime)

    def plan_of(self, model: Model, runtime: str | None) -> Plan:
        """What becomes of a loaded model with that runtime; raises what `edge_sdk.plan` raises."""
        from edge_sdk import pipeline

        execution = self.running.execution
        return pipeline.plan(model, self.target, runtime=runtime, execution=execution, **self.asked())


@frozen
class DataOptions:
    """What `calibrating` and `accuracy.keeping` parsed: the samples of a conversion."""

    calibration: str | None
    preprocessing: Path | None
    accuracy: AccuracyOptions
    fold: bool = False  # preprocessing into the model

    def convert(self, model: Model, plan: Plan, progress: Progress) -> Conversion:
        """Convert the model with these; raises what `edge_sdk.convert` raises."""
        from edge_sdk import pipeline

        return pipeline.convert(
            model,
            plan,
            calibration=self.calibration,
            preprocessing=self.preprocessing,
            validation=self.accuracy.validation,
            labels=self.accuracy.labels,
            resume=self.accuracy.resume,
            fold_preprocessing=self.fold,
            progress=progress,
        )
