"""The placement of least predicted latency: which processor computes which operator, exactly.

Run one after the other, a placement takes

    sum of operators' times + sum of tensors' moves + sum of segments' launches

A tensor moves once to each processor that reads it and did not make it; segments are those of
`segments.runs`. The first two sums, and a bound of the third, are an integer program (`program`). What the
launches of its answer really take is counted and comes back as a cut, until the program's bound is reached:
the idea of J. F. Benders, "Partitioning procedures for solving mixed-variables programming problems", 1962.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from attrs import field, frozen

from converters.partition.problem import HOST, Problem
from converters.partition.program import Program
from converters.partition.segments import Run, runs

CLOSE = 1e-9  # the share of a cost that two costs may differ by and are the same


@frozen
class Placement:
    """What was found: the processor of each operator, its predicted time in ns, and its segments in order.

    `bound` is what no placement is below; it is `cost` where the search was ended by nothing but success.
    """

    processors: tuple[int, ...]
    cost: float
    bound: float
    segments: tuple[Run, ...] = field(repr=False)

    @property
    def proved(self) -> bool:
        """No placement is cheaper."""
        return self.cost <= self.bound + CLOSE * max(1.0, abs(self.cost))


def cost(problem: Problem, processors: Sequence[int]) -> float:
    """The predicted time of a placement in ns; infinite where a processor cannot run what it is given."""
    return _placed(problem, processors) + _launches(
        problem, runs(problem.reads(), processors, problem.launch)
    )


def solve(
    problem: Problem, *, allowed: Sequence[int] | None = None, seconds: float = 10.0
) -> Placement | None:
    """The placement of least predicted time.

    Args:
        problem: the model and the processors.
        allowed: only these processors may be used; all if None.
        seconds: after so long the best that was found is given, with the bound that was reached.

    Returns:
        None where no placement keeps to what processors can and hold, or none was found in time.
    """
    deadline = time.monotonic() + seconds
    program = Program(problem, range(problem.times.shape[1]) if allowed is None else allowed)
    reads = problem.reads()
    best: Placement | None = None
    bound = 0.0
    while (left := deadline - time.monotonic()) > 0:
        answer = program.solve(left)
        if answer is None:
            break
        processors, launched, bound = answer
        order = runs(reads, processors, problem.launch)
        launches = _launches(problem, order)
        total = _placed(problem, processors) + launches
        if best is None or total < best.cost:
            best = Placement(processors, total, bound, order)
        if launches <= launched + CLOSE * max(1.0, total) or best.cost <= bound * (1 + CLOSE):
            break
        program.cut(_culprits(reads, processors, problem.launch, launches), processors, launches)
    return (
        best if best is None else Placement(best.processors, best.cost, min(bound, best.cost), best.segments)
    )


def _placed(problem: Problem, processors: Sequence[int]) -> float:
    """Operators and moves."""
    total = float(sum(problem.times[operator, processor] for operator, processor in enumerate(processors)))
    for tensor in problem.carried:
        source = HOST if tensor.maker is None else processors[tensor.maker]
        there = {processors[reader] for reader in tensor.readers} | ({HOST} if tensor.output else set())
        total += sum(tensor.moves[source][target] for target in there if target != source)
    return total


def _launches(problem: Problem, order: Sequence[Run]) -> float:
    return sum(problem.launch[run.processor] for run in order)


def _culprits(
    reads: Sequence[Sequence[int]], processors: Sequence[int], launch: Sequence[float], least: float
) -> tuple[int, ...]:
    """A few operators whose places alone make launches cost `least`: none of them can be left out.

    Operators that are left out hold nothing up, but what they carry from one to the next still does.
    """
    kept = list(range(len(reads)))
    step = len(kept)
    while step >= 1:
        place = 0
        while place < len(kept):
            tried = kept[:place] + kept[place + step :]
            if _least(reads, processors, launch, tried) >= least * (1 - CLOSE):
                kept = tried
            else:
                place += step
        step //= 2
    return tuple(kept)


def _least(
    reads: Sequence[Sequence[int]], processors: Sequence[int], launch: Sequence[float], kept: Sequence[int]
) -> float:
    """What the launches of these operators cost, the others taking no part."""
    wanted = set(kept)
    number = {operator: index for index, operator in enumerate(kept)}
    behind: list[frozenset[int]] = []  # operator -> the nearest of those kept that it waits for
    for sources in reads:
        waits = frozenset().union(
            *(frozenset((source,)) if source in wanted else behind[source] for source in sources)
        )
        behind.append(waits)
    small = [sorted(number[source] for source in behind[operator]) for operator in kept]
    order = runs(small, [processors[operator] for operator in kept], launch)
    return sum(launch[run.processor] for run in order)
