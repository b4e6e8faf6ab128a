"""What `edge deploy` does with a bundle that was made, and perhaps signed, before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_sdk.cli import output

if TYPE_CHECKING:
    from edge_sdk.devices.device import Deployment
    from edge_sdk.report.result import RunsOnReport


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder and no model file."""
    return (path / "index.json").is_file()


def deploy(path: Path, addresses: tuple[str, ...], sign_key: Path | None, json_to: str | None) -> int:
    """Deploy a bundle to devices, as it is; the exit code of the worst."""
    from device_agent.errors import EdgeError
    from edge_sdk import pipeline
    from edge_sdk.devices import fleet
    from edge_sdk.devices.selection import open_device
    from edge_sdk.devices.ssh_keys import Passphrases

    bundle, ask = pipeline.open_bundle(path), Passphrases()

    with output.progress(live=len(addresses) == 1) as progress:

        def to_one(address: str) -> Deployment:
            with open_device(address, None, ask) as device:
                return pipeline.deploy(bundle, device, sign_key=sign_key, progress=progress)

        if len(addresses) == 1:
            outcomes: dict[str, Deployment | EdgeError] = {addresses[0]: to_one(addresses[0])}
        else:
            outcomes = dict(fleet.for_each(addresses, to_one))

    def text() -> None:
        for address, outcome in outcomes.items():
            click.echo(f"{address}: {outcome}" if isinstance(outcome, EdgeError) else _line(outcome))

    rows = [{"device": address, **_json(outcome)} for address, outcome in outcomes.items()]
    result = rows[0] if len(rows) == 1 else {"devices": rows}
    output.emit(result, json_to, text)
    return max((o.exit_code for o in outcomes.values() if isinstance(o, EdgeError)), default=0)


def _line(deployment: Deployment) -> str:
    from edge_sdk.report import running

    state = "was active already as" if deployment.deployed.unchanged else "is active as"
    line = (
        f"{deployment.name} {state} generation {deployment.generation} on {deployment.device}; "
        f"{deployment.signature}."
    )
    return "\n".join((line, *(f"  {head}: {text}" for head, text in running.rows(_runs_on(deployment)))))


def _json(outcome: Any) -> dict[str, Any]:
    from device_agent import codec
    from device_agent.errors import EdgeError

    if isinstance(outcome, EdgeError):
        return outcome.to_json()
    return {
        "name": outcome.name,
        "generation": outcome.generation,
        "previous_generation": outcome.previous_generation,
        "unchanged": outcome.deployed.unchanged,
        "parity": {"passed": outcome.parity.passed, **codec.to_json(outcome.parity)},
        "signature": codec.to_json(outcome.signature),
        "runs_on": codec.to_json(_runs_on(outcome)),
    }


def _runs_on(deployment: Deployment) -> RunsOnReport | None:
    from edge_sdk.report.build import runs_on_report

    return runs_on_report(deployment.deployed.placement)
