"""How a model is run, and where its operators are, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from converters.partition.types import Alternative
    from device_agent.bundle import Execution
    from edge_sdk.report.layout import Row
    from edge_sdk.report.result import RunsOnReport

TOLD = 5  # departures shown: the JSON has them all


def words(execution: Execution) -> str:
    """In a few words: `on HETERO:GPU,CPU for latency in f32, 2 streams, strictly`."""
    found = f"on {execution.device} for {execution.hint}"
    if execution.precision is not None:
        found += f" in {execution.precision}"
    if execution.streams is not None:
        found += f", {execution.streams} {'stream' if execution.streams == 1 else 'streams'}"
    return f"{found}, strictly" if execution.strict else found


def rows(report: RunsOnReport | None) -> list[Row]:
    """Where the operators run, and those that do not run where they were planned; none if it is not told."""
    if report is None:
        return []
    total = len(report.operators)
    counts = ", ".join(f"{count} on {device}" for device, count in report.devices.items())
    shares = (
        f"all {total} operators on {counts.split()[-1]}"
        if len(report.devices) == 1
        else f"{counts} of {total} operators"
    )
    found = [("Runs on", f"{report.device}: {shares}")]
    if report.departures:
        count = len(report.departures)
        rest = [f"and {count - TOLD} more"] if count > TOLD else []
        head = "1 operator is" if count == 1 else f"{count} operators are"
        told = (f"{head} not where planned:", *report.departures[:TOLD], *rest)
        found.append(("Warning", "\n".join(told)))
    return found


def alternatives(others: Sequence[Alternative]) -> list[str]:
    """A line for each other runtime of the board: whether it takes the model."""
    return [
        f"instead: `--runtime {each.runtime}` {each.reason}"
        if each.accepted
        else f"neither does {each.runtime}: {each.reason}"
        for each in others
    ]
