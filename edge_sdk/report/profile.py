"""Where the time of a run goes, for people: a table that adds up to the latency that was measured."""

from __future__ import annotations

from edge_sdk.report import layout
from edge_sdk.report.layout import seconds
from edge_sdk.report.result import ProfileReport

TOP = 20
HEADS = ("operator", "type", "kernel", "device", "time", "share")


def show(profile: ProfileReport, top: int) -> None:
    """The operators that take longest, the rest together, what no operator accounts for, and the sum."""
    layout.table(HEADS, rows(profile, top))
    layout.lines(["", *notes(profile)])


def rows(profile: ProfileReport, top: int) -> list[tuple[str, ...]]:
    """The cells of the table under HEADS; times are means of one run."""

    def row(name: str, ns: int, *what: str) -> tuple[str, ...]:
        share = f"{100 * ns / max(1, profile.latency_ns):.1f} %"
        return (name, *(what or ("", "", "")), _time(ns), share)

    found = [row(op.name, op.ns, op.type, op.kernel, op.device) for op in profile.operators[:top]]
    rest = profile.operators[top:]
    if rest:
        found.append(row(f"{len(rest)} more", sum(operator.ns for operator in rest)))
    found.append(row("unattributed", profile.unattributed_ns))
    found.append(row("total", profile.latency_ns))
    return found


def notes(profile: ProfileReport) -> list[str]:
    """How it was measured."""
    counted, plain = profile.latency_ns, profile.plain_latency_ns
    slower = 100 * (counted / max(1, plain) - 1)
    took = f"which took {seconds(counted)} against {seconds(plain)} without ({slower:+.1f} %)"
    lines = [f"Means of {profile.runs} runs with counters, {took}."]
    if profile.resolution_ns > 1:
        lines.append(f"Counters have a resolution of {seconds(profile.resolution_ns)}.")
    return lines


def _time(ns: int) -> str:
    return f"-{seconds(-ns)}" if ns < 0 else seconds(ns)
