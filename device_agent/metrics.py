"""Counters and the Prometheus text format 0.0.4 that they are told in.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from attrs import define, field

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
Labels = tuple[tuple[str, str], ...]
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@define
class Histogram:
    """How often a duration fell into each bucket."""

    counts: list[int] = field(factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


@define
class Metrics:
    """What has been counted since the agent began."""

    requests: dict[tuple[str, int], int] = field(factory=dict)  # by class of route and status
    durations: dict[str, Histogram] = field(factory=dict)  # by class of route
    deploys: dict[tuple[str, str], int] = field(factory=dict)  # by operation and outcome
    trials: dict[tuple[str, str], int] = field(factory=dict)  # comparisons and queries, by outcome

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request whose answer began after so long."""
        self.requests[route, status] = self.requests.get((route, status), 0) + 1
        self.durations.setdefault(route, Histogram()).observe(seconds)

    def deployed(self, operation: str, outcome: str) -> None:
        """Count a deployment, rollback or removal by how it ended: `committed` or the code of an error."""
        self.deploys[operation, outcome] = self.deploys.get((operation, outcome), 0) + 1

    def tried(self, operation: str, outcome: str) -> None:
        """Count a comparison or query by how it ended: `answered`, `left` or the code of an error."""
        self.trials[operation, outcome] = self.trials.get((operation, outcome), 0) + 1


@define
class Exposition:
    """The text, written family by family."""

    _lines: list[str] = field(factory=list)

    def family(self, name: str, kind: str, meaning: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """Add a counter or gauge with its samples."""
        self._head(name, kind, meaning)
        self._lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in samples]

    def histograms(self, name: str, meaning: str, samples: Mapping[Labels, Histogram]) -> None:
        """Add a histogram for each set of labels."""
        self._head(name, "histogram", meaning)
        for labels, histogram in samples.items():
            total = 0
            for bound, count in zip((*BUCKETS_S, float("inf")), histogram.counts, strict=True):
                total += count
                edge = (*labels, ("le", _number(bound)))
                self._lines.append(f"{name}_bucket{_braces(edge)} {total}")
            self._lines.append(f"{name}_sum{_braces(labels)} {_number(histogram.sum_s)}")
            self._lines.append(f"{name}_count{_braces(labels)} {total}")

    def text(self) -> str:
        """All of it."""
        return "\n".join(self._lines) + "\n"

    def _head(self, name: str, kind: str, meaning: str) -> None:
        self._lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def resident_bytes(pid: int | None = None) -> int:
    """The resident memory of a process, this one by default; 0 where it has ended."""
    try:
        with open(f"/proc/{pid or 'self'}/statm") as file:  # noqa: PTH123 - read at each request for metrics
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):  # gone, or on its way
        return 0


def _braces(labels: Labels) -> str:
    pairs = ",".join(f'{key}="{value.translate(_ESCAPED)}"' for key, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
