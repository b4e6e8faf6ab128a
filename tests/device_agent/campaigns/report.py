"""What a campaign found, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from attrs import asdict, define, field


@define
class Row:
    """One part of a campaign. `tried` counts points, states or faults; `failures` says what was wrong."""

    part: str
    tried: int = 0
    failures: list[str] = field(factory=list)
    ready_s: list[float] = field(factory=list)  # from the start of a process to its first answer
    notes: list[str] = field(factory=list)


@define
class Report:
    """All parts of a campaign."""

    campaign: str
    seed: int
    rows: list[Row] = field(factory=list)

    @property
    def tried(self) -> int:
        """Points, states or faults of all parts."""
        return sum(row.tried for row in self.rows)

    @property
    def failures(self) -> list[str]:
        """What was wrong, in all parts."""
        return [f"{row.part}: {failure}" for row in self.rows for failure in row.failures]

    def table(self) -> str:
        """A line for each part, then one for the whole."""
        lines = [f"{'part':<28}{'tried':>8}{'failed':>8}{'ready p50':>11}{'ready max':>11}"]
        for row in [*self.rows, Row("all", self.tried, self.failures, self._ready())]:
            times = ["", ""]
            if row.ready_s:
                times = [f"{statistics.median(row.ready_s):.2f} s", f"{max(row.ready_s):.2f} s"]
            lines.append(f"{row.part:<28}{row.tried:>8}{len(row.failures):>8}{times[0]:>11}{times[1]:>11}")
        notes = [f"  {row.part}: {note}" for row in self.rows for note in row.notes]
        failures = [f"  FAILED {failure}" for failure in self.failures[:50]]
        return "\n".join([f"{self.campaign} (seed {self.seed})", *lines, *notes, *failures])

    def write(self, path: Path) -> None:
        """All of it as JSON."""
        summary = {
            "tried": self.tried,
            "failed": len(self.failures),
            "ready_max_s": max(self._ready(), default=0),
        }
        path.write_text(json.dumps({**asdict(self), **summary}, indent=1) + "\n")

    def _ready(self) -> list[float]:
        return [seconds for row in self.rows for seconds in row.ready_s]
