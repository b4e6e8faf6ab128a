"""One command on several devices: a table for people, a list of results or errors as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from device_agent.errors import EdgeError
from edge_sdk.report import layout
from edge_sdk.report.layout import seconds
from edge_sdk.report.result import SCHEMA_VERSION, DeployReport

T = TypeVar("T")
DEPLOY_HEADS = ("outcome", "generation", "parity", "p50", "p99")


def to_json(
    outcomes: Mapping[str, T | EdgeError], body: Callable[[str, T], dict[str, Any]]
) -> dict[str, Any]:
    """Under `devices` what each device gave, or its error.

    Args:
        outcomes: by the device's name.
        body: a device's result as JSON.
    """
    rows = [
        {"device": name, **(found.to_json() if isinstance(found, EdgeError) else body(name, found))}
        for name, found in outcomes.items()
    ]
    return {"schema_version": SCHEMA_VERSION, "ok": exit_code(outcomes) == 0, "devices": rows}


def print_outcomes(
    outcomes: Mapping[str, T | EdgeError], heads: Sequence[str], row: Callable[[T], tuple[str, ...]]
) -> None:
    """A row for each device, its first cell saying how it ended; then what went wrong."""
    blank = ("-",) * (len(heads) - 1)
    layout.table(
        ("device", *heads),
        [
            (name, *((f"failed: {found.code}", *blank) if isinstance(found, EdgeError) else row(found)))
            for name, found in outcomes.items()
        ],
    )
    failed = [f"{name}: {found}" for name, found in outcomes.items() if isinstance(found, EdgeError)]
    if failed:
        layout.lines(["", *failed])


def exit_code(outcomes: Mapping[str, object]) -> int:
    """That of the worst; 0 where all went well."""
    return max((found.exit_code for found in outcomes.values() if isinstance(found, EdgeError)), default=0)


def deploy_row(report: DeployReport) -> tuple[str, ...]:
    """A deployment's cells under DEPLOY_HEADS."""
    latency = report.latency_ns
    outcome = "was active already" if report.unchanged else "deployed"
    if report.runs_on is not None and report.runs_on.departures:
        outcome += f", {len(report.runs_on.departures)} operators elsewhere than planned"
    return (
        outcome,
        str(report.generation),
        "agrees" if report.parity.passed else "differs",
        "-" if latency is None else seconds(latency.p50.value),
        "-" if latency is None else seconds(latency.p99.value),
    )
