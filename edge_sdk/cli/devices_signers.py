"""`edge devices signers`: whose signature counts on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_sdk.cli import devices_install, output

if TYPE_CHECKING:
    from edge_sdk.devices.signers import LocalSigners, RemoteSigners, Rows


@click.group("signers", short_help="Whose signature counts on a device.")
def group() -> None:
    """Whose signature counts on a device.

    From the first signer on, the device takes signed bundles only. These commands run as the agent's own
    user, over SSH; what can reach the agent's socket only cannot change its signers.
    """


@group.command("list", short_help="List the keys that may sign, and those revoked.")
@click.argument("address", metavar="[DEVICE]", default="local")
@output.common
def list_signers(address: str, json_to: str | None) -> None:
    """List the keys that may sign for DEVICE, and those it trusts no more."""
    with _signers(address) as signers:
        rows = signers.rows()
    _emit(address, rows, json_to)


@group.command("add", short_help="Let a key sign for a device.")
@click.argument("address", metavar="DEVICE")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="What to call the signer; the key's comment by default.")
@output.common
def add(address: str, file: Path, name: str | None, json_to: str | None) -> None:
    """Let the key of FILE (a .pub file, or a private key with one beside it) sign for DEVICE."""
    from edge_sdk.devices.signers import public_line

    line = public_line(file)
    with _signers(address) as signers:
        rows = signers.add(line, name)
    _emit(address, rows, json_to)


@group.command("revoke", short_help="Trust a key no more, for good.")
@click.argument("address", metavar="DEVICE")
@click.argument("what", metavar="NAME|FINGERPRINT|FILE")
@output.common
def revoke(address: str, what: str, json_to: str | None) -> None:
    """Trust a key no more: by the signer's name, its fingerprint, or its .pub file.

    It cannot be added again. With all signers revoked the device takes nothing until another is added.
    """
    from edge_sdk.devices.signers import public_line

    is_file = Path(what).expanduser().is_file()
    with _signers(address) as signers:
        rows = signers.revoke(public_line(Path(what)) if is_file else what)
    _emit(address, rows, json_to)


@contextmanager
def _signers(address: str) -> Iterator[LocalSigners | RemoteSigners]:
    from edge_sdk.devices import selection
    from edge_sdk.devices.signers import LocalSigners, RemoteSigners
    from edge_sdk.devices.transports.ssh import DEFAULT_AGENT_COMMAND

    if address == "local":
        yield LocalSigners()
        return
    remote = devices_install.remote(address)
    try:
        yield RemoteSigners(remote, selection.find(address).agent_command or DEFAULT_AGENT_COMMAND)
    finally:
        remote.close()


def _emit(address: str, rows: Rows, json_to: str | None) -> None:
    from device_agent import codec

    def text() -> None:
        if not rows:
            click.echo(f"{address} has no signer: it takes bundles that nobody signed.")
        for row in rows:
            state = "revoked" if row.revoked else "may sign"
            click.echo(f"{state:8}  {row.fingerprint}  {row.type}  {row.name}".rstrip())

    output.emit(codec.to_json(rows), json_to, text)
