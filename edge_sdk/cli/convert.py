"""`edge convert`: the compiled model under a readable name, and the bundle beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output
from edge_sdk.cli.accuracy import AccuracyOptions, keeping
from edge_sdk.cli.options import DataOptions, PlanOptions, ShapeOptions, calibrating, naming, planning
from edge_sdk.cli.running import RuntimeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from converters.convert import Conversion
    from edge_sdk.report.result import ConvertReport


@click.command("convert", short_help="Convert a model for a target and keep the files.")
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
    """Convert MODEL for a target and keep the compiled file and the bundle in DIR.

    Contacts no device. Where the accuracy that is asked for cannot be kept, the best that was found is kept
    in DIR with a report of what was tried, and the exit code is 15.
    """
    from edge_sdk.report import text

    options = PlanOptions(path, target, precision, io_kind, batch, shapes, accuracy.search, running)
    made_in(
        folder,
        name,
        options,
        DataOptions(calibration, preprocessing, accuracy, fold_preprocessing),
        json_to,
        text.print_conversion,
    )


def made_in(
    folder: Path,
    name: str | None,
    options: PlanOptions,
    data: DataOptions,
    json_to: str | None,
    show: Callable[[ConvertReport], None],
) -> None:
    """Plan, convert, save and report; what misses its accuracy is saved and reported too."""
    from device_agent.errors import AccuracyMissed
    from edge_sdk import saving
    from edge_sdk.report.build import convert_report

    def kept(conversion: Conversion) -> ConvertReport:
        return convert_report(conversion, saving.save(conversion, folder, name=name))

    with output.progress() as progress:
        progress("read the model", 0, 0)
        model, plan = options.plan()
        try:
            report = kept(data.convert(model, plan, progress))
        except AccuracyMissed as missed:
            report = kept(missed.best)
            missed.report = report.to_json()
            if json_to != "-":
                show(report)
            raise
    output.emit(report.to_json(), json_to, lambda: show(report))
