"""What commands share: `--json`, progress, and the one place where results are written."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from converters.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """The options every command has: `--json` and `--traceback`."""
    function = click.option(
        "--traceback", is_flag=True, expose_value=False, help="Show the traceback of an error."
    )(function)
    return click.option(
        "--json", "json_to", metavar="FILE", help="Write the result as JSON to FILE; - is stdout."
    )(function)


DEVICE_HELP = (
    "A name of `edge devices list` (local is this machine, fake a temporary agent) or user@host[:port]."
)
ONLY_HELP = " By default the only registered device, or this machine if none is."


def device_option(function: F) -> F:
    """`--device`: which device to talk to; None where it is not named."""
    return click.option("--device", "address", metavar="DEVICE", help=DEVICE_HELP + ONLY_HELP)(function)


def devices_option(function: F) -> F:
    """`--device`, which may be given several times; empty where none is named."""
    return click.option(
        "--device",
        "addresses",
        multiple=True,
        metavar="DEVICE",
        help=DEVICE_HELP + " May be given several times." + ONLY_HELP,
    )(function)


def deploy_devices_option(function: F) -> F:
    """`--device`, which may be given several times; without it the target decides."""
    return click.option(
        "--device",
        "addresses",
        multiple=True,
        metavar="DEVICE",
        help=DEVICE_HELP
        + " May be given several times. By default the only registered device of the target.",
    )(function)


def emit(result: Any, json_to: str | None, text: Callable[[], None]) -> None:
    """Write a command's result: as JSON where asked for, as text unless JSON took stdout.

    Args:
        result: plain JSON data.
        json_to: a file, `-` for stdout, or None.
        text: prints the result for people.

    Raises:
        OutputError: the file cannot be written.
    """
    if json_to is not None:
        write_json(result, json_to)
    if json_to != "-":
        text()


def write_json(data: Any, json_to: str) -> None:
    """Write JSON as one line to a file, or to stdout for `-`."""
    from device_agent.errors import OutputError

    body = json.dumps(data, allow_nan=False)
    if json_to == "-":
        click.echo(body)
        return
    try:
        Path(json_to).write_text(body + "\n")
    except OSError as e:
        raise OutputError("cannot write the JSON file", where=json_to, got=str(e)) from e


def write_error(body: dict[str, Any], words: list[str]) -> None:
    """Write an error object where the command line's `--json` says, if it says so.

    The words are searched because the error may be one of parsing them.
    """
    from device_agent.errors import OutputError

    for place, word in enumerate(words):
        if word.startswith("--json="):
            json_to = word.removeprefix("--json=")
        elif word == "--json" and place + 1 < len(words):
            json_to = words[place + 1]
        else:
            continue
        try:
            write_json(body, json_to)
        except OutputError as e:
            click.echo(f"error: {e}", err=True)
        return


@contextmanager
def progress(*, live: bool = True) -> Iterator[Progress]:
    """A progress callback on stderr: a live line on a terminal, one plain line per step elsewhere.

    Args:
        live: False for plain lines everywhere; these may come from several threads.
    """
    if not live or not sys.stderr.isatty():
        seen: set[str] = set()
        lock = threading.Lock()

        def plain(what: str, _done: int, _total: int) -> None:
            with lock:
                new = what not in seen
                seen.add(what)
            if new:
                click.echo(f"{what} ...", err=True)

        yield plain
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal current, task
            if what != current:  # a new task, because the total of one cannot become unknown again
                current = what
                bar.remove_task(task)
                task = bar.add_task(what, total=None)
            bar.update(task, completed=done, total=total or None)

        yield show
