"""`edge agent`: the agent of this user on this machine."""

from __future__ import annotations

import os
import sys

import click

from edge_sdk.cli import output

EXIT_NOT_RUNNING = 21  # of AgentUnreachable


@click.group("agent", short_help="The agent of this machine: start, stop, look at.")
def command() -> None:
    """The agent of this machine.

    Commands start one on demand and it ends with them; one that was started here stays.
    """


@command.command("start", short_help="Start an agent that stays.")
@output.common
def start(json_to: str | None) -> None:
    """Start an agent that stays until `edge agent stop`; one that is running already becomes such."""
    from device_agent import codec
    from edge_sdk.devices import lifecycle
    from edge_sdk.report import listing

    info = lifecycle.start_agent()
    output.emit(codec.to_json(info), json_to, lambda: listing.print_agent(info))


@command.command("stop", short_help="End the agent.")
@output.common
def stop(json_to: str | None) -> None:
    """End the agent, whoever started it; what is deployed stays deployed."""
    from edge_sdk.devices import lifecycle

    info = lifecycle.stop_agent()

    def text() -> None:
        click.echo("no agent is running" if info is None else f"the agent (process {info.pid}) has ended")

    output.emit({"stopped": info is not None, "pid": None if info is None else info.pid}, json_to, text)


@command.command("status", short_help="Show whether an agent is running.")
@output.common
@click.pass_context
def status(ctx: click.Context, json_to: str | None) -> None:
    """Show the agent that is running; exits with 21 if there is none. Starts nothing."""
    from device_agent import codec
    from edge_sdk.devices import lifecycle
    from edge_sdk.report import listing

    info = lifecycle.find_agent()

    def show() -> None:
        if info is None:
            click.echo("no agent is running")
        else:
            listing.print_agent(info)

    agent = None if info is None else codec.to_json(info)
    output.emit({"running": info is not None, "agent": agent}, json_to, show)
    if info is None:
        ctx.exit(EXIT_NOT_RUNNING)


@command.command("run", short_help="Run an agent in the foreground.")
@output.common
def run(json_to: str | None) -> None:
    """Run an agent in the foreground until Ctrl-C or `edge agent stop`; its log goes to stderr."""
    from device_agent.home import default_state_dir

    state_dir = default_state_dir()

    def text() -> None:
        click.echo(f"agent {os.getpid()} with its state in {state_dir}", err=True)

    output.emit({"pid": os.getpid(), "state_dir": str(state_dir)}, json_to, text)
    serve = ["-P", "-m", "device_agent", "serve", "--state-dir", str(state_dir)]
    os.execv(sys.executable, [sys.executable, *serve])  # noqa: S606 - a list, no shell


@command.command("logs", short_help="Show the end of the agent's log.")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=50, show_default=True)
@output.common
def logs(lines: int, json_to: str | None) -> None:
    """Show the end of the log of agents that were started in the background."""
    from edge_sdk.devices import lifecycle

    path, tail = lifecycle.log_tail(lines)

    def text() -> None:
        click.echo("\n".join(tail) if tail else f"nothing is logged in {path}")

    output.emit({"log": str(path), "lines": tail}, json_to, text)
