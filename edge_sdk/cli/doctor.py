"""`edge doctor`: whether everything the SDK needs is in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output

if TYPE_CHECKING:
    from edge_sdk.devices.diagnosis import Check

EXIT_FAILED = 1


@click.command("doctor", short_help="Check that everything the SDK needs is in place.")
@output.common
@click.pass_context
def command(ctx: click.Context, json_to: str | None) -> None:
    """Check Python, packages, runtimes, the agent's state folder and the agent.

    Exits with 1 if a check fails; a warning is no failure.
    """
    from device_agent import codec
    from edge_sdk.cli import checks

    found = checks.run_all()
    failed = any(check.status == "fail" for check in found)

    def text() -> None:
        for check in found:
            print_check(check)

    output.emit({"ok": not failed, "checks": codec.to_json(found)}, json_to, text)
    if failed:
        ctx.exit(EXIT_FAILED)


def print_check(check: Check) -> None:
    """One check as a line, and a second one with what to do."""
    click.echo(f"{check.status:4}  {check.name:8}  {check.message}")
    if check.next_step:
        click.echo(f"      {'':8}  {check.next_step}")
