"""`edge sign`: sign a bundle away from the device that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output

if TYPE_CHECKING:
    from device_agent.statement import Selector


@click.command("sign", short_help="Sign a bundle for devices that cannot be asked now.")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your SSH key: a private key file, or the .pub file of a key that the SSH agent holds.",
)
@click.option("--device", "devices", multiple=True, metavar="ID", help="A device's id; may be repeated.")
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    metavar="device:ID|target:NAME",
    help="A device, or every device that was told it is that board; may be repeated.",
)
@click.option(
    "--generation",
    required=True,
    type=click.IntRange(min=1),
    help="Greater than every one that you signed for this model before.",
)
@click.option("--least-agent", metavar="VERSION", help="Agents older than this refuse it.")
@output.common
def command(
    path: Path,
    key: Path,
    devices: tuple[str, ...],
    selectors: tuple[str, ...],
    generation: int,
    least_agent: str | None,
    json_to: str | None,
) -> None:
    """Sign the bundle in the folder BUNDLE (`edge convert` makes one) for devices, and keep that in it.

    Contacts no device; `edge deploy BUNDLE` sends it as it was signed. `edge devices show` tells a device's
    id.
    """
    from edge_sdk import pipeline

    signature = pipeline.sign(
        path, key, _selector(devices, selectors), generation=generation, least_agent=least_agent
    )
    result = {
        "bundle": str(path),
        "signer": signature.signer,
        "generation": signature.generation,
    }
    output.emit(result, json_to, lambda: click.echo(f"{path} is signed: {signature}."))


def _selector(devices: tuple[str, ...], selectors: tuple[str, ...]) -> Selector:
    from device_agent.errors import InvalidRequest
    from device_agent.statement import Selector

    found: dict[str, list[str]] = {"device": list(devices), "target": []}
    for word in selectors:
        kind, _, value = word.partition(":")
        if kind not in found or not value:
            raise InvalidRequest("not a selector", got=repr(word), expected="device:ID or target:NAME")
        found[kind].append(value)
    if not any(found.values()):
        raise InvalidRequest("no device is named", where="edge sign", expected="--device or --selector")
    return Selector(tuple(found["device"]), tuple(found["target"]))
