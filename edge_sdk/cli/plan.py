"""`edge plan`: what would become of each operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_sdk.cli.accuracy import choosing
from edge_sdk.cli.options import PlanOptions, ShapeOptions, planning
from edge_sdk.cli.output import common, emit, progress
from edge_sdk.cli.running import RuntimeOptions

EXIT_REFUSED = 5  # of UnsupportedOperator


@click.command("plan", short_help="Show what would become of each operator, and why.")
@planning
@choosing
@common
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    running: RuntimeOptions,
    batch: int,
    shapes: ShapeOptions,
    search: dict[str, Any],
    json_to: str | None,
) -> None:
    """Show what would become of each operator of MODEL on a target, and why.

    Writes nothing and contacts no device. Exits with 5 if an operator is refused; the plan is shown all
    the same.
    """
    from device_agent import codec
    from edge_sdk.report import text

    with progress() as tell:
        tell("read the model", 0, 0)
        _, plan = PlanOptions(path, target, precision, io_kind, batch, shapes, search, running).plan()
    emit(codec.to_json(plan), json_to, lambda: text.print_plan(plan))
    if not plan.accepted:
        ctx.exit(EXIT_REFUSED)
