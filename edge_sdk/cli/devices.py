"""`edge devices`: what can be deployed to, and what is deployed there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_sdk.cli import devices_install, devices_signers, output, several

if TYPE_CHECKING:
    from converters.progress import Progress
    from edge_sdk.devices.device import Device
    from edge_sdk.devices.inventory import Entry

EXIT_FAILED = 1


@click.group("devices", short_help="Devices that can be deployed to: register, look at, examine.")
def command() -> None:
    """Devices that can be deployed to.

    Registered ones stand in ~/.config/edge/devices.toml (EDGE_DEVICES names another file); you may edit it.
    """


@command.command("add", short_help="Register a device that is reached over SSH.")
@click.argument("name")
@click.argument("address")
@click.option("--target", required=True, help="The board that it is: `edge targets list`, or a board file.")
@click.option("--identity", metavar="FILE", help="The key file to use; by default those that `ssh` uses.")
@click.option("--known-hosts", metavar="FILE", help="Host keys to accept beside those in ~/.ssh/known_hosts.")
@click.option(
    "--accept-key",
    metavar="FINGERPRINT",
    help="Pin the host key that the device shows now, if it has this fingerprint (SHA256:...).",
)
@click.option(
    "--agent-command",
    metavar="COMMAND",
    help="What leads to the agent there; `edge-agent connect` by default.",
)
@output.common
def add(
    name: str,
    address: str,
    target: str,
    identity: str | None,
    known_hosts: str | None,
    accept_key: str | None,
    agent_command: str | None,
    json_to: str | None,
) -> None:
    """Register the device at ADDRESS (user@host[:port], or a host of ~/.ssh/config) as NAME.

    Only --accept-key contacts it. Registering it again changes the options that are given.
    """
    from attrs import evolve

    from edge_sdk.devices import inventory, registration, selection

    entry = inventory.Entry(
        name=name,
        address=address,
        target=selection.registered_target(target),
        identity=_absolute(identity),
        known_hosts=_absolute(known_hosts),
        agent_command=agent_command,
    )
    if accept_key is not None:
        entry = evolve(entry, host_key=str(registration.accepted_key(entry, accept_key)))
    entry = inventory.add(entry)

    def text() -> None:
        if entry.pinned is not None and accept_key is not None:
            click.echo(
                f"The host shows {entry.pinned.type} {entry.pinned.fingerprint}: it matches, and is pinned."
            )
        click.echo(
            f"{name} is registered in {inventory.path()}. `edge devices doctor {name}` examines the way."
        )

    output.emit(_registration(entry), json_to, text)


@command.command("discover", short_help="Ask the local network which hosts offer SSH: a hint only.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=60),
    default=3.0,
    show_default=True,
    help="How long to wait for answers, in seconds.",
)
@output.common
def discover(timeout: float, json_to: str | None) -> None:
    """Ask the local network by multicast DNS which hosts offer SSH, and show how to register them.

    A hint only: anybody on the network can answer. Nothing that is found is trusted, contacted or
    registered; its host key still has to be accepted by its fingerprint.
    """
    from device_agent import codec
    from edge_sdk.devices import discovery, inventory
    from edge_sdk.report import listing

    found = discovery.discover(timeout, inventory.load())
    output.emit(codec.to_json(found), json_to, lambda: listing.print_discovery(found, timeout))


@command.command("list", short_help="List the devices that can be deployed to.")
@click.option("--check", is_flag=True, help="Connect to each, and say whether its agent answers.")
@output.common
def list_devices(check: bool, json_to: str | None) -> None:
    """List the devices that can be deployed to; contacts none of them unless --check is given."""
    from edge_sdk.devices import inventory
    from edge_sdk.devices.addresses import ADDRESSES
    from edge_sdk.report import listing

    rows: list[dict[str, Any]] = [
        {"name": name, "address": name, "target": target, "description": description}
        for name, (target, description) in ADDRESSES.items()
    ]
    rows += [
        {"name": e.name, "address": e.address, "target": e.target, "description": f"over SSH, {e.address}"}
        for e in inventory.load().values()
    ]
    if check:
        from edge_sdk.devices import fleet

        answers = fleet.reachable([row["name"] for row in rows])
        for row in rows:
            error = answers[row["name"]]
            row["reachable"] = error is None
            row["error"] = None if error is None else str(error)
    output.emit(rows, json_to, lambda: listing.print_devices(rows))


@command.command("show", short_help="Show a device and what is deployed on it.")
@click.argument("address", required=False, metavar="[DEVICE]")
@output.common
def show(address: str | None, json_to: str | None) -> None:
    """Show DEVICE as its agent sees it, and what is deployed on it.

    By default the only registered device, or this machine if none is.
    """
    from device_agent import codec
    from edge_sdk import pipeline
    from edge_sdk.devices import inventory
    from edge_sdk.report import listing

    (address,) = several.meant(() if address is None else (address,), None, None)
    with pipeline.device(address) as device:
        info, deployments = device.describe(), device.deployments()
    entry = inventory.load().get(device.name)
    result = {
        "address": address,
        "target": None if device.target is None else device.target.name,
        "registration": None if entry is None else _registration(entry),
        "agent": codec.to_json(info),
        "deployments": codec.to_json(deployments),
    }
    output.emit(result, json_to, lambda: listing.print_device(address, info, deployments, entry))


@command.command("remove", short_help="Forget a registered device.")
@click.argument("name")
@output.common
def remove(name: str, json_to: str | None) -> None:
    """Forget the registered device NAME; nothing on it changes. `edge remove` removes a model from one."""
    from edge_sdk.devices import inventory

    entry = inventory.remove(name)
    output.emit(
        {"removed": _registration(entry)},
        json_to,
        lambda: click.echo(f"{name} ({entry.address}) is registered no more; nothing on it was changed."),
    )


@command.command("doctor", short_help="Examine each step of the way to a device.")
@click.argument("names", nargs=-1, metavar="[DEVICE]...")
@output.common
@click.pass_context
def doctor(ctx: click.Context, names: tuple[str, ...], json_to: str | None) -> None:
    """Examine each step of the way to DEVICE, and stop at the first that fails.

    Looks at the SSH configuration, the host's name, its port, its host key, the login, the agent, its
    protocol, its runtimes, its disk and whether the machine is what its target says. By default it is the
    only registered device. Exits with 1 if a step of any fails.
    """
    from device_agent import codec
    from edge_sdk.cli.doctor import print_check
    from edge_sdk.devices import diagnosis

    results = []
    for name in several.meant(names, None, None):
        if len(names) > 1 and json_to != "-":
            click.echo(f"{name}:")
        found = []
        for check in diagnosis.examine(name):
            found.append(check)
            if json_to != "-":
                print_check(check)  # as it comes: a step may take its whole timeout
        ok = all(check.status != "fail" for check in found)
        results.append({"ok": ok, "device": name, "checks": codec.to_json(found)})
    good = all(result["ok"] for result in results)
    output.emit(results[0] if len(results) == 1 else {"ok": good, "devices": results}, json_to, lambda: None)
    if not good:
        ctx.exit(EXIT_FAILED)


@command.command("history", short_help="How the deployments of a model ended.")
@click.argument("name")
@several.which
@output.common
def history(name: str, addresses: tuple[str, ...], target: str | None, json_to: str | None) -> None:
    """Show how every deployment and rollback of NAME ended, oldest first."""
    from device_agent import codec
    from device_agent.protocol import HistoryEntry
    from edge_sdk.report import listing

    def work(device: Device, _progress: Progress) -> tuple[HistoryEntry, ...]:
        return device.history(name)

    def row(entries: tuple[HistoryEntry, ...]) -> tuple[str, ...]:
        last = entries[-1]
        return last.outcome.lower(), str(last.generation), last.finished_at, str(len(entries))

    shown = several.Shown(
        to_json=lambda _, entries: {"history": codec.to_json(entries)},
        text=lambda _, entries: listing.print_history(entries),
        heads=("last", "generation", "finished", "entries"),
        row=row,
        alone="history",
    )
    several.run(several.meant(addresses, target, name), work, shown, json_to)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def _registration(entry: Entry) -> dict[str, Any]:
    """A registered device as JSON, with its host key's fingerprint beside the key."""
    from device_agent import codec

    fingerprint = None if entry.pinned is None else entry.pinned.fingerprint
    return {**codec.to_json(entry), "host_key_fingerprint": fingerprint}


command.add_command(devices_signers.group)
for _each in devices_install.COMMANDS:
    command.add_command(_each)
