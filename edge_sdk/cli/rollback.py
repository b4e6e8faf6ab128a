"""`edge rollback`: back to the generation before."""

from __future__ import annotations

import click

from edge_sdk.cli import output


@click.command("rollback", short_help="Bring back the generation before the active one.")
@click.argument("name")
@output.device_option
@output.common
def command(name: str, address: str, json_to: str | None) -> None:
    """Bring back the generation of deployment NAME that was active before.

    It is loaded and compared with its golden outputs like a new deployment; if that fails, the active one
    stays.
    """
    from device_agent import codec
    from edge_sdk import pipeline

    with output.progress() as progress, pipeline.device(address) as device:
        deployment = device.rollback(name, progress=progress)
    status, parity = deployment.deployed.status, deployment.parity

    def text() -> None:
        agreed = f"device and host agree on {parity.samples} golden samples"
        click.echo(f"{status.name} is back at generation {status.generation} on {address}; {agreed}.")

    result = {
        "device": address,
        "name": status.name,
        "generation": status.generation,
        "previous_generation": status.previous_generation,
        "parity": {"passed": parity.passed, **codec.to_json(parity)},
    }
    output.emit(result, json_to, text)
