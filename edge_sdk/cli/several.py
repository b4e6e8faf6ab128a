"""A command on one device or on several: which are meant, one summary, the exit code of the worst."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
from attrs import frozen

from edge_sdk.cli import output
from edge_sdk.cli.clock import Clock

if TYPE_CHECKING:
    from converters.progress import Progress
    from device_agent.errors import EdgeError
    from edge_sdk.devices.device import Device

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Shown(Generic[T]):
    """How the result of a command on a device is written.

    Args:
        to_json: of the device's name and the result.
        text: prints the result on the only device.
        heads: of the table for several devices; the first is for how it ended.
        row: the result's cells in it.
        alone: of `to_json`, what is written for the only device; all of it if None.
    """

    to_json: Callable[[str, T], dict[str, Any]]
    text: Callable[[str, T], None]
    heads: tuple[str, ...]
    row: Callable[[T], tuple[str, ...]]
    alone: str | None = None


def which(function: F) -> F:
    """`--device`, which may be given several times, and `--target`."""
    function = click.option(
        "--target", help="Only a device of this board, where --device does not name one."
    )(function)
    return output.devices_option(function)


def only(function: F) -> F:
    """`--device` for a command that works on one, and `--target`."""
    function = click.option(
        "--target", help="Only a device of this board, where --device does not name one."
    )(function)
    return output.device_option(function)


def meant(addresses: tuple[str, ...], target: str | None, model: str | None) -> tuple[str, ...]:
    """The devices that the command line means; says which one where it names none.

    Raises:
        InvalidRequest: none or several can be meant, one is named twice, or is of another target.
    """
    from device_agent.errors import InvalidRequest
    from edge_sdk.devices import selection

    if not addresses:
        name = selection.choose_deployed(model, target)
        if name != selection.LOCAL:
            click.echo(f"device: {name}", err=True)  # a command that changes it must not leave that open
        return (name,)
    twice = {name for name in addresses if addresses.count(name) > 1}
    if twice:
        raise InvalidRequest("a device is named twice", where="--device", got=", ".join(sorted(twice)))
    if target is not None:
        for address in addresses:
            selection.check_target(address, target)
    return addresses


def run(
    names: tuple[str, ...],
    work: Callable[[Device, Progress], T],
    shown: Shown[T],
    json_to: str | None,
) -> None:
    """Do something on each device, and write what came of it; exits with the worst error's code.

    Args:
        names: from `meant`.
        work: on an open device; one at a time for each device.
        shown: how its result is written.
        json_to: of the command line.

    Raises:
        EdgeError: what `work` raised, where there is one device only.
    """
    from edge_sdk.devices import fleet
    from edge_sdk.devices.selection import open_device
    from edge_sdk.devices.ssh_keys import Passphrases
    from edge_sdk.report import summary

    if len(names) == 1:
        with output.progress() as progress, open_device(names[0]) as device:
            found = work(device, progress)
        body = shown.to_json(names[0], found)
        output.emit(
            body if shown.alone is None else body[shown.alone], json_to, lambda: shown.text(names[0], found)
        )
        return
    ask = Passphrases()
    devices = {name: open_device(name, ask=ask) for name in names}
    with output.progress(live=False) as progress:

        def one(name: str) -> T:
            with devices[name] as device:
                return work(device, lambda what, done, total: progress(f"{name}: {what}", done, total))

        outcomes = fleet.for_each(names, one)
    output.emit(
        summary.to_json(outcomes, shown.to_json),
        json_to,
        lambda: summary.print_outcomes(outcomes, shown.heads, shown.row),
    )
    if code := summary.exit_code(outcomes):
        click.get_current_context().exit(code)


def connected(
    names: tuple[str, ...], target: str | None, stack: ExitStack, progress: Progress
) -> tuple[dict[str, Device], dict[str, Clock | EdgeError]]:
    """The devices, open until the stack ends; and of each how long that took, or why it cannot be reached.

    Raises:
        AgentUnreachable: none of them can be reached.
    """
    from device_agent.errors import AgentUnreachable, EdgeError
    from edge_sdk.devices import fleet
    from edge_sdk.devices.selection import open_device
    from edge_sdk.devices.ssh_keys import Passphrases

    ask = Passphrases()
    devices = {name: open_device(name, target, ask) for name in names}

    def connect(name: str) -> Clock:
        progress(f"{name}: reach the device", 0, 0)
        own = Clock()
        with own.step("connect"):
            devices[name].__enter__()
        stack.push(devices[name])
        return own

    reached = fleet.for_each(names, connect)
    if all(isinstance(found, EdgeError) for found in reached.values()):
        raise AgentUnreachable(
            "none of the devices can be reached",
            got="; ".join(str(error) for error in reached.values()),
            next_step="`edge devices doctor NAME` looks at each step of the way.",
        )
    return devices, reached


def any_of(outcomes: dict[str, T | EdgeError]) -> dict[str, T | EdgeError]:
    """The outcomes themselves, unless every device failed: then the worst of their errors."""
    from device_agent.errors import EdgeError

    errors = [found for found in outcomes.values() if isinstance(found, EdgeError)]
    if len(errors) == len(outcomes):
        raise max(errors, key=lambda error: error.exit_code)
    return outcomes
