"""The `edge` command's root: commands loaded on use, errors as one paragraph and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from edge_sdk.cli import output

# name -> one line of help; the command of that name is edge_sdk.cli.<name>.command
COMMANDS = {
    "convert": "Convert a model for a target and keep the files.",
    "quantize": "Quantise a model so that it keeps its accuracy, or say what it lacks.",
    "plan": "Show what would become of each operator, and why.",
    "inspect": "Show what a model is and needs, and what a board refuses of it.",
    "optimize": "Make a .tflite file leaner, and prove that it computes the same.",
    "sign": "Sign a bundle for devices that cannot be asked now.",
    "deploy": "Convert a model, deploy it to a device and measure it.",
    "rollback": "Bring back the generation before the active one.",
    "remove": "Remove a deployed model.",
    "bench": "Measure the latency of a deployed model.",
    "devices": "Devices that can be deployed to: register, look at, examine.",
    "targets": "Boards that can be converted for.",
    "agent": "The agent of this machine: start, stop, look at.",
    "logs": "Show the newest lines of an agent's log.",
    "doctor": "Check that everything the SDK needs is in place.",
    "forward": "Relay a local TCP port to a device's inference API.",
}
EXIT_INTERRUPTED = 130  # as shells have it: 128 + SIGINT
EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h


class EdgeGroup(click.Group):
    """A group whose commands are modules imported on use, and which turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the road."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f"edge_sdk.cli.{cmd_name}").command
        if not isinstance(found, click.Command):
            raise TypeError(f"edge_sdk.cli.{cmd_name}.command is not a command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands from the static table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - click's signature
        **extra: Any,
    ) -> NoReturn:
        """Run the command line and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name or "edge", complete_var, standalone_mode=False, **extra)
        except click.Abort:  # Ctrl-C
            sys.exit(EXIT_INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as e:
            e.show()
            sys.exit(e.exit_code)
        except Exception as e:  # noqa: BLE001 - the one place where every error becomes a paragraph
            sys.exit(_report(e, words))
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception, words: list[str]) -> int:
    """Print an error and write it as JSON where `--json` asks for that; the exit code."""
    from device_agent.errors import EdgeError, InvalidRequest

    if "--traceback" in words or os.environ.get("EDGE_TRACEBACK") == "1":
        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else "edge"
        error = InvalidRequest(
            error.format_message().rstrip("."), where=where, next_step=f"See `{where} --help`."
        )
    if isinstance(error, EdgeError):
        body, code = error.to_json(), error.exit_code
    else:
        body, code = {"error": _unexpected(error), "code": "unexpected"}, EXIT_UNEXPECTED
    click.echo(f"error: {body['error']}", err=True)
    output.write_error(body, words)
    return code


def _unexpected(error: Exception) -> str:
    return (
        f"unexpected {type(error).__name__}: {error}. This is a defect of edge-deployment-sdk: please report "
        "it at the project's issue tracker with the command, what `edge doctor` prints, and what the same "
        "command prints with --traceback."
    )


@click.command(cls=EdgeGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edge-deployment-sdk", prog_name="edge")
def edge() -> None:
    """Take a trained neural network to an edge device: converted, verified, deployed, measured.

    Every command writes its result as JSON with `--json FILE` (`-` is stdout). Exit codes are those of
    docs/errors.md; 130 is Ctrl-C.
    """


def main() -> NoReturn:
    """The entry point of the `edge` script."""
    edge.main()
