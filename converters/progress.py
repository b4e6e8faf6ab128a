"""How long work tells of itself: one callback type for every stage of the road."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much (0: not known)


def silent(_what: str, _done: int, _total: int) -> None:
    """The progress callback of callers that want none."""
