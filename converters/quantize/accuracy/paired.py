"""A candidate against the float model on the same samples: how much worse it is, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from converters.quantize.accuracy.metrics.base import Evaluation, Judgement, Metric, Resampled
from device_agent.errors import MetricError

if TYPE_CHECKING:
    import numpy as np

    from converters.quantize.search.types import Goal

RESAMPLES = 2000
FEWEST_RESAMPLES = 200
VALUES_AT_ONCE = 1 << 21  # samples in the resamples that are held at once; and in all, where each is slow
FEWEST_SAMPLES = 20  # a bootstrap of fewer shows how little they differ, not what others would show
MOST_NEEDED = 10_000_000  # samples; beyond it no number is named
_EXACT = 1e-9  # what float64 makes of 0.5 points may be off by this


def judge(metric: Metric, reference: Evaluation, candidate: Evaluation, goal: Goal) -> Judgement:
    """How much worse a candidate is than the float model on the same samples, and within which bounds.

    For binary metrics: the difference of two paired proportions with Tango's score interval (see
    `upper_bound`), and McNemar's exact test. For the others: a percentile bootstrap over the samples, both
    models resampled together, seeded (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13).

    Raises:
        MetricError: there are no samples, the two are not of the same samples, or too few of them are of
            each kind to be resampled.
    """
    if not reference.kept or len(reference.kept) != len(candidate.kept):
        raise MetricError(
            "the candidate was not judged on the float model's samples",
            got=f"{len(candidate.kept)} samples",
            expected=f"{len(reference.kept)}, at least 1",
        )
    return (_proportions if metric.binary else _bootstrap)(metric, reference, candidate, goal)


def default_drop(metric: Metric, reference: Evaluation) -> float:
    """The drop that is allowed where a user names none, in the metric's unit."""
    share: float | None = getattr(metric, "default_share", None)
    return metric.default_drop if share is None else share * abs(reference.value)


def _proportions(metric: Metric, reference: Evaluation, candidate: Evaluation, goal: Goal) -> Judgement:
    import numpy as np

    before, after = (np.asarray(one.kept).reshape(-1).astype(bool) for one in (reference, candidate))
    n = len(before)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    if not metric.greater_is_better:
        lost, won = won, lost
    drop = 100 * (lost - won) / n
    upper = 100 * upper_bound(lost, won, n, goal.confidence)

    def proves(samples: int) -> bool:
        share = samples / n
        return (
            100 * upper_bound(lost * share, won * share, samples, goal.confidence) <= goal.max_drop + _EXACT
        )

    lower = -100 * upper_bound(won, lost, n, goal.confidence)
    proven = upper <= goal.max_drop + _EXACT
    return Judgement(
        drop=drop,
        lower=lower if metric.labelled else max(0.0, lower),  # nothing agrees more with itself
        upper=upper,
        confidence=goal.confidence,
        samples=n,
        method="McNemar",
        within=drop <= goal.max_drop + _EXACT,
        proven=proven,
        needed=None if proven or drop >= goal.max_drop else _least(proves, n),
        p_value=mcnemar(lost, won),
    )


def upper_bound(lost: float, won: float, n: int, confidence: float) -> float:
    """The upper confidence limit, one-sided, of (lost - won) / n, a difference of two paired proportions.

    Tango's score interval: Statistics in Medicine 17 (1998), 891-908: the greatest difference d that the
    score test of "the difference is d" does not refuse; with no sample lost nor won it is still above 0.
    Score limits for rare events fall short on the side away from 0 (T. T. Cai, Journal of Statistical
    Planning and Inference 131 (2005), 63-88), so the statistic is corrected by 2/3 - z^2 / 6 of a sample
    where that is positive: with it, the limit for won = 0 agrees with the exact (Clopper-Pearson) limit in
    the first terms of its expansion for rare events. The coverage that results is computed in
    tests/converters/quantize/accuracy/test_paired.py.

    Args:
        lost: samples that only the float model has right; any share of one, where sizes are planned.
        won: samples that only the candidate has right.
        n: all samples.
        confidence: of the limit, 0.5 .. 1.
    """
    z = NormalDist().inv_cdf(confidence)
    correction = max(0.0, 2 / 3 - z * z / 6)

    def refused(d: float) -> bool:
        # the likeliest share of samples that are won, where the difference is d
        b = (2 * n - lost + won) * d - lost - won
        share = (math.sqrt(max(0.0, b * b + 8 * n * won * d * (1 - d))) - b) / (4 * n)
        variance = n * (2 * share + d * (1 - d))
        return bool(n * d - (lost - won) - correction >= z * math.sqrt(max(0.0, variance)))

    low, high = (lost - won) / n, 1.0
    if not refused(high):
        return 1.0
    for _ in range(60):  # halvings: below float64's own steps
        middle = (low + high) / 2
        low, high = (low, middle) if refused(middle) else (middle, high)
    return high


