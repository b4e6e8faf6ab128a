"""Operators that have a processor each, as segments run one after the other, begun as cheaply as can be.

A segment is a set of operators of one processor that run without another one's in between. The order of
segments is an order of execution, so no two of them wait for each other: every segment is convex.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

from attrs import frozen


@frozen
class Run:
    """One segment: the operators, in execution order, that a processor is started for once."""

    processor: int
    operators: tuple[int, ...]


def runs(reads: Sequence[Sequence[int]], placed: Sequence[int], launch: Sequence[float]) -> tuple[Run, ...]:
    """The segments of least launch cost, in the order in which they are run; of equals the fewest.

    Whichever processor comes next had better run all that it can: what it leaves for later could only make
    more segments. So only the order of processors is searched, the cheapest beginning first.

    Args:
        reads: operator -> the operators whose outputs it reads; all of them come before it.
        placed: operator -> its processor.
        launch: processor -> what beginning a segment on it costs.

    Raises:
        ValueError: an operator reads one that does not come before it.
    """
    if any(not 0 <= source < reader for reader, sources in enumerate(reads) for source in sources):
        raise ValueError("operators are not in an order of execution")
    readers: list[list[int]] = [[] for _ in reads]
    for reader, sources in enumerate(reads):
        for source in sources:
            readers[source].append(reader)
    used = sorted(set(placed))
    tie = count()
    start = _Progress((), tuple(map(len, reads)), tuple(i for i, sources in enumerate(reads) if not sources))
    queue: list[tuple[float, int, int, _Progress]] = [(0.0, 0, next(tie), start)]
    seen: set[tuple[tuple[int, ...], int]] = set()
    while True:
        cost, number, _, progress = heapq.heappop(queue)
        if not progress.ready:
            return progress.done
        last = progress.done[-1].processor if progress.done else -1
        key = (progress.ready, last)  # what is ready tells what is left
        if key in seen:
            continue
        seen.add(key)
        for processor in used:
            if processor != last and any(placed[operator] == processor for operator in progress.ready):
                after = _advanced(progress, processor, placed, readers)
                heapq.heappush(queue, (cost + launch[processor], number + 1, next(tie), after))


@frozen
class _Progress:
    """What has been run, how many each operator waits for, and those that wait for none."""

    done: tuple[Run, ...]
    waiting: tuple[int, ...]
    ready: tuple[int, ...]


def _advanced(
    progress: _Progress, processor: int, placed: Sequence[int], readers: Sequence[Sequence[int]]
) -> _Progress:
    """After one processor has run all that it can."""
    waiting = list(progress.waiting)
    left = [operator for operator in progress.ready if placed[operator] != processor]
    pending = [operator for operator in progress.ready if placed[operator] == processor]
    heapq.heapify(pending)
    ran: list[int] = []
    while pending:
        operator = heapq.heappop(pending)
        ran.append(operator)
        for reader in readers[operator]:
            waiting[reader] -= 1
            if not waiting[reader]:
                if placed[reader] == processor:
                    heapq.heappush(pending, reader)
                else:
                    left.append(reader)
    return _Progress((*progress.done, Run(processor, tuple(ran))), tuple(waiting), tuple(sorted(left)))
