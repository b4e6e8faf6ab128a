"""`edge rollback`: back to the generation before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_sdk.cli import output, several

if TYPE_CHECKING:
    from converters.progress import Progress
    from edge_sdk.devices.device import Deployment, Device


@click.command("rollback", short_help="Bring back the generation before the active one.")
@click.argument("name")
@several.which
@output.common
def command(name: str, addresses: tuple[str, ...], target: str | None, json_to: str | None) -> None:
    """Bring back the generation of deployment NAME that was active before.

    It is loaded and compared with its golden outputs like a new deployment; if that fails, the active one
    stays.
    """

    def work(device: Device, progress: Progress) -> Deployment:
        return device.rollback(name, progress=progress)

    shown = several.Shown(
        to_json=_to_json,
        text=_text,
        heads=("outcome", "generation"),
        row=lambda deployment: ("rolled back", str(deployment.generation)),
    )
    several.run(several.meant(addresses, target, name), work, shown, json_to)


def _to_json(device: str, deployment: Deployment) -> dict[str, Any]:
    from device_agent import codec

    return {
        "device": device,
        "name": deployment.name,
        "generation": deployment.generation,
        "previous_generation": deployment.previous_generation,
        "parity": {"passed": deployment.parity.passed, **codec.to_json(deployment.parity)},
    }


def _text(device: str, deployment: Deployment) -> None:
    agreed = f"device and host agree on {deployment.parity.samples} golden samples"
    click.echo(f"{deployment.name} is back at generation {deployment.generation} on {device}; {agreed}.")
