"""`edge inspect`: what is in a model file, what it needs, and what a board refuses of it."""

from __future__ import annotations

from pathlib import Path

import click

from edge_sdk.cli.options import BATCH, MODEL, ShapeOptions, shaping
from edge_sdk.cli.output import common, emit, progress

EXIT_REFUSED = 5  # of UnsupportedOperator


@click.command("inspect", short_help="Show what a model is and needs, and what a board refuses of it.")
@MODEL
@click.option("--target", help="Also compare with a board: `edge targets list`, or the path of a board file.")
@click.option(
    "--precision",
    type=click.Choice(["int8", "float32"]),
    help="What it would run in on the target; int8 by default, or what it is quantised to already.",
)
@BATCH
@shaping
@common
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    target: str | None,
    precision: str | None,
    batch: int,
    shapes: ShapeOptions,
    json_to: str | None,
) -> None:
    """Show the inputs, outputs, operators, work and memory of MODEL.

    Writes nothing, runs nothing and contacts no device. With --target it also says all that the board refuses
    and whether the model fits its memory, and exits with 5 if it does not; without, it exits with 0.
    """
    from device_agent.errors import InvalidRequest
    from edge_sdk import pipeline
    from edge_sdk.report.inspection import InspectReport, print_inspection

    if precision is not None and target is None:
        raise InvalidRequest("a precision is compared with a target", got="--precision without --target")
    with progress() as tell:
        tell("read the model", 0, 0)
        found = pipeline.inspect(shapes.load(path, batch), target, precision=precision)
    report = InspectReport.of(found)
    emit(report.to_json(), json_to, lambda: print_inspection(report))
    if report.preflight.target is not None and not report.preflight.target.accepted:
        ctx.exit(EXIT_REFUSED)
