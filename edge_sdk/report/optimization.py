"""What `edge optimize` did, for people and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent import codec
from edge_sdk.report import layout
from edge_sdk.report.layout import Row, size

if TYPE_CHECKING:
    from converters.optimize import Comparison, Optimization
    from edge_sdk.bench.versus import Versus

_NS_PER_MS = 1e6


def to_json(made: Optimization, file: Path, versus: Versus | None) -> dict[str, Any]:
    """The whole report as plain JSON data; latencies in nanoseconds, sizes in bytes."""
    return {
        "model": str(made.path),
        "file": str(file),
        "changed": made.changed,
        "rewrites": codec.to_json(made.account.applied),
        "before": codec.to_json(made.account.before) | codec.to_json(made.before),
        "after": codec.to_json(made.account.after) | codec.to_json(made.after),
        "comparison": codec.to_json(made.comparison) | {"exact": made.comparison.exact},
        "device": None if versus is None else codec.to_json(versus),
    }


def show(made: Optimization, file: Path, versus: Versus | None) -> None:
    """A table of the rewrites, and the file before and after."""
    account, before, after = made.account, made.before, made.after
    if account.applied:
        heads = ("rewrite", "times", "operators", "MACs", "constants")
        rows = [
            (
                row.rewrite,
                f"{row.times:,}",
                _signed(row.operators),
                _signed(row.macs),
                f"{_signed(row.constant_bytes)} B",
            )
            for row in account.applied
        ]
        layout.table(heads, rows)
    title = f"{made.path.name} is {'rewritten' if made.changed else 'as lean as these rewrites make it'}"
    facts: list[Row] = [
        ("Operators", _step(account.before.operators, account.after.operators)),
        ("MACs", _step(account.before.macs, account.after.macs)),
        ("Constants", _sizes(account.before.constant_bytes, account.after.constant_bytes)),
        ("File", _sizes(before.file_bytes, after.file_bytes)),
        ("Arena", f"{_sizes(before.arena_bytes, after.arena_bytes)} (an estimate)"),
        ("Runtime", f"TFLite {before.least_runtime} -> {after.least_runtime} at least"),
        ("Compared", _compared(made.comparison)),
    ]
    if versus is not None:
        old, new = versus.before.p50.value, versus.after.p50.value
        change = f"{old / _NS_PER_MS:.3f} ms -> {new / _NS_PER_MS:.3f} ms, {new / old:.2f} of it"
        facts.append(("Latency", f"{change} (p50, {versus.runtime} on {versus.device})"))
    layout.show(title, [*facts, ("File at", str(file))])


def _compared(comparison: Comparison) -> str:
    result = "every bit the same" if comparison.exact else f"apart by at most {comparison.max_abs_diff:.2g}"
    return "\n".join((f"{comparison.samples} generated samples: {result}", *comparison.notes))


def _step(before: int, after: int) -> str:
    return f"{before:,} -> {after:,}"


def _sizes(before: int, after: int) -> str:
    return f"{size(before)} -> {size(after)}"


def _signed(number: int) -> str:
    return "0" if number == 0 else f"{number:+,}"
