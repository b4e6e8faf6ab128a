"""Which of several models on a device is the fastest, decided from latencies measured in turns.

The unit is the round: each candidate has one turn in each, so what slows the machine for longer than a round
slows them all and cancels in the ratio of their medians. Runs within a turn follow one another and are no
independent evidence; they give the turn its median and nothing else.

The ratio of two candidates is the Hodges-Lehmann estimate over the rounds' log ratios, its interval that of
Wilcoxon's signed ranks: exact for any symmetric distribution, so heavy tails and two modes are no harm
(M. Hollander, D. A. Wolfe, E. Chicken, Nonparametric Statistical Methods, 3.2 and 3.3). Where a round
resembles the one before it, the interval is widened by sqrt((1 + r) / (1 - r)), r the first-order correlation
with its bias taken off (F. H. C. Marriott, J. A. Pope, Biometrika 41, 1954) and a standard error added, since
so few rounds do not tell it better.
Between every pair of candidates, and at every look at data that grows, a wrong claim could be made; each is
held to its share of what the confidence leaves (Bonferroni), so that the confidence is that of the choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement, pairwise
from statistics import fmean, median

from attrs import evolve, frozen

from device_agent.protocol import Compared, Measured
from edge_sdk.bench.statistics import CONFIDENCE, LatencySummary, summarize

INDIFFERENCE = 0.02  # a gain below this share is no reason to leave what the board prefers
LOOKS = 3  # how often the data may be looked at while more is measured
CHOSEN, SLOWER, TIED, EXCLUDED = "chosen", "slower", "tied", "excluded"
_MOST_CORRELATED = 0.9
_LEAST_ROUNDS = 4  # for a correlation to be told


@frozen
class Ratio:
    """A latency over another, with the interval that holds the true one at the choice's confidence.

    `low` and `high` are None where the rounds are too few for an interval.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.2f}, too few rounds for an interval"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def slower(self) -> bool:
        """The latency is greater than the other, certainly and by more than INDIFFERENCE."""
        return self.low is not None and self.low > 1 and self.value >= 1 + INDIFFERENCE

    @property
    def settled(self) -> bool:
        """More rounds would not change what is made of it."""
        return self.slower or (self.high is not None and self.high < 1 + INDIFFERENCE)


@frozen
class Contender:
    """A candidate, and what the choice made of it.

    `ratio` is its latency over that of the chosen one, None for the chosen and the excluded; `reason` says
    why it was not chosen, and of the chosen why it was.
    """

    label: str
    runtime: str
    verdict: str  # chosen, slower, tied or excluded
    latency: LatencySummary | None  # of all its runs
    ratio: Ratio | None
    reason: str


@frozen
class Decision:
    """The choice among candidates, in their order; `chosen` is None where every one was excluded.

    The intervals of all ratios hold together at `confidence`. `settled`: more rounds would not change it.
    """

    chosen: str | None
    contenders: tuple[Contender, ...]
    rounds: int
    confidence: float
    settled: bool
    sentence: str


def choose(
    compared: Compared,
    labels: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    looks: int = LOOKS,
) -> Decision:
    """Choose the fastest candidate; the first of those that no difference was found between.

    A candidate loses where it is certainly slower than the fastest, by INDIFFERENCE or more. One that failed
    or does not compute what the host computed is excluded.

    Args:
        compared: the latencies of each candidate in rounds, from `Device.compare`.
        labels: the candidates' names, in the order of `compared`, which is the order of preference.
        confidence: that no claim of the decision is wrong, 0 < confidence < 1.
        looks: how often the same comparison may be looked at, this time included, as rounds are added.
    """
    reasons = [_excluded(candidate) for candidate in compared.candidates]
    turns = [
        [] if reason else [math.log(max(1.0, median(turn))) for turn in candidate.latencies_ns]
        for candidate, reason in zip(compared.candidates, reasons, strict=True)
    ]
    able = [index for index, reason in enumerate(reasons) if not reason]
    if not able:
        gone = _all(labels, reasons)
        found = tuple(
            Contender(label, candidate.runtime, EXCLUDED, None, None, reason)
            for label, candidate, reason in zip(labels, compared.candidates, reasons, strict=True)
        )
        return Decision(None, found, 0, confidence, True, f"no candidate can be used: {gone}")
    claims = max(1, math.comb(len(able), 2)) * looks
    error = (1 - confidence) / claims

    def ratio(one: int, other: int) -> Ratio:
        return ratio_of([a - b for a, b in zip(turns[one], turns[other], strict=False)], error)

    fastest = min(able, key=lambda index: median(turns[index]))
    against = {index: ratio(index, fastest) for index in able if index != fastest}
    beaten = {index for index, found in against.items() if found.slower}
    chosen = next(index for index in able if index not in beaten)
    contenders = []
    for index, (label, candidate) in enumerate(zip(labels, compared.candidates, strict=True)):
        entry = Contender(label, candidate.runtime, EXCLUDED, _summary(candidate), None, reasons[index])
        if index == chosen:
            entry = evolve(entry, verdict=CHOSEN)
        elif index in able:
            own = ratio(index, chosen)
            entry = evolve(entry, verdict=SLOWER if index in beaten else TIED, ratio=own)
            entry = evolve(entry, reason=_lost(entry, labels[chosen], own))
        contenders.append(entry)
    sentence = _sentence(contenders, chosen, preferred=chosen != fastest, confidence=confidence)
    contenders[chosen] = evolve(contenders[chosen], reason=sentence)
    return Decision(
        chosen=labels[chosen],
        contenders=tuple(contenders),
        rounds=min(len(turns[index]) for index in able),
        confidence=confidence,
        settled=all(found.settled for found in against.values()),
        sentence=sentence,
    )


