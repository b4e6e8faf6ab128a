"""`edge remove`: a deployment and everything only it needs."""

from __future__ import annotations

import click

from edge_sdk.cli import output


@click.command("remove", short_help="Remove a deployed model.")
@click.argument("name")
@output.device_option
@output.common
def command(name: str, address: str, json_to: str | None) -> None:
    """Remove deployment NAME and everything only it needs from the device."""
    from edge_sdk import pipeline

    with pipeline.device(address) as device:
        device.remove(name)
    result = {"device": address, "removed": name}
    output.emit(result, json_to, lambda: click.echo(f"{name} is removed from {address}."))
