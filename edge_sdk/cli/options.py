"""Options that several commands take for making a conversion, and the conversion they ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

if TYPE_CHECKING:
    from converters.model import Model
    from converters.partition.types import Plan

F = TypeVar("F", bound=Callable[..., Any])

MODEL = click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
BATCH = click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="What an open batch dimension becomes.",
)


def planning(function: F) -> F:
    """The options that decide a plan: target, precision, ends, batch."""
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
            type=click.Choice(["int8", "float32"]),
            default="int8",
            show_default=True,
            help="int8 is full-integer with per-channel weights.",
        ),
        click.option(
            "--io",
            "io_kind",
            type=click.Choice(["integer", "float"]),
            default="integer",
            show_default=True,
            help="What an int8 model takes and gives.",
        ),
        BATCH,
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
            help="Samples of real inputs, needed for int8: an .npz or .npy file, a folder of images, or "
            "module:function.",
        ),
        click.option(
            "--preprocessing",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="How images become inputs; preprocessing.toml in their folder by default.",
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

    def plan(self) -> tuple[Model, Plan]:
        """Load the model and plan it; raises what `edge_sdk.load` and `edge_sdk.plan` raise."""
        from edge_sdk import pipeline

        model = pipeline.load(self.path, batch=self.batch)
        return model, pipeline.plan(model, self.target, precision=self.precision, io=self.io_kind)
