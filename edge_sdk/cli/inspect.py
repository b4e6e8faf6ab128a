"""`edge inspect`: what is in a model file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from edge_sdk.cli.options import BATCH, MODEL, ShapeOptions, shaping
from edge_sdk.cli.output import common, emit


@click.command("inspect", short_help="Show a model's inputs, outputs, operators and sizes.")
@MODEL
@BATCH
@shaping
@common
def command(path: Path, batch: int, shapes: ShapeOptions, json_to: str | None) -> None:
    """Show the inputs, outputs, operators, parameters and size of MODEL."""
    from device_agent import codec
    from edge_sdk.report import text

    model = shapes.load(path, batch)
    result = {
        "name": model.name,
        "path": str(model.path),
        "format": model.format,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "parameters": model.parameters,
        "inputs": codec.to_json(model.inputs),
        "outputs": codec.to_json(model.outputs),
        "operator_counts": dict(Counter(operator.type for operator in model.operators).most_common()),
        "operators": codec.to_json(model.operators),
    }
    emit(result, json_to, lambda: text.print_model(model))
