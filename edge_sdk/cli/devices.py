"""`edge devices`: what can be deployed to, and what is deployed there."""

from __future__ import annotations

import click

from edge_sdk.cli import devices_install, output


@click.group("devices", short_help="Devices that can be deployed to.")
def command() -> None:
    """Devices that can be deployed to."""


@command.command("list", short_help="List the devices that can be deployed to.")
@output.common
def list_devices(json_to: str | None) -> None:
    """List the devices that can be deployed to; contacts none of them."""
    from edge_sdk.devices.device import ADDRESSES
    from edge_sdk.report import listing

    rows = [
        {"address": address, "target": target, "description": description}
        for address, (target, description) in ADDRESSES.items()
    ]
    output.emit(rows, json_to, lambda: listing.print_devices(rows))


@command.command("show", short_help="Show a device and what is deployed on it.")
@click.argument("address", default="local")
@output.common
def show(address: str, json_to: str | None) -> None:
    """Show the device at ADDRESS (local by default) as its agent sees it, and what is deployed on it."""
    from device_agent import codec
    from edge_sdk import pipeline
    from edge_sdk.report import listing

    with pipeline.device(address) as device:
        info, deployments = device.describe(), device.deployments()
    result = {
        "address": address,
        "target": device.target.name,
        "agent": codec.to_json(info),
        "deployments": codec.to_json(deployments),
    }
    output.emit(result, json_to, lambda: listing.print_device(address, info, deployments))


@command.command("history", short_help="How the deployments of a model ended.")
@click.argument("name")
@output.device_option
@output.common
def history(name: str, address: str, json_to: str | None) -> None:
    """Show how every deployment and rollback of NAME ended, oldest first."""
    from device_agent import codec
    from edge_sdk import pipeline
    from edge_sdk.report import listing

    with pipeline.device(address) as device:
        entries = device.history(name)
    output.emit(codec.to_json(entries), json_to, lambda: listing.print_history(entries))


@command.command("remove", short_help="Remove a deployed model.")
@click.argument("name")
@output.device_option
@output.common
def remove(name: str, address: str, json_to: str | None) -> None:
    """Remove deployment NAME and everything only it needs from the device."""
    from edge_sdk import pipeline

    with pipeline.device(address) as device:
        device.remove(name)
    result = {"device": address, "removed": name}
    output.emit(result, json_to, lambda: click.echo(f"{name} is removed from {address}."))


for _each in devices_install.COMMANDS:
    command.add_command(_each)
