"""Placements of least predicted time: against every placement and every order, on random models."""

import itertools
import math
import random
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from converters.partition.problem import Carried, Problem
from converters.partition.segments import runs
from converters.partition.solver import Placement, cost, solve


def model(operators: int, seed: int) -> list[list[int]]:
    """Operator -> what it reads: chains that fork and join, and now and then begin anew."""
    rng = random.Random(seed)
    reads: list[list[int]] = [[]]
    loose = [0]
    while len(reads) < operators:
        here = len(reads)
        if rng.random() < 0.1:
            reads.append([])
        elif len(loose) > 1 and rng.random() < 0.5:
            reads.append(sorted(rng.sample(loose, 2)))
        else:
            reads.append([rng.choice(loose)])
        if rng.random() < 0.7:
            loose = [operator for operator in loose if operator not in reads[here]]
        loose.append(here)
    return reads


def problem(reads: list[list[int]], processors: int, seed: int, *, moves: float = 1.0) -> Problem:
    """Times of 1 to 100, processors that lack operators, moves of up to 60 times `moves`."""
    rng = random.Random(seed)
    times = np.array(
        [
            [rng.uniform(1, 100) if p == 0 or rng.random() < 0.8 else math.inf for p in range(processors)]
            for _ in reads
        ]
    )
    readers: list[list[int]] = [[] for _ in reads]
    for reader, sources in enumerate(reads):
        for source in sources:
            readers[source].append(reader)

    def carried(maker: int | None, read_by: list[int]) -> Carried:
        table = [
            [0.0 if p == q else moves * rng.uniform(0, 60) for q in range(processors)]
            for p in range(processors)
        ]
        return Carried(
            maker, tuple(read_by), tuple(map(tuple, table)), output=not read_by or rng.random() < 0.1
        )

    tensors = [carried(maker, read_by) for maker, read_by in enumerate(readers)]
    tensors.append(carried(None, [operator for operator, sources in enumerate(reads) if not sources]))
    return Problem(times, tuple(tensors), tuple(rng.choice([0.0, 30.0, 90.0]) for _ in range(processors)))


def orders(reads: list[list[int]]) -> Iterator[tuple[int, ...]]:
    """Every order of execution."""

    def further(done: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(done) == len(reads):
            yield done
        for operator, sources in enumerate(reads):
            if operator not in done and set(sources) <= set(done):
                yield from further((*done, operator))

    return further(())


def least_launches(reads: list[list[int]], placed: tuple[int, ...], launch: tuple[float, ...]) -> float:
    """What beginning segments costs at least, over every order of execution, by what has been run so far."""

    @cache
    def rest(done: frozenset[int], last: int) -> float:
        if len(done) == len(reads):
            return 0.0
        ready = [i for i, sources in enumerate(reads) if i not in done and done.issuperset(sources)]
        return min(
            (0.0 if placed[i] == last else launch[placed[i]]) + rest(done | {i}, placed[i]) for i in ready
        )

    return rest(frozenset(), -1)


def everything(given: Problem) -> float:
    """The least predicted time over all placements and orders."""
    reads = given.reads()
    best = math.inf
    for placed in itertools.product(range(given.times.shape[1]), repeat=len(reads)):
        total = sum(given.times[i, p] for i, p in enumerate(placed))
        for tensor in given.carried:
            source = 0 if tensor.maker is None else placed[tensor.maker]
            there = {placed[reader] for reader in tensor.readers} | ({0} if tensor.output else set())
            total += sum(tensor.moves[source][target] for target in there - {source})
        if total < best:
            best = min(best, total + least_launches(reads, placed, given.launch))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_best_of_all(seed):
    """Nothing is cheaper than what is found, and that is known."""
    rng = random.Random(1000 + seed)
    given = problem(model(rng.randint(2, 6), seed), 2 + seed % 2, seed, moves=(1.0, 0.1, 3.0)[seed % 3])
    found = solve(given)
    assert found is not None
    assert pytest.approx(everything(given)) == found.cost == cost(given, found.processors)
    assert found.proved


@pytest.mark.parametrize("seed", range(20))
def test_segments_are_of_least_cost(seed):
    """Runs are an order of execution, of one processor each, and no order begins them for less."""
    rng = random.Random(seed)
    reads = model(rng.randint(3, 7), seed)
    placed = tuple(rng.randrange(3) for _ in reads)
    launch = (0.0, 30.0, 50.0)
    found = runs(reads, placed, launch)
    assert least_launches(reads, placed, launch) == sum(launch[run.processor] for run in found)
    assert tuple(operator for run in found for operator in run.operators) in set(orders(reads))
    assert all({run.processor} == {placed[i] for i in run.operators} for run in found)
    assert all(one.processor != next_.processor for one, next_ in itertools.pairwise(found))


def line(times: list[list[float]], launch: tuple[float, ...], move: float = 0.0) -> Problem:
    """Operators one after the other."""
    count, processors = len(times), len(launch)
    table = tuple(tuple(0.0 if p == q else move for q in range(processors)) for p in range(processors))
    tensors = [Carried(i, (i + 1,), table) for i in range(count - 1)]
    ends = [Carried(None, (0,), table), Carried(count - 1, (), table, output=True)]
    return Problem(np.array(times, np.float64), (*tensors, *ends), launch)


def where(found: Placement | None) -> tuple[int, ...]:
    assert found is not None
    return found.processors


def test_what_a_launch_costs_decides():
    """A processor that is faster takes an operator only where that is worth its launch and the moves."""
    times = [[10.0, 1.0], [10.0, 50.0], [10.0, 1.0]]
    assert (1, 0, 1) == where(solve(line(times, (0.0, 4.0), move=1.0)))
    assert (0, 0, 0) == where(solve(line(times, (0.0, 8.0), move=1.0)))
    assert (0, 0, 0) == where(solve(line(times, (0.0, 0.0), move=5.0)))


def test_memory_is_kept_to():
    """A processor is given no more than it can hold; where nothing fits, there is no placement."""
    given = line([[9.0, 1.0], [9.0, 2.0], [math.inf, 3.0]], (0.0, 0.0))
    memory = np.array([[0, 5], [0, 5], [0, 5]])
    limited = Problem(given.times, given.carried, given.launch, memory, (0.0, 10.0))
    assert (1, 1, 1) == where(solve(given))
    assert (1, 0, 1) == where(solve(limited))
    assert None is solve(Problem(given.times, given.carried, given.launch, memory, (0.0, 4.0)))


def test_only_what_is_allowed():
    """Processors that are left out get nothing; None where an operator needs one of them."""
    given = line([[9.0, 1.0, 5.0], [math.inf, 1.0, 5.0]], (0.0, 0.0, 0.0))
    assert (1, 1) == where(solve(given))
    assert (2, 2) == where(solve(given, allowed=(0, 2)))
    assert None is solve(given, allowed=(0,))


def test_a_tensor_moves_once_to_each_processor():
    """Two readers on one processor share a move; one reader on another needs its own."""
    table = ((0.0, 7.0, 7.0), (7.0, 0.0, 7.0), (7.0, 7.0, 0.0))
    tensors = (Carried(None, (0, 1, 2), table),)
    given = Problem(np.zeros((3, 3)), tensors, (0.0, 0.0, 0.0))
    assert [0.0, 7.0, 7.0, 14.0] == [
        cost(given, place) for place in ((0, 0, 0), (0, 1, 1), (1, 1, 1), (0, 1, 2))
    ]


def test_operators_out_of_order():
    """An operator that reads a later one is no model."""
    with pytest.raises(ValueError, match="order of execution"):
        runs([[1], []], [0, 0], (0.0,))
