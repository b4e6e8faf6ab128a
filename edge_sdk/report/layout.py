"""How reports look on a terminal: a title with rows, a table, lines; sizes and durations for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from device_agent.protocol import MachineState

Row = tuple[str, str]


def machine_state(state: MachineState) -> str:
    """What disturbs a measurement, as far as the machine says."""
    facts = [f"load {state.load_1m:.2f}"]
    if state.governor is not None:
        facts.append(f"governor {state.governor}")
    if state.frequency_hz is not None:
        facts.append(f"{state.frequency_hz / 1e9:.2f} GHz")
    if state.temperature_c is not None:
        facts.append(f"{state.temperature_c:.0f} C")
    return ", ".join(facts)


def size(count: int) -> str:
    """Bytes for people, in decimal units: 12.3 kB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def seconds(ns: int) -> str:
    """A duration in nanoseconds for people: 1.23 ms."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}" if ns < 1000 * factor else f"{ns / factor:.0f} {unit}"
    return f"{ns} ns"


def _console() -> Console:
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def show(title: str, rows: Iterable[Row]) -> None:
    """A title, and rows of a name and a value that may have several lines."""
    console = _console()
    console.print(title, style="bold")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console.print(grid)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without rules; long cells are folded, never cut."""
    body = Table(box=None, pad_edge=False, header_style="cyan")
    for head in heads:
        body.add_column(head, overflow="fold")
    for row in rows:
        body.add_row(*row)
    _console().print(body)


def next_steps(steps: Sequence[Row]) -> None:
    """Commands to type next, and what for."""
    width = max(len(step) for step, _ in steps)
    lines(["", *(f"  {step:{width}}  {why}" for step, why in steps)])


def lines(texts: Iterable[str]) -> None:
    """Lines of text, wrapped at words."""
    console = _console()
    for text in texts:
        console.print(text)
