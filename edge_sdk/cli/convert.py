"""`edge convert`: the compiled model under a readable name, and the bundle beside it."""

from __future__ import annotations

from pathlib import Path

import click

from edge_sdk.cli import output
from edge_sdk.cli.options import PlanOptions, ShapeOptions, calibrating, planning


@click.command("convert", short_help="Convert a model for a target and keep the files.")
@planning
@calibrating
@click.option("--name", help="The deployment's name on devices; made from the file's name by default.")
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the compiled model and bundle/ go; made where missing.",
)
@output.common
def command(
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    batch: int,
    shapes: ShapeOptions,
    calibration: str | None,
    preprocessing: Path | None,
    name: str | None,
    folder: Path,
    json_to: str | None,
) -> None:
    """Convert MODEL for a target and keep the compiled file and the bundle in DIR.

    Contacts no device.
    """
    from edge_sdk import pipeline
    from edge_sdk.report import text
    from edge_sdk.report.build import convert_report

    with output.progress() as progress:
        progress("read the model", 0, 0)
        model, plan = PlanOptions(path, target, precision, io_kind, batch, shapes).plan()
        conversion = pipeline.convert(
            model, plan, calibration=calibration, preprocessing=preprocessing, progress=progress
        )
        bundle = pipeline.pack(conversion, folder / "bundle", name=name)
        file = folder / conversion.artifact.title
        output.write_file(file, conversion.artifact.data, source=path)
    report = convert_report(conversion, bundle, file)
    output.emit(report.to_json(), json_to, lambda: text.print_conversion(report))
