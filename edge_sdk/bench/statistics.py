"""Percentiles of latencies with confidence intervals that assume no distribution.

The interval of a quantile `p` runs from one order statistic to another. How many of `n` independent
samples lie below the true quantile is binomial(n, p), so the ranks are binomial quantiles: exact, and
valid for the skewed and multimodal distributions that latencies have.
Source: J.-Y. Le Boudec, Performance Evaluation of Computer and Communication Systems, theorem 2.1,
https://leboudec.github.io/perfeval/.

Latencies that follow one another are not independent: frequency, temperature and neighbours drift, and the
interval of a hundred thousand samples shrinks to nothing that the next run would keep to. So the samples are
also cut into consecutive batches, each long enough to have a quantile of its own; the batches' quantiles are
nearly independent, and their median has an interval by the same theorem (batching: B. Schmeiser, Batch Size
Effects in the Analysis of Simulation Output, Operations Research 30(3), 1982). The interval given covers
both. It speaks of this run on this machine; what changes between two runs only several runs can show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

CONFIDENCE = 0.95
BATCHES = 20
BATCH_TAIL = 10  # samples beyond the quantile that a batch must be expected to have
_NEGLIGIBLE = 1e-18  # probability below which a binomial's tail no longer moves a sum of doubles


@frozen
class Percentile:
    """A percentile of latencies in nanoseconds, with its confidence interval.

    `low` and `high` are None where the samples are too few for an interval at that confidence.
    """

    value: int
    low: int | None
    high: int | None
    confidence: float


@frozen
class LatencySummary:
    """Percentiles of one benchmark's latencies, in nanoseconds, over `samples` measured runs."""

    p50: Percentile
    p90: Percentile
    p99: Percentile
    samples: int


def summarize(latencies_ns: Sequence[int]) -> LatencySummary | None:
    """p50, p90 and p99 of raw latencies; None if there are none.

    Args:
        latencies_ns: int[N], one per measured run, in the order of measurement.
    """
    if not latencies_ns:
        return None
    p50, p90, p99 = (latency_percentile(latencies_ns, p) for p in (0.5, 0.9, 0.99))
    return LatencySummary(p50, p90, p99, len(latencies_ns))


def latency_percentile(latencies_ns: Sequence[int], p: float) -> Percentile:
    """The `p` quantile of latencies in the order they were measured, its interval allowing for drift.

    The interval is the one of independent samples, widened to cover the one between batches where there
    are samples enough for BATCHES of them.

    Args:
        latencies_ns: int[N], N >= 1, in the order of measurement.
        p: 0 < p < 1.
    """
    overall = percentile(sorted(latencies_ns), p)
    size = len(latencies_ns) // BATCHES
    if overall.low is None or overall.high is None or size * min(p, 1 - p) < BATCH_TAIL:
        return overall
    starts = range(0, size * BATCHES, size)
    between = percentile(
        sorted(percentile(sorted(latencies_ns[start : start + size]), p).value for start in starts), 0.5
    )
    if between.low is None or between.high is None:
        return overall
    return evolve(overall, low=min(overall.low, between.low), high=max(overall.high, between.high))


def percentile(ordered: Sequence[int], p: float, confidence: float = CONFIDENCE) -> Percentile:
    """The `p` quantile of sorted samples: the smallest one that at least `p` of them do not exceed.

    Args:
        ordered: int[N], N >= 1, ascending.
        p: 0 < p < 1.
        confidence: of the interval, 0 < confidence < 1.
    """
    # the margin keeps 0.9 * 10 from becoming rank 10 through a last-digit rounding error
    rank = max(1, math.ceil(len(ordered) * p * (1 - 1e-12)))
    ranks = interval_ranks(len(ordered), p, confidence)
    low, high = (None, None) if ranks is None else (ordered[ranks[0] - 1], ordered[ranks[1] - 1])
    return Percentile(ordered[rank - 1], low, high, confidence)


def interval_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """The 1-based ranks of the order statistics that bound the `p` quantile, None where `n` is too small.

    Each side leaves out at most half of `1 - confidence`: the lower rank is the largest `l` with
    P(B <= l - 1) <= tail, the upper the smallest `u` with P(B >= u) <= tail, B ~ binomial(n, p).
    """
    tail = (1 - confidence) / 2
    lower = _ranks_in_tail(n, p, tail)
    upper = _ranks_in_tail(n, 1 - p, tail)  # the same question asked of the samples from above
    return None if lower == 0 or upper == 0 else (lower, n + 1 - upper)


def _ranks_in_tail(n: int, p: float, tail: float) -> int:
    """How many of the smallest order statistics can be dropped: the largest `l` with P(B < l) <= tail."""
    total = 0.0
    count = 0
    for k, probability in _binomial(n, p):
        total += probability
        if total > tail:
            return count
        count = k + 1
    return count


def _binomial(n: int, p: float) -> Iterator[tuple[int, float]]:
    """`(k, P(B = k))` in ascending k, beginning where the probability is no longer negligible."""
    deviations = math.sqrt(-2 * math.log(_NEGLIGIBLE))
    start = max(0, math.floor(n * p - deviations * math.sqrt(n * p * (1 - p)) - deviations))
    log_n = math.lgamma(n + 1)
    for k in range(start, n + 1):
        log_choose = log_n - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        yield k, math.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p))