def mcnemar(lost: int, won: int) -> float:
    """McNemar's exact test, two-sided: how likely so uneven a split of lost and won is, were both as likely.

    https://en.wikipedia.org/wiki/McNemar%27s_test
    """
    total = lost + won
    tail = sum(math.comb(total, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / (1 << total))


def _bootstrap(metric: Metric, reference: Evaluation, candidate: Evaluation, goal: Goal) -> Judgement:
    import numpy as np

    n = len(reference.kept)
    enough: float | None = getattr(metric, "enough", None)

    def worse(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        sign = 1.0 if metric.greater_is_better else -1.0
        before, after = sign * before, sign * after
        if enough is not None:
            before, after = np.minimum(before, sign * enough), np.minimum(after, sign * enough)
        return before - after

    drop = float(worse(np.array(reference.value), np.array(candidate.value)))
    found = worse(*_resampled(metric, reference.kept, candidate.kept))
    found = found[np.isfinite(found)]
    if len(found) < FEWEST_RESAMPLES / 2:
        raise MetricError(
            f"there are too few samples to tell how sure {metric.name} is",
            got=f"{n} samples, of which most choices give no value",
            expected="more samples of every kind",
        )
    lower, upper = np.quantile(found, [1 - goal.confidence, goal.confidence])
    lower, upper = min(float(lower), drop), max(float(upper), drop)
    unseen = enough is None and float(np.abs(found).max()) < _EXACT
    if unseen:  # no sample makes a difference: as many more as a proportion allows may, each all it can
        whole = 100.0 if metric.unit == "points" else abs(reference.value)
        upper = max(upper, drop + whole * upper_bound(0, 0, n, goal.confidence))
    proven = n >= FEWEST_SAMPLES and upper <= goal.max_drop + _EXACT
    needed = None
    if not proven and drop < goal.max_drop:
        # the bound comes nearer with the root of the number of samples; that of a proportion, with itself
        ratio = (upper - drop) / (goal.max_drop - drop)
        needed = max(FEWEST_SAMPLES, n + 1, math.ceil(n * (ratio if unseen else ratio * ratio)))
        needed = needed if needed <= MOST_NEEDED else None
    return Judgement(
        drop=drop,
        lower=lower,
        upper=upper,
        confidence=goal.confidence,
        samples=n,
        method="bootstrap",
        within=drop <= goal.max_drop + _EXACT,
        proven=proven,
        needed=needed,
    )


def _resampled(metric: Metric, before: Sequence[Any], after: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Both models' values in the same resamples of the samples, float64[R] each."""
    import numpy as np

    n = len(before)
    generator = np.random.default_rng(0)
    if isinstance(metric, Resampled):
        held = max(1, VALUES_AT_ONCE // n)
        found = []
        for start in range(0, metric.resamples, held):
            size = min(held, metric.resamples - start)
            picks = generator.integers(0, n, (size, n))
            counts = np.stack([np.bincount(row, minlength=n) for row in picks])
            found.append((metric.resampled(before, counts), metric.resampled(after, counts)))
        return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])
    times = min(RESAMPLES, max(FEWEST_RESAMPLES, VALUES_AT_ONCE // n))
    values = np.full((2, times), np.nan)
    for time in range(times):
        picks = generator.integers(0, n, n)
        for row, kept in zip(values, (before, after), strict=True):
            try:
                row[time] = metric.value([kept[pick] for pick in picks])
            except MetricError:  # no value over this choice of samples: it is left out
                row[time] = np.nan
    return values[0], values[1]


def _least(proves: Callable[[int], bool], n: int) -> int | None:
    """About the least number of samples above n that proves it; None where none up to `MOST_NEEDED` does."""
    low, high = n, 2 * n
    while not proves(high):
        if high > MOST_NEEDED:
            return None
        low, high = high, 2 * high
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high