def only(label: str, runtime: str, confidence: float = CONFIDENCE) -> Decision:
    """The choice where a single candidate was left, which is not measured against anything."""
    sentence = f"{label} is the only candidate left"
    entry = Contender(label, runtime, CHOSEN, None, None, sentence)
    return Decision(label, (entry,), 0, confidence, True, sentence)


def pooled(first: Compared, second: Compared) -> Compared:
    """Two comparisons of the same candidates as one of all their rounds; what failed in one has failed."""
    found = {candidate.manifest_digest: candidate for candidate in second.candidates}
    candidates = []
    for candidate in first.candidates:
        later = found[candidate.manifest_digest]
        rounds = (*candidate.latencies_ns, *later.latencies_ns)
        bad = candidate if _excluded(candidate) else later
        peak = max(candidate.peak_rss_bytes, later.peak_rss_bytes)
        candidates.append(evolve(bad, latencies_ns=rounds, peak_rss_bytes=peak))
    return evolve(first, candidates=tuple(candidates), after=second.after)


def ratio_of(differences: Sequence[float], error: float) -> Ratio:
    """The ratio that paired log latencies tell, with its interval.

    Args:
        differences: log(one) - log(other) of each round, at least one.
        error: how likely the interval may miss the true ratio, 0 < error < 1.
    """
    averages = sorted((a + b) / 2 for a, b in combinations_with_replacement(differences, 2))
    middle = median(averages)
    rank = _rank(len(differences), error / 2)
    if rank == 0:
        return Ratio(math.exp(middle), None, None)
    wider = _widening(differences)
    low = middle - wider * (middle - averages[rank - 1])
    high = middle + wider * (averages[-rank] - middle)
    return Ratio(math.exp(middle), math.exp(low), math.exp(high))


@cache
def _rank(count: int, tail: float) -> int:
    """The rank of the Walsh average that bounds the interval, 0 where `count` is too small for one.

    The largest `k` with P(W <= k - 1) <= tail, W the signed-rank statistic of `count` rounds: of the 2^count
    equally likely sets of ranks 1..count, how many sum up to each value.
    """
    ways = [1]
    for rank in range(1, count + 1):
        ways = [
            (ways[total] if total < len(ways) else 0) + (ways[total - rank] if total >= rank else 0)
            for total in range(len(ways) + rank)
        ]
    below, found = 0, 0
    for number in ways:
        below += number
        if below > tail * 2**count:
            break
        found += 1
    return found


def _widening(differences: Sequence[float]) -> float:
    """By what an interval of independent rounds is widened for the likeness of each to the one before."""
    count, centre = len(differences), median(differences)
    away = [value - centre for value in differences]
    squares = fmean(value * value for value in away) * count
    if count < _LEAST_ROUNDS or squares == 0:
        return 1.0
    raw = math.fsum(a * b for a, b in pairwise(away)) / squares
    unbiased = (count * raw + 1) / (count - 3)
    likeness = min(max(unbiased + 1 / math.sqrt(count), 0.0), _MOST_CORRELATED)
    return math.sqrt((1 + likeness) / (1 - likeness))


def _excluded(candidate: Measured) -> str:
    """Why a candidate cannot be chosen; empty where it can."""
    if candidate.error is not None:
        return str(candidate.error.get("error", "it failed on the device"))
    if candidate.parity is not None and not candidate.parity.passed:
        off = [tensor for tensor in candidate.parity.tensors if not tensor.passed]
        told = ", ".join(
            f"{tensor.name} is off by {tensor.max_abs_diff:g} ({tensor.tolerance:g} allowed)"
            for tensor in off
        )
        return f"the device does not compute what the host computed: {told}"
    if not candidate.latencies_ns or not all(candidate.latencies_ns):
        return "it was not measured"
    return ""


def _summary(candidate: Measured) -> LatencySummary | None:
    return summarize([latency for turn in candidate.latencies_ns for latency in turn])


def _all(labels: Sequence[str], reasons: Sequence[str]) -> str:
    return "; ".join(
        f"{label}: {reason.rstrip('.')}" for label, reason in zip(labels, reasons, strict=True) if reason
    )


def _lost(entry: Contender, chosen: str, ratio: Ratio) -> str:
    """Why a candidate that could be measured was not chosen."""
    if entry.verdict == SLOWER:
        return f"takes {ratio} times as long as {chosen}"
    return f"no difference to {chosen} was found that would matter: {ratio}"


def _sentence(contenders: Sequence[Contender], chosen: int, *, preferred: bool, confidence: float) -> str:
    """Why this one: against the nearest of another runtime, or else the nearest of its own."""
    winner = contenders[chosen]
    rivals = [(entry, entry.ratio) for entry in contenders if entry.ratio is not None]
    if not rivals:
        gone = _all([entry.label for entry in contenders], [entry.reason for entry in contenders])
        return f"{winner.label} is the only candidate left" + (f": {gone}" if gone else "")
    rival, ratio = min(rivals, key=lambda pair: (pair[0].runtime == winner.runtime, pair[1].value))
    at = f"at {100 * confidence:g} % confidence"
    if rival.verdict == SLOWER:
        return f"{winner.label} is faster: {rival.label} takes {ratio} times as long, {at}"
    if preferred and ratio.high is not None and ratio.high < 1:
        return (
            f"{winner.label} is preferred: {rival.label} takes {ratio} times as long, {at}, "
            f"a gain below {100 * INDIFFERENCE:g} %"
        )
    if ratio.low is not None and ratio.low > 1:
        return f"{winner.label} is faster, but hardly: {rival.label} takes {ratio} times as long, {at}"
    return (
        f"no difference was found: {rival.label} takes {ratio} times as long as {winner.label}, {at}; "
        f"{winner.label} is preferred"
    )
