"""`edge devices install | upgrade | uninstall`: the agent itself, on a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from edge_sdk.cli import output

if TYPE_CHECKING:
    from converters.progress import Progress
    from edge_sdk.devices.bootstrap.install import Outcome
    from edge_sdk.devices.remote import Remote
    from targets.schema import Target

    Bring = tuple[Remote, Callable[[Progress], Outcome]]  # a machine, and what is to be done there

DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
TARGET = click.option(
    "--target",
    help="The device's board: names its architecture and the runtimes it gets. Not needed for this machine "
    "and for a registered device.",
)

RUNTIMES = click.option(
    "--runtime",
    "runtimes",
    metavar="NAME",
    multiple=True,
    help="One more of the board's runtimes (`edge targets show`), besides the preferred one and those that "
    "the device has; repeatable. openvino takes 30 to 60 MB to send.",
)
DEVICES = click.argument("names", nargs=-1, metavar="[DEVICE]...")


@click.command("install", short_help="Install the agent and its runtimes on a device.")
@DEVICES
@TARGET
@RUNTIMES
@click.option(
    "--service",
    type=click.Choice(["system", "user", "plain"]),
    help="How the agent is kept running: a systemd unit with a user of its own, a unit of the user's, or a "
    "supervisor script. By default the strongest that the device has.",
)
@click.option(
    "--sign-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The key that may sign for the device; by default the one that logged in.",
)
@DRY_RUN
@output.common
def install(
    names: tuple[str, ...],
    target: str | None,
    runtimes: tuple[str, ...],
    service: str | None,
    sign_key: Path | None,
    dry_run: bool,
    json_to: str | None,
) -> None:
    """Install the agent and its runtimes on DEVICE; the device needs no internet.

    It is examined first, and refused with a named reason where it lacks something. The key that logged in
    becomes a signer: from then on the device takes signed bundles only. Installing again changes nothing.
    By default DEVICE is the only registered one; `local` is this machine.
    """
    from edge_sdk.devices.signers import public_line

    key = None if sign_key is None else public_line(sign_key)
    _on_each(names, target, lambda name: _bring(name, target, runtimes, service, dry_run, key=key), json_to)


@click.command("upgrade", short_help="Replace the agent on a device by this SDK's.")
@DEVICES
@TARGET
@RUNTIMES
@DRY_RUN
@output.common
def upgrade(
    names: tuple[str, ...],
    target: str | None,
    runtimes: tuple[str, ...],
    dry_run: bool,
    json_to: str | None,
) -> None:
    """Replace the agent on DEVICE, by default the only registered one, by the one of this SDK.

    The new one is on trial: unless it answers within 60 seconds, the device goes back to the one before
    by itself.
    """
    _on_each(names, target, lambda name: _bring(name, target, runtimes, None, dry_run, upgrade=True), json_to)


@click.command("uninstall", short_help="Remove the agent from a device.")
@DEVICES
@click.option("--keep-models", is_flag=True, help="Leave what is deployed, for an agent installed later.")
@DRY_RUN
@output.common
def uninstall(names: tuple[str, ...], keep_models: bool, dry_run: bool, json_to: str | None) -> None:
    """Remove the agent from DEVICE, by default the only registered one, and everything deployed to it."""
    from edge_sdk.devices.bootstrap import install as bootstrap

    def work(name: str) -> Bring:
        device = remote(name)
        return device, lambda progress: bootstrap.uninstall(
            device, keep_models=keep_models, dry_run=dry_run, progress=progress
        )

    _on_each(names, None, work, json_to)


COMMANDS = (install, upgrade, uninstall)


def remote(address: str) -> Remote:
    """The device of a name or at an address, to run commands on.

    Raises:
        InvalidRequest: no such device, or one that nothing can be installed on.
    """
    from device_agent.errors import InvalidRequest
    from edge_sdk.devices import selection
    from edge_sdk.devices.local_remote import LocalRemote
    from edge_sdk.devices.ssh import SshConnection

    if address == "local":
        return LocalRemote()
    if address == "fake":
        raise InvalidRequest("the fake device brings its own agent", got="fake")
    return SshConnection(selection.ssh_settings(selection.find(address)))


def _board(address: str, target: str | None) -> Target:
    """The board that a device is, from `--target` or from where it is registered."""
    from device_agent.errors import InvalidRequest
    from edge_sdk.devices import selection
    from targets.schema import load_target

    name = target or ("local" if address == "local" else selection.find(address).target)
    if not name:
        raise InvalidRequest(
            "the device is not registered, so its board is not known",
            where=address,
            next_step=f"Give it (`--target rpi4`), or register it: `edge devices add NAME {address} --target "
            "rpi4`.",
        )
    return load_target(name)


def _bring(
    name: str,
    target: str | None,
    runtimes: tuple[str, ...],
    service: str | None,
    dry_run: bool,
    *,
    upgrade: bool = False,
    key: str | None = None,
) -> Bring:
    from edge_sdk.devices.bootstrap import install as bootstrap
    from edge_sdk.devices.signers import introduce

    board = _board(name, target)
    device = remote(name)

    def run(progress: Progress) -> Outcome:
        outcome = bootstrap.install(
            device,
            board,
            runtimes=runtimes,
            service=service,
            upgrade=upgrade,
            dry_run=dry_run,
            progress=progress,
        )
        if upgrade or dry_run:
            return outcome
        return evolve(outcome, signer=introduce(device, board.name, key))

    return device, run


def _on_each(
    names: tuple[str, ...], target: str | None, work: Callable[[str], Bring], json_to: str | None
) -> None:
    """Do something to one device or to several, and write what came of it.

    Args:
        names: of the command line; none is the only registered device.
        target: of the command line.
        work: the machine, and what is to be done there; contacts nobody.
        json_to: of the command line.
    """
    from device_agent import codec
    from edge_sdk.devices import fleet, selection
    from edge_sdk.report import summary

    if not names:
        names = (selection.choose_registered(target),)
        click.echo(f"device: {names[0]}", err=True)
    todo = {name: work(name) for name in names}

    def one(name: str, progress: Progress) -> Outcome:
        device, run = todo[name]
        try:
            return run(progress)
        finally:
            device.close()

    with output.progress(live=len(names) == 1) as progress:
        if len(names) == 1:
            outcome = one(names[0], progress)
        else:

            def prefixed(name: str) -> Outcome:
                return one(name, lambda what, done, total: progress(f"{name}: {what}", done, total))

            outcomes = fleet.for_each(tuple(todo), prefixed)
    if len(names) == 1:
        output.emit(codec.to_json(outcome), json_to, lambda: _text(outcome))
        return
    output.emit(
        summary.to_json(outcomes, lambda _, found: codec.to_json(found)),
        json_to,
        lambda: summary.print_outcomes(
            outcomes,
            ("outcome", "release", "kept by"),
            lambda o: (
                f"{o.action}, units outdated" if o.outdated else o.action,
                o.release or "-",
                o.service or "-",
            ),
        ),
    )
    if code := summary.exit_code(outcomes):
        click.get_current_context().exit(code)


def _text(outcome: Outcome) -> None:
    for finding in outcome.findings:
        click.echo(f"note: {finding}")
    if outcome.action == "planned":
        for step in outcome.steps:
            click.echo(f"would {step}")
        return
    if outcome.action == "nothing":
        click.echo(f"{outcome.address}: no agent is installed")
        return
    what = f" {outcome.release} ({outcome.service})" if outcome.release is not None else ""
    click.echo(f"{outcome.address}: agent{what} {outcome.action}")
    if outcome.runtimes:
        click.echo(f"{outcome.address}: runtimes {', '.join(outcome.runtimes)}")
    if outcome.signer:
        click.echo(f"{outcome.address}: {outcome.signer}")
    if outcome.outdated:
        click.echo(
            f"note: not as this version writes them: {', '.join(outcome.outdated)}; "
            "`edge devices install` writes them anew, an upgrade leaves them alone"
        )
