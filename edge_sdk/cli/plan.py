"""`edge plan`: what would become of each operator."""

from __future__ import annotations

from pathlib import Path

import click

from edge_sdk.cli.options import PlanOptions, ShapeOptions, planning
from edge_sdk.cli.output import common, emit

EXIT_REFUSED = 5  # of UnsupportedOperator


@click.command("plan", short_help="Show what would become of each operator, and why.")
@planning
@common
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    batch: int,
    shapes: ShapeOptions,
    json_to: str | None,
) -> None:
    """Show what would become of each operator of MODEL on a target, and why.

    Writes nothing and contacts no device. Exits with 5 if an operator is refused; the plan is shown all
    the same.
    """
    from device_agent import codec
    from edge_sdk.report import text

    _, plan = PlanOptions(path, target, precision, io_kind, batch, shapes).plan()
    emit(codec.to_json(plan), json_to, lambda: text.print_plan(plan))
    if not plan.accepted:
        ctx.exit(EXIT_REFUSED)
