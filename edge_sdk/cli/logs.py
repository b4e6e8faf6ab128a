"""`edge logs`: what an agent has to say, here or on a device."""

from __future__ import annotations

import click

from edge_sdk.cli import output, several


@click.command("logs", short_help="Show the newest lines of an agent's log.")
@click.option("-n", "--lines", type=click.IntRange(0, 1000), default=50, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with the lines to come until Ctrl-C.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least gravity.",
)
@several.only
@output.common
def command(
    lines: int, follow: bool, level: str, address: str | None, target: str | None, json_to: str | None
) -> None:
    """Show the newest lines that a device's agent keeps in memory, each with the request it belongs to.

    An agent keeps what it wrote since it began; what ran before is in the device's journal, or, for the
    agent of this machine, in `edge agent logs`. With --follow, `--json -` writes each line as it comes.
    """
    import json

    from edge_sdk import pipeline
    from edge_sdk.report import logs

    (address,) = several.meant((address,) if address is not None else (), target, None)
    with pipeline.device(address) as device:
        rows = device.logs(lines, level=level, follow=follow)
        if follow:
            try:
                for row in rows:
                    click.echo(json.dumps(row) if json_to == "-" else logs.readable(row))
            except KeyboardInterrupt:
                click.echo("stopped", err=True)  # the intended end: not an error
            return
        found = list(rows)

    def text() -> None:
        for row in found:
            click.echo(logs.readable(row))

    output.emit({"device": address, "lines": found}, json_to, text)
