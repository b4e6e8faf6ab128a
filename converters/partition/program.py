"""The integer program of a placement, solved by HiGHS (J. A. J. Hall and others, https://highs.dev)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from converters.partition.problem import HOST, Carried, Problem

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def _spine(reads: Sequence[Sequence[int]]) -> list[int]:
    """The operators that every path through the model goes through, in order."""
    first = {operator for operator, sources in enumerate(reads) if not sources}
    last_first = max(first, default=0)
    read = {source for sources in reads for source in sources}
    farthest = [0] * len(reads)  # operator -> its last reader
    for operator, sources in enumerate(reads):
        for source in sources:
            farthest[source] = operator
    found: list[int] = []
    reach = 0  # of the operators before
    for operator in range(len(reads)):
        if operator >= last_first and reach <= operator:
            found.append(operator)
        if operator not in read:  # paths end here, whatever follows
            break
        reach = max(reach, farthest[operator])
    return found


class Program:
    """The integer program.

    Its unknowns: whether operator i is on processor p; how far tensor t is moved from p to q; the launches'
    cost. Where a reader is on q and the maker is not, the moves to q make up for it, each at most as far as
    the maker is on the processor that it moves from. For two processors, and without launches, the constraint
    matrix is that of a minimum cut, so that the relaxation has whole answers.
    """

    def __init__(self, problem: Problem, allowed: Sequence[int]) -> None:
        import numpy as np

        self._operators, self._processors = (int(size) for size in problem.times.shape)
        usable = np.zeros(self._processors, bool)
        usable[list(allowed)] = True
        times = np.where(usable, problem.times, np.inf)
        self._coefficients: list[float] = [*np.where(np.isinf(times), 0, times).ravel()]
        self._upper: list[float] = [*(~np.isinf(times)).ravel().astype(float)]
        self._rows: list[tuple[list[int], list[float], float, float]] = []
        for operator in range(self._operators):
            self._row([(self._on(operator, p), 1.0) for p in self._every()], 1.0, 1.0)
        for tensor in problem.carried:
            self._carry(tensor)
        self._launches = self._unknown(1.0, float("inf"))
        begun = [self._begun(problem, processor) for processor in self._every()]
        self._row([(self._launches, 1.0), *((begun[p], -problem.launch[p]) for p in self._every())], 0.0)
        if problem.memory is not None:
            for processor in self._every():
                terms = [
                    (self._on(operator, processor), float(problem.memory[operator, processor]))
                    for operator in range(self._operators)
                ]
                self._row(terms, 0.0, problem.limits[processor])

    def cut(self, operators: Sequence[int], processors: Sequence[int], least: float) -> None:
        """With these operators where they are, launches cost at least so much."""
        terms = [(self._on(operator, processors[operator]), -least) for operator in operators]
        self._row([(self._launches, 1.0), *terms], least * (1 - len(operators)))

    def solve(self, seconds: float) -> tuple[tuple[int, ...], float, float] | None:
        """The processor of each operator, the launches as the program sees them, and a bound of the cost."""
        import numpy as np
        from scipy.optimize import Bounds, LinearConstraint, milp

        whole = np.zeros(len(self._coefficients))
        whole[: self._operators * self._processors] = 1
        lower, upper = np.array([row[2] for row in self._rows]), np.array([row[3] for row in self._rows])
        found = milp(
            np.array(self._coefficients),
            constraints=LinearConstraint(self._matrix(), lower, upper),
            integrality=whole,
            bounds=Bounds(0, np.array(self._upper)),
            options={"time_limit": seconds, "mip_rel_gap": 0},
        )
        if found.x is None:
            return None
        on = found.x[: self._operators * self._processors].reshape(self._operators, self._processors)
        bound = float(found.mip_dual_bound if found.mip_dual_bound is not None else found.fun)
        return tuple(int(p) for p in on.argmax(axis=1)), float(found.x[self._launches]), bound

    def _carry(self, tensor: Carried) -> None:
        """The moves of a tensor. The host is where a model's inputs are, and where its outputs must be."""
        for target in self._every():
            sources = [p for p in self._every() if p != target and tensor.moves[p][target] > 0]
            if tensor.maker is None:
                sources = [p for p in sources if p == HOST]
            if not sources:
                continue
            moved = {p: self._unknown(tensor.moves[p][target], 1.0) for p in sources}
            if tensor.maker is not None:
                for source, move in moved.items():
                    self._row([(self._on(tensor.maker, source), 1.0), (move, -1.0)], 0.0)
            free = [p for p in self._every() if p not in sources]  # from there it costs nothing
            here = [] if tensor.maker is None else [(self._on(tensor.maker, p), 1.0) for p in free]
            moves = [(move, 1.0) for move in moved.values()]
            for reader in tensor.readers:
                self._row([*moves, *here, (self._on(reader, target), -1.0)], 0.0)
            if tensor.output and target == HOST and tensor.maker is not None:
                self._row([*moves, *here], 1.0)

    def _begun(self, problem: Problem, processor: int) -> int:
        """How often a processor is begun, at least: as often as along the path where that is most.

        Every path goes through the spine's operators, so that is counted from each of them to the next.
        """
        total = self._unknown(0.0, float("inf"))
        if not problem.launch[processor]:
            return total
        reads = problem.reads()
        spine = set(_spine(reads))
        legs: list[tuple[int, float]] = []  # of the sum
        ends: list[int] = []  # what no leg of the sum counts yet
        along: list[int] = []  # operator -> how often since the spine, along the worst path that ends with it
        for operator, sources in enumerate(reads):
            here, on = self._unknown(0.0, float("inf")), self._on(operator, processor)
            if not sources:
                self._row([(here, 1.0), (on, -1.0)], 0.0)
            for source in sources:
                before = self._on(source, processor)
                since = [] if source in spine else [(along[source], -1.0)]
                if since:
                    self._row([(here, 1.0), *since], 0.0)
                self._row([(here, 1.0), *since, (on, -1.0), (before, 1.0)], 0.0)
            along.append(here)
            if operator in spine:
                legs.append((here, -1.0))
                ends = []
            else:
                ends.append(here)
        self._row([(total, 1.0), *legs], 0.0)
        for end in ends:
            self._row([(total, 1.0), *legs, (end, -1.0)], 0.0)
        return total

    def _every(self) -> range:
        return range(self._processors)

    def _on(self, operator: int, processor: int) -> int:
        return operator * self._processors + processor

    def _unknown(self, coefficient: float, most: float) -> int:
        self._coefficients.append(coefficient)
        self._upper.append(most)
        return len(self._coefficients) - 1

    def _row(self, terms: Sequence[tuple[int, float]], least: float, most: float = float("inf")) -> None:
        self._rows.append(([place for place, _ in terms], [value for _, value in terms], least, most))

    def _matrix(self) -> csr_array:
        import numpy as np
        from scipy.sparse import csr_array

        ends = np.cumsum([0, *(len(places) for places, _, _, _ in self._rows)])
        places = np.fromiter(_flat(row[0] for row in self._rows), np.int32, ends[-1])
        values = np.fromiter(_flat(row[1] for row in self._rows), np.float64, ends[-1])
        return csr_array((values, places, ends), shape=(len(self._rows), len(self._coefficients)))


def _flat(parts: Iterator[Sequence[float]]) -> Iterator[float]:
    return (value for part in parts for value in part)
