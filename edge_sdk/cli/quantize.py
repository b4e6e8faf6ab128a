"""`edge quantize`: the smallest precision that keeps a model's accuracy, with the reasons."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import evolve

from edge_sdk.cli import output
from edge_sdk.cli.accuracy import AccuracyOptions, keeping
from edge_sdk.cli.convert import made_in
from edge_sdk.cli.options import DataOptions, PlanOptions, ShapeOptions, calibrating, naming, planning
from edge_sdk.cli.running import RuntimeOptions


@click.command("quantize", short_help="Quantise a model so that it keeps its accuracy, or say what it lacks.")
@planning
@calibrating
@keeping
@naming
@output.common
def command(
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    running: RuntimeOptions,
    batch: int,
    shapes: ShapeOptions,
    calibration: str | None,
    preprocessing: Path | None,
    fold_preprocessing: bool,
    accuracy: AccuracyOptions,
    name: str | None,
    folder: Path,
    json_to: str | None,
) -> None:
    """Quantise MODEL so that it keeps its accuracy, and keep it with the whole report in DIR.

    Plain int8 is tried first. Where it loses more than --max-drop, ranges and repairs are tried, then wider
    precisions for the layers that lose most, and each candidate is judged against the float model on the same
    samples. DIR gets the compiled model, its bundle, quantization.json and quantization.txt.

    Where nothing keeps the accuracy, the best is kept all the same and the exit code is 15. Contacts no
    device.
    """
    from edge_sdk.report import text

    accuracy = evolve(accuracy, search={**accuracy.search, "judge": True})
    options = PlanOptions(path, target, precision, io_kind, batch, shapes, accuracy.search, running)
    data = DataOptions(calibration, preprocessing, accuracy, fold_preprocessing)
    made_in(folder, name, options, data, json_to, text.print_quantization)
