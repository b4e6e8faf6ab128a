"""Which layers lose the accuracy, by their own effect, and in which order to give them more precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from converters.quantize.search.groups import Group
from converters.quantize.search.trials import Look
from converters.quantize.search.types import Culprit

WORST = 32  # samples that layers are told apart on: those where plain int8 is furthest from the float model
CLOSER = 16  # so many culprits are looked at in every precision, the others in the most accurate one
TOGETHER = 0.05  # of the output error that neighbours must gain beyond what each gains alone
LOOK_SECONDS = 45.0  # that looking at single layers may take
LOOK_SHARE = 0.3  # and what of a time budget is left


@frozen
class Gains:
    """What was seen of single groups in a precision of their own.

    Both are keyed by the group and the precision, for those that were looked at.
    `shares` are those (0..1) of the output error that go with it; below 0 the error grew. `extra_ns` is
    how much longer the shortest run was. `together` are neighbours that gain more than each alone.
    """

    shares: Mapping[tuple[str, str], float]
    extra_ns: Mapping[tuple[str, str], int]
    note: str = ""
    together: tuple[Group, ...] = ()

    def of(self, group: Group, precision: str) -> float | None:
        """A group's share in a precision."""
        return self.shares.get((group.key, precision))


@frozen(eq=False)  # as groups
class Option:
    """A group in another precision: the share of the output error that is gained by it, and what it costs."""

    group: Group
    precision: str
    gain: float
    extra_ns: float


def look(
    groups: Sequence[Group],
    pairs: Sequence[Group],
    steps: Sequence[str],
    start: Look,
    probe: Callable[[Group, str], Look | None],
    go_on: Callable[[], bool],
) -> Gains:
    """Give each group the most accurate precision, then it and what it reads; then the foremost the others.

    Args:
        groups: the most suspicious first.
        pairs: the foremost of them, each joined with what it reads.
        steps: the precisions, cheapest first.
        start: the model with none of them, on the worst samples.
        probe: the model with one group in a precision, None where that cannot be built.
        go_on: whether there is time for another.
    """
    shares: dict[tuple[str, str], float] = {}
    extra: dict[tuple[str, str], int] = {}

    def share(group: Group, step: str) -> None:
        found = probe(group, step) if group.exceptions(step) else None
        if found is not None and start.error > 0:
            shares[group.key, step] = 1 - found.error / start.error
            extra[group.key, step] = found.least_ns - start.least_ns

    best = steps[-1]
    for looked, group in enumerate([*groups, *pairs]):
        if not go_on():
            missing = f"{looked} of {len(groups)}" if looked < len(groups) else f"all {len(groups)}"
            note = f"for lack of time {missing} layers were looked at, the most suspicious first"
            return Gains(shares, extra, note)
        share(group, best)
    useful = [pair for pair in pairs if _more_than_parts(pair, groups, shares, best)]
    foremost = sorted([*groups, *useful], key=lambda group: -shares.get((group.key, best), 0.0))
    for group in foremost[:CLOSER]:
        for step in steps[:-1]:
            if go_on():
                share(group, step)
    return Gains(shares, extra, "", tuple(useful))


def _more_than_parts(
    pair: Group, groups: Sequence[Group], shares: Mapping[tuple[str, str], float], step: str
) -> bool:
    """Whether groups together gain clearly more than each of them does alone."""
    parts = [group for group in groups if group.names <= pair.names]
    alone = sum(max(0.0, shares.get((part.key, step), 0.0)) for part in parts)
    return shares.get((pair.key, step), 0.0) > alone + TOGETHER


def culprits(groups: Sequence[Group], gains: Gains) -> tuple[Culprit, ...]:
    """The groups that gain anything, those that gain most first."""
    found = []
    for group in (*groups, *gains.together):
        known = [share for (key, _), share in gains.shares.items() if key == group.key]
        if max(known, default=0.0) > 0:
            found.append(Culprit(group.head.name, group.head.type, group.label, min(1.0, max(known))))
    return tuple(sorted(found, key=lambda culprit: -culprit.gain))


def options(
    groups: Sequence[Group], gains: Gains, steps: Sequence[str], extra: Callable[[Group, str], float]
) -> tuple[Option, ...]:
    """What each group may be given.

    A group that was not looked at in a precision is taken to gain as much as in the best that is known.

    Args:
        groups: the most suspicious first.
        gains: what is known of them.
        steps: the precisions, cheapest first.
        extra: what a group costs in a precision beyond int8, in nanoseconds; above 0.
    """
    found = []
    for group in (*groups, *gains.together):
        known = max((gains.of(group, step) or 0.0 for step in steps), default=0.0)
        for step in steps:
            gain = gains.of(group, step)
            if group.exceptions(step):
                found.append(Option(group, step, known if gain is None else gain, extra(group, step)))
    return tuple(found)


def ordered(choices: Sequence[Option]) -> tuple[Option, ...]:
    """The order in which to give groups more precision: by error gained per nanosecond lost.

    For one group, a precision that costs more and gains less than another is left out, and so is one
    between two that is worth less than a mixture of them, so that its options come in the order of their
    gain: the greedy order for the multiple-choice knapsack problem (Sinha and Zoltners, The
    Multiple-Choice Knapsack Problem, Operations Research 27, 1979). Groups that gain nothing come last.
    """
    by_group: dict[str, list[Option]] = {}
    for option in choices:
        by_group.setdefault(option.group.key, []).append(option)
    useful: list[tuple[float, Option]] = []
    rest: list[Option] = []
    for found in by_group.values():
        hull = _hull(found)
        useful += [(_slope(low, high), high) for low, high in zip([None, *hull], hull, strict=False)]
        if not hull:
            rest.append(min(found, key=lambda option: option.extra_ns))
    return (*(option for _, option in sorted(useful, key=lambda pair: -pair[0])), *rest)


def _hull(found: Sequence[Option]) -> list[Option]:
    """Options of one group that are worth taking: cost and gain rise, gain per cost falls."""
    taken: list[Option] = []
    for option in sorted(found, key=lambda option: (option.extra_ns, -option.gain)):
        if option.gain <= (taken[-1].gain if taken else 0.0):
            continue
        while taken and _slope(taken[-2] if len(taken) > 1 else None, taken[-1]) <= _slope(taken[-1], option):
            taken.pop()
        taken.append(option)
    return taken


def _slope(low: Option | None, high: Option) -> float:
    gain, cost = (low.gain, low.extra_ns) if low is not None else (0.0, 0.0)
    return (high.gain - gain) / max(1.0, high.extra_ns - cost)
