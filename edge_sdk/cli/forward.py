"""`edge forward`: any Open Inference Protocol client can use the device."""

from __future__ import annotations

import click

from edge_sdk.cli import output, several


@click.command("forward", short_help="Relay a local TCP port to a device's inference API.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@several.only
@output.common
def command(port: int, host: str, address: str | None, target: str | None, json_to: str | None) -> None:
    """Relay a local TCP port to a device's Open Inference Protocol (v2) API until Ctrl-C.

    Whoever can connect to the port can use the device's agent: keep it on the loopback address.
    """
    from edge_sdk import pipeline
    from edge_sdk.devices.forward import Forwarder

    def failed(error: Exception) -> None:
        click.echo(f"error: {error}", err=True)

    (address,) = several.meant(() if address is None else (address,), target, None)
    with pipeline.device(address) as device:
        forwarder = Forwarder(device.transport, host, port, failed)
        at, chosen = forwarder.address
        url = f"http://{at}:{chosen}"

        def text() -> None:
            click.echo(f"{address} answers at {url}/v2 until Ctrl-C.")

        try:
            output.emit({"device": address, "host": at, "port": chosen, "url": url}, json_to, text)
            forwarder.serve()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)  # the intended end: not an error
        finally:
            forwarder.close()
