"""What a search tries and what comes of it, and the comparisons that its decisions stand on; nothing runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from converters.quantize.accuracy.metrics.base import Judgement
from converters.quantize.engine import Effect, Fallback
from converters.quantize.scheme import Scheme

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.quantize.search.types import Goal

CONFIDENT = 1.645  # standard errors: one-sided 95 % of a normal distribution
TIE = 1.02  # latencies this near are the same: two measurements of one model differ as much
NEAR_PLAIN = 1.05  # a candidate this near to plain int8's latency is not worth beating
NEAR_ENOUGH = (
    1.25  # nor this near, if no layer has more precision: what islands would save here, a device may not
)


@frozen
class Measured:
    """A model on the validation samples.

    `value` is the metric's, `judgement` against the float model, `errors` the output error of each sample
    (`output_error.of`), in the samples' order.
    """

    value: float
    judgement: Judgement
    errors: tuple[float, ...] = field(repr=False)


@frozen
class Look:
    """A model on a few samples: the mean output error, and the shortest run with all that is around it."""

    error: float
    least_ns: int


class Worst(Protocol):
    """Some validation samples that are kept at hand, to compare many candidates on."""

    @property
    def samples(self) -> Sequence[dict[str, np.ndarray]]:
        """They themselves, inputs by name."""
        ...

    def look(self, artifact: Artifact) -> Look:
        """Run an artifact on these samples; WorkerFailed if the runtime refuses it."""
        ...


class Bench(Protocol):
    """What a search measures candidates with."""

    def evaluate(self, artifact: Artifact) -> Measured:
        """An artifact on all validation samples.

        Raises:
            MetricError: its outputs are none that the metric can judge.
            FidelityError: they have another shape than the float model's.
            WorkerFailed: the runtime refuses it.
        """
        ...

    def cost(self, artifact: Artifact) -> int:
        """Its median latency in nanoseconds, on one thread; WorkerFailed if the runtime refuses it."""
        ...

    def worst(self, indices: Sequence[int]) -> Worst:
        """The validation samples at these indices."""
        ...


@frozen
class Try:
    """A scheme to try, and why.

    At `limit_ns` and above it is not evaluated: something as fast is known to be better. `limit` says what.
    """

    step: str
    scheme: Scheme
    limit_ns: int | None = None
    limit: str = ""


@frozen
class Tried:
    """What came of it.

    `refusal` says why there is no `value`: it could not be built, run or judged. `slow` says it was not
    evaluated for its latency. `errors` are per sample, as in `Measured`.
    """

    number: int
    step: str
    scheme: Scheme
    refusal: str | None = None
    slow: str | None = None
    value: float | None = None
    judgement: Judgement | None = None
    errors: tuple[float, ...] = field(default=(), repr=False)
    latency_ns: int | None = None
    size_bytes: int | None = None
    float_operators: int = 0
    effects: tuple[Effect, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    sha256: str | None = None

    @property
    def error(self) -> float:
        """The mean output error, infinite where it was not evaluated."""
        return math.fsum(self.errors) / len(self.errors) if self.errors else math.inf

    @property
    def latency(self) -> float:
        """`latency_ns`, infinite where it was not measured."""
        return self.latency_ns if self.latency_ns is not None else math.inf


def meets(tried: Tried, goal: Goal) -> bool:
    """Whether a candidate reaches the goal: the drop that was seen, or with `prove` its upper bound."""
    judged = tried.judgement
    return judged is not None and (judged.proven if goal.prove else judged.within)


def gainful(history: Sequence[Tried], float_ns: int | None) -> list[Tried]:
    """The candidates that gain something over the float model.

    Float32 itself does not, nor what is as slow because all that takes time in it is float; that can be told
    only where float32 is clearly slower than plain int8, which comes first.
    """
    told = float_ns is not None and float_ns > NEAR_PLAIN * history[0].latency
    limit = float_ns / TIE if float_ns is not None and told else math.inf
    return [tried for tried in history if tried.scheme.precision != "float32" and not tried.latency > limit]


def better(one: Tried, other: Tried) -> bool:
    """Whether `one` is more accurate than `other`, beyond noise.

    The metric decides where their bounds do not overlap (each was judged on the same samples against the
    same model, so this asks for more than it need). Where it cannot tell them apart, the output error
    does: the mean of its differences in pairs must be below zero by 1.645 standard errors.
    """
    if one.judgement is None or other.judgement is None:
        return one.judgement is not None
    if one.judgement.upper < other.judgement.lower:
        return True
    if one.judgement.lower > other.judgement.upper:
        return False
    pairs = [a - b for a, b in zip(one.errors, other.errors, strict=True)]
    mean = math.fsum(pairs) / len(pairs)
    if len(pairs) == 1:
        return mean < 0
    variance = math.fsum((pair - mean) ** 2 for pair in pairs) / (len(pairs) - 1)
    return mean < -CONFIDENT * math.sqrt(variance / len(pairs))


def fastest(history: Sequence[Tried], goal: Goal) -> Tried | None:
    """Of the candidates that meet the goal the fastest; ties: fewer float operators, smaller, earlier."""
    meeting = [tried for tried in history if meets(tried, goal)]
    if not meeting:
        return None
    least = min(tried.latency for tried in meeting)
    level = [tried for tried in meeting if tried.latency <= least * TIE]
    return min(level, key=lambda tried: (tried.float_operators, tried.size_bytes, tried.number))


def nearest(history: Sequence[Tried], goal: Goal) -> Tried | None:
    """The candidate that falls least short of the goal; ties: less output error, faster, earlier."""

    def short(tried: Tried) -> tuple[float, float, float, int]:
        judged = tried.judgement
        drop = math.inf if judged is None else judged.upper if goal.prove else judged.drop
        return drop, tried.error, tried.latency, tried.number

    return min((tried for tried in history if tried.judgement is not None), key=short, default=None)
