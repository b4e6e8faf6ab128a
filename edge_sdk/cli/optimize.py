"""`edge optimize`: a leaner `.tflite` file that computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output

if TYPE_CHECKING:
    from converters.optimize import Optimization
    from converters.progress import Progress
    from edge_sdk.bench.versus import Versus


@click.command("optimize", short_help="Make a .tflite file leaner, and prove that it computes the same.")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the rewritten file goes; its folder is made where missing.",
)
@click.option(
    "--fix-shapes",
    is_flag=True,
    help="Let axes that a run may resize be what the file states: fewer operators, no resizing any more.",
)
@click.option("--device", "address", metavar="DEVICE", help=f"Measure both there. {output.DEVICE_HELP}")
@output.common
def command(path: Path, target: Path, fix_shapes: bool, address: str | None, json_to: str | None) -> None:
    """Rewrite MODEL, a .tflite file, into fewer and cheaper operators that compute the same.

    Both files are run on generated inputs and compared before anything is written: quantised ones must agree
    in every bit, floats within rounding. What a rewrite would lose is refused with a reason. With --device
    both are deployed there under names of their own, measured in turns, and removed.
    """
    from edge_sdk import pipeline
    from edge_sdk.report import optimization

    with output.progress() as progress:
        progress("rewrite and compare", 0, 0)
        made = pipeline.optimize(path, target, fix_shapes=fix_shapes)
        versus = None if address is None else _measured(made, address, progress)
    output.emit(
        optimization.to_json(made, target, versus),
        json_to,
        lambda: optimization.show(made, target, versus),
    )


def _measured(made: Optimization, address: str, progress: Progress) -> Versus:
    from edge_sdk.bench import versus
    from edge_sdk.devices.selection import open_device

    with open_device(address) as device:
        return versus.measure(device, made, progress=progress)
