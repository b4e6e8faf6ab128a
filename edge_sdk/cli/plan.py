"""`edge plan`: what would become of each operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_sdk.cli.accuracy import choosing
from edge_sdk.cli.options import PlanOptions, ShapeOptions, planning
from edge_sdk.cli.output import common, emit, progress
from edge_sdk.cli.running import AUTO, RuntimeOptions

if TYPE_CHECKING:
    from converters.partition.types import Plan

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
    the same. With --runtime auto every runtime's plan is shown (as JSON: a list), and one must be accepted.
    """
    from device_agent import codec

    options = PlanOptions(path, target, precision, io_kind, batch, shapes, search, running)
    with progress() as tell:
        tell("read the model", 0, 0)
        plans = _every(options) if running.runtime == AUTO else (options.plan()[1],)
    result = [codec.to_json(plan) for plan in plans]
    emit(result if running.runtime == AUTO else result[0], json_to, lambda: _print(plans))
    if not any(plan.accepted for plan in plans):
        ctx.exit(EXIT_REFUSED)


def _every(options: PlanOptions) -> tuple[Plan, ...]:
    """The plans for every runtime of the target, the preferred one first."""
    from edge_sdk.candidates import runtimes_of
    from targets.schema import load_target

    model = options.load()
    return tuple(options.plan_of(model, runtime) for runtime in runtimes_of(load_target(options.target)))


def _print(plans: tuple[Plan, ...]) -> None:
    from edge_sdk.report import layout, text

    for number, plan in enumerate(plans):
        layout.lines([""] * (number > 0))
        text.print_plan(plan)
