"""`edge devices install | upgrade | uninstall`: the agent itself, on a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_sdk.cli import output

if TYPE_CHECKING:
    from edge_sdk.devices.bootstrap.install import Outcome
    from edge_sdk.devices.remote import Remote
    from targets.schema import Target

F = TypeVar("F", bound=Callable[..., Any])

DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
TARGET = click.option(
    "--target",
    help="The device's board: names its architecture and the runtimes it gets. Not needed for this machine "
    "and for a registered device.",
)


@click.command("install", short_help="Install the agent and its runtimes on a device.")
@click.argument("address", default="local")
@TARGET
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
    address: str,
    target: str | None,
    service: str | None,
    sign_key: Path | None,
    dry_run: bool,
    json_to: str | None,
) -> None:
    """Install the agent and its runtimes on the device at ADDRESS; the device needs no internet.

    It is examined first, and refused with a named reason where it lacks something. The key that logged in
    becomes a signer: from then on the device takes signed bundles only. Installing again changes nothing.
    """
    from edge_sdk.devices.signers import public_line

    line = None if sign_key is None else public_line(sign_key)
    _bring(address, target, service, dry_run=dry_run, upgrade=False, json_to=json_to, key=line)


@click.command("upgrade", short_help="Replace the agent on a device by this SDK's.")
@click.argument("address", default="local")
@TARGET
@DRY_RUN
@output.common
def upgrade(address: str, target: str | None, dry_run: bool, json_to: str | None) -> None:
    """Replace the agent on the device at ADDRESS by the one of this SDK.

    The new one is on trial: unless it answers within 60 seconds, the device goes back to the one before
    by itself.
    """
    _bring(address, target, None, dry_run=dry_run, upgrade=True, json_to=json_to)


@click.command("uninstall", short_help="Remove the agent from a device.")
@click.argument("address", default="local")
@click.option("--keep-models", is_flag=True, help="Leave what is deployed, for an agent installed later.")
@DRY_RUN
@output.common
def uninstall(address: str, keep_models: bool, dry_run: bool, json_to: str | None) -> None:
    """Remove the agent from the device at ADDRESS, and everything that was deployed to it."""
    from edge_sdk.devices.bootstrap import install as bootstrap

    device = remote(address)
    try:
        with output.progress() as progress:
            outcome = bootstrap.uninstall(device, keep_models=keep_models, dry_run=dry_run, progress=progress)
    finally:
        device.close()
    _emit(outcome, json_to)


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
    address: str,
    target: str | None,
    service: str | None,
    *,
    dry_run: bool,
    upgrade: bool,
    json_to: str | None,
    key: str | None = None,
) -> None:
    from edge_sdk.devices.bootstrap import install as bootstrap
    from edge_sdk.devices.signers import introduce

    board = _board(address, target)
    device = remote(address)
    try:
        with output.progress() as progress:
            outcome = bootstrap.install(
                device, board, service=service, upgrade=upgrade, dry_run=dry_run, progress=progress
            )
            told = "" if upgrade or dry_run else introduce(device, board.name, key)
    finally:
        device.close()
    _emit(outcome, json_to, told)


def _emit(outcome: Outcome, json_to: str | None, signer: str = "") -> None:
    from device_agent import codec

    def text() -> None:
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
        if signer:
            click.echo(f"{outcome.address}: {signer}")

    output.emit({**codec.to_json(outcome), "signer": signer}, json_to, text)
