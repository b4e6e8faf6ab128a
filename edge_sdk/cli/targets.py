"""`edge targets`: the boards that ship with the SDK."""

from __future__ import annotations

import click

from edge_sdk.cli import output


@click.group("targets", short_help="Boards that can be converted for.")
def command() -> None:
    """Boards that can be converted for."""


@command.command("list", short_help="List the boards that ship with the SDK.")
@output.common
def list_targets(json_to: str | None) -> None:
    """List the boards that ship with the SDK."""
    from device_agent import codec
    from edge_sdk.report import listing
    from targets.schema import board_names, load_target

    boards = [load_target(name) for name in board_names()]
    output.emit(codec.to_json(boards), json_to, lambda: listing.print_targets(boards))


@command.command("show", short_help="Show a board.")
@click.argument("target")
@output.common
def show(target: str, json_to: str | None) -> None:
    """Show a board: processors, memory, runtimes. TARGET is a name or the path of a board file."""
    from device_agent import codec
    from edge_sdk.report import listing
    from targets.schema import load_target

    board = load_target(target)
    output.emit(codec.to_json(board), json_to, lambda: listing.print_target(board))
