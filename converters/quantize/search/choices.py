"""Sets of culprits with what each is given, and which set to try next; decided from guesses, nothing runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

from converters.quantize.search.culprits import Option

FEW = 12  # members of a set, and options beside it, that are exchanged: the worst worth their cost, the best
DOUBTFUL = 4  # choices that are tried although they promise less than one that was too little


@frozen
class Choice:
    """One option for each of some groups, by the group."""

    options: frozenset[Option]

    @classmethod
    def of(cls, options: Iterable[Option]) -> Choice:
        """Of several options for one group the last counts; one that is part of another does not."""
        last = {option.group.key: option for option in options}.values()
        joint = [option.group.names for option in last if len(option.group.layers) > 1]
        return cls(frozenset(one for one in last if not any(one.group.names < other for other in joint)))

    @property
    def gain(self) -> float:
        """The share of the output error that should go with all of them, if effects only added up."""
        return math.fsum(option.gain for option in self.options)

    @property
    def extra_ns(self) -> float:
        """What all of them should cost."""
        return math.fsum(option.extra_ns for option in self.options)

    @property
    def exceptions(self) -> dict[str, str]:
        """As `Scheme.exceptions` wants them."""
        found: dict[str, str] = {}
        for option in sorted(self.options, key=lambda option: option.group.key):
            found |= option.group.exceptions(option.precision)
        return found


@define
class Refinement:
    """What is known of choices while cheaper ones are looked for.

    `kept` is the cheapest that meets the goal. `short` is the greatest gain of one that did not: what
    should gain no more than that is not tried.
    """

    kept: Choice
    all: tuple[Option, ...]
    short: float = 0.0
    seen: set[Choice] = field(factory=set)
    doubtful: int = 0

    def learn(self, choice: Choice, *, met: bool, slow: bool = False) -> None:
        """What came of a choice: whether it met the goal, or was too slow to be asked."""
        self.seen.add(choice)
        if met:
            self.kept = choice
        elif not slow and choice.gain < self.kept.gain:  # above it the guess of the gain is wrong
            self.short = max(self.short, choice.gain)

    def following(self) -> Choice | None:
        """The cheapest neighbour that should meet the goal too.

        Where none should, for a few times the one that should miss it least: the gains are guesses.
        """
        cheaper = [
            choice
            for choice in sorted(
                set(_neighbours(self.kept, self.all)), key=lambda one: sorted(one.exceptions)
            )
            if choice not in self.seen and choice.options and choice.extra_ns < self.kept.extra_ns
        ]
        promising = [choice for choice in cheaper if choice.gain > self.short]
        if promising:
            return min(promising, key=lambda one: (one.extra_ns, -one.gain))
        self.doubtful += 1
        if self.doubtful > DOUBTFUL:
            return None
        return max(cheaper, key=lambda one: (one.gain, -one.extra_ns), default=None)


def _neighbours(kept: Choice, options: Sequence[Option]) -> Iterator[Choice]:
    """Choices with one or two members fewer, or with up to two of them exchanged, or the least ones gone."""
    worth = sorted(kept.options, key=lambda option: (option.gain / option.extra_ns, option.group.key))
    for count in range(1, len(worth)):
        yield Choice(frozenset(worth[count:]))
    least = sorted(worth, key=lambda option: (-option.extra_ns, option.group.key))[:FEW]
    others = [option for option in options if option not in kept.options and option.gain > 0]
    others = sorted(others, key=lambda option: (-option.gain / option.extra_ns, option.group.key))[:FEW]
    gone = [(), *((one,) for one in least), *itertools.combinations(least, 2)]
    come = [(), *((one,) for one in others), *itertools.combinations(others, 2)]
    for out, into in itertools.product(gone, come):
        if out or into:
            yield Choice.of([*(kept.options - set(out)), *into])
