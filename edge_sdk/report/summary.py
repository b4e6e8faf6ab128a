"""One deployment to several devices: a table for people, a list of reports as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_agent.errors import EdgeError
from edge_sdk.report import layout
from edge_sdk.report.layout import seconds
from edge_sdk.report.result import SCHEMA_VERSION, DeployReport

Outcomes = Mapping[str, DeployReport | EdgeError]


def to_json(outcomes: Outcomes) -> dict[str, Any]:
    """What `edge deploy` writes for several devices: under `devices` a report or an error for each."""
    rows = [{"device": name, **(outcome.to_json())} for name, outcome in outcomes.items()]
    failed = any(isinstance(outcome, EdgeError) for outcome in outcomes.values())
    return {"schema_version": SCHEMA_VERSION, "ok": not failed, "devices": rows}


def print_outcomes(outcomes: Outcomes) -> None:
    """A row for each device, then what went wrong."""
    heads = ("device", "outcome", "generation", "parity", "p50", "p99")
    layout.table(heads, [_row(name, outcome) for name, outcome in outcomes.items()])
    failed = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, EdgeError)]
    if failed:
        layout.lines(["", *failed])


def _row(name: str, outcome: DeployReport | EdgeError) -> tuple[str, ...]:
    if isinstance(outcome, EdgeError):
        return (name, f"failed: {outcome.code}", "-", "-", "-", "-")
    latency = outcome.latency_ns
    return (
        name,
        "was active already" if outcome.unchanged else "deployed",
        str(outcome.generation),
        "agrees" if outcome.parity.passed else "differs",
        "-" if latency is None else seconds(latency.p50.value),
        "-" if latency is None else seconds(latency.p99.value),
    )
