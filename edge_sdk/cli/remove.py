"""`edge remove`: a deployment and everything only it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output, several

if TYPE_CHECKING:
    from converters.progress import Progress
    from edge_sdk.devices.device import Device


@click.command("remove", short_help="Remove a deployed model.")
@click.argument("name")
@several.which
@output.common
def command(name: str, addresses: tuple[str, ...], target: str | None, json_to: str | None) -> None:
    """Remove deployment NAME and everything only it needs from the device."""

    def work(device: Device, _progress: Progress) -> None:
        device.remove(name)

    shown: several.Shown[None] = several.Shown(
        to_json=lambda device, _: {"device": device, "removed": name},
        text=lambda device, _: click.echo(f"{name} is removed from {device}."),
        heads=("outcome",),
        row=lambda _: ("removed",),
    )
    several.run(several.meant(addresses, target, name), work, shown, json_to)
