"""Which layers lose the accuracy, by their own effect, and in which order to give them more precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from converters.quantize.groups import Group
from converters.quantize.search import Culprit

WORST = 32  # samples that layers are told apart on: those where plain int8 is furthest from the float model
CLOSER = 16  # so many culprits are looked at in every precision, the others in the most accurate one
LOOK_SECONDS = 45.0  # that looking at single layers may take
LOOK_SHARE = 0.3  # and what of a time budget is left


@frozen
class Gains:
    """Share (0..1) of the output error that goes with a group in a precision of its own.

    Keyed by the name of the group's head and the precision, for those that were looked at; below 0 the
    error grew.
    """

    shares: Mapping[tuple[str, str], float]
    note: str = ""

    def of(self, group: Group, precision: str) -> float | None:
        """A group's share in a precision."""
        return self.shares.get((group.head.name, precision))


@frozen
class Move:
    """A group in another precision: what that gains of the output error, and costs, over before."""

    group: Group
    precision: str
    gain: float
    extra_ns: float


def look(
    groups: Sequence[Group],
    steps: Sequence[str],
    error: float,
    probe: Callable[[Group, str], float | None],
    go_on: Callable[[], bool],
) -> Gains:
    """Give each group the most accurate precision alone, then the foremost of them the others.

    Args:
        groups: the most suspicious first.
        steps: the precisions, cheapest first.
        error: the output error with none of them, on the worst samples.
        probe: the output error with one group in a precision, None where that cannot be built.
        go_on: whether there is time for another.
    """
    shares: dict[tuple[str, str], float] = {}

    def share(group: Group, step: str) -> None:
        found = probe(group, step) if group.exceptions(step) else None
        if found is not None and error > 0:
            shares[group.head.name, step] = 1 - found / error

    best = steps[-1]
    for looked, group in enumerate(groups):
        if not go_on():
            note = f"for lack of time the {looked} most suspicious of {len(groups)} layers were looked at"
            return Gains(shares, note)
        share(group, best)
    foremost = sorted(groups, key=lambda group: -shares.get((group.head.name, best), 0.0))
    for group in foremost[:CLOSER]:
        for step in steps[:-1]:
            if go_on():
                share(group, step)
    return Gains(shares)


def culprits(groups: Sequence[Group], gains: Gains) -> tuple[Culprit, ...]:
    """The groups that gain anything, those that gain most first."""
    found = []
    for group in groups:
        known = [share for (name, _), share in gains.shares.items() if name == group.head.name]
        if max(known, default=0.0) > 0:
            found.append(Culprit(group.head.name, group.head.type, group.head.label, min(1.0, max(known))))
    return tuple(sorted(found, key=lambda culprit: -culprit.gain))


def moves(
    groups: Sequence[Group], gains: Gains, steps: Sequence[str], extra: Callable[[Group, str], float]
) -> tuple[Move, ...]:
    """The order in which to give groups more precision: by error gained per nanosecond lost.

    For one group, a precision that costs more and gains less than another is left out, and so is one
    between two that is worth less than a mixture of them, so that the steps of a group come in the order
    of their gain: the greedy order for the multiple-choice knapsack problem (Sinha and Zoltners, The
    Multiple-Choice Knapsack Problem, Operations Research 27, 1979). Groups that nothing is known of, or
    that gain nothing, come last, as they stand.

    Args:
        groups: the most suspicious first.
        gains: what is known of them.
        steps: the precisions, cheapest first.
        extra: what a group costs in a precision beyond int8, in nanoseconds; above 0.
    """
    useful: list[Move] = []
    rest: list[Move] = []
    for group in groups:
        options = []
        for step in steps:
            gain = gains.of(group, step)
            if gain is None:  # not looked at in this precision: as good as in the best that is known
                gain = max((gains.of(group, other) or 0.0 for other in steps), default=0.0)
            if group.exceptions(step):
                options.append(Move(group, step, gain, extra(group, step)))
        hull = _hull(options)
        useful += hull
        if not hull and options:
            rest.append(min(options, key=lambda move: move.extra_ns))
    return (*sorted(useful, key=lambda move: -move.gain / move.extra_ns), *rest)


def _hull(options: Sequence[Move]) -> list[Move]:
    """Options worth taking, each as what it adds to the one before: gain per cost falls."""
    taken: list[Move] = []  # with their whole gain and cost
    for option in sorted(options, key=lambda move: (move.extra_ns, -move.gain)):
        if option.gain <= (taken[-1].gain if taken else 0.0):
            continue
        while taken and _slope(taken[-2] if len(taken) > 1 else None, taken[-1]) <= _slope(taken[-1], option):
            taken.pop()
        taken.append(option)
    added = []
    for before, move in zip([None, *taken], taken, strict=False):
        gain, cost = (before.gain, before.extra_ns) if before is not None else (0.0, 0.0)
        added.append(Move(move.group, move.precision, move.gain - gain, max(1.0, move.extra_ns - cost)))
    return added


def _slope(low: Move | None, high: Move) -> float:
    gain, cost = (low.gain, low.extra_ns) if low is not None else (0.0, 0.0)
    return (high.gain - gain) / max(1.0, high.extra_ns - cost)
