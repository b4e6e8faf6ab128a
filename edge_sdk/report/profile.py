"""Where the time of a run goes, for people: a table that adds up to the latency that was measured."""

from __future__ import annotations

from edge_sdk.report import layout
from edge_sdk.report.layout import seconds
from edge_sdk.report.result import ProfileReport

TOP = 20
BUSY = 1.5  # a mean so many times the median comes of something else that ran
HEADS = ("operator", "type", "kernel", "device", "time", "share")


def show(profile: ProfileReport, top: int, median_ns: int | None) -> None:
    """The operators that take longest, the rest together, what no operator accounts for, and the sum.

    Args:
        profile: what was measured.
        top: how many operators are listed.
        median_ns: of the latency without counters, where it is known.
    """
    layout.table(HEADS, rows(profile, top))
    layout.lines(["", *notes(profile, median_ns)])


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


def notes(profile: ProfileReport, median_ns: int | None) -> list[str]:
    """How it was measured, and whether something else ran meanwhile."""
    counted, plain = profile.latency_ns, profile.plain_latency_ns
    slower = 100 * (counted / max(1, plain) - 1)
    took = f"which took {seconds(counted)} against {seconds(plain)} without ({slower:+.1f} %)"
    lines = [f"Means of {profile.runs} runs with counters, {took}."]
    if profile.resolution_ns > 1:
        lines.append(f"Counters have a resolution of {seconds(profile.resolution_ns)}.")
    if median_ns is not None and counted > BUSY * median_ns:
        lines.append(
            f"Half the runs take {seconds(median_ns)} at most: the machine was busy with something else, "
            "and its operators' means are too high."
        )
    return lines


def _time(ns: int) -> str:
    return f"-{seconds(-ns)}" if ns < 0 else seconds(ns)
