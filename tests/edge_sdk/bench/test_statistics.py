"""Percentiles and their confidence intervals."""

import math
import random

import pytest

from edge_sdk.bench.statistics import Percentile, interval_ranks, latency_percentile, percentile, summarize


@pytest.mark.parametrize(
    ("n", "p", "ranks"),
    [
        (6, 0.5, (1, 6)),
        (10, 0.5, (2, 9)),
        (20, 0.5, (6, 15)),
        (100, 0.5, (40, 61)),
    ],
)
def test_ranks_of_published_tables(n: int, p: float, ranks: tuple[int, int]) -> None:
    """The ranks are those that statistics books tabulate for the median."""
    assert ranks == interval_ranks(n, p)


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (5, 0.5), (35, 0.9), (367, 0.99)])
def test_too_few_samples_have_no_interval(n: int, p: float) -> None:
    """Below the least number of samples there is no interval, however wide."""
    assert interval_ranks(n, p) is None


@pytest.mark.parametrize("n", [6, 17, 50, 368, 1000, 100_000])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_ranks_leave_out_at_most_half_the_rest_on_each_side(n: int, p: float) -> None:
    """The ranks are the tightest whose tails, summed exactly, are at most 2.5 % each."""
    ranks = interval_ranks(n, p)
    if ranks is None:
        assert min(p**n, 1.0) > 0.025 or (1 - p) ** n > 0.025
        return
    low, high = ranks
    assert _binomial_cdf(low - 1, n, p) <= 0.025 < _binomial_cdf(low, n, p)
    assert _binomial_cdf(n - high, n, 1 - p) <= 0.025 < _binomial_cdf(n - high + 1, n, 1 - p)


def test_intervals_cover_the_true_quantile_as_often_as_they_say() -> None:
    """On a skewed distribution with a known p90, at least 95 % of the intervals hold it."""
    generator = random.Random(7)
    truth = -math.log(0.1)  # of the exponential distribution
    trials = 2000
    covered = 0
    for _ in range(trials):
        ordered = sorted(round(1e9 * generator.expovariate(1.0)) for _ in range(200))
        found = percentile(ordered, 0.9)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1e9 * truth <= found.high
    # exact coverage for n = 200 is 0.959; three standard errors of 2000 trials are 0.013
    assert 0.946 <= covered / trials <= 0.972


@pytest.mark.parametrize(("p", "value"), [(0.5, 50), (0.9, 90), (0.99, 99)])
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(p: float, value: int) -> None:
    """Of 1..100 the p-th percentile is p itself, without interpolation."""
    assert value == percentile(range(1, 101), p).value


def test_one_sample_is_every_percentile() -> None:
    """One run gives values but no intervals."""
    summary = summarize([42])
    assert summary is not None
    assert [Percentile(42, None, None, 0.95)] * 3 == [summary.p50, summary.p90, summary.p99]
    assert summary.samples == 1


def test_no_samples_have_no_summary() -> None:
    """A benchmark without measured runs has no percentiles."""
    assert summarize([]) is None


def test_intervals_allow_for_drift() -> None:
    """Where latencies wander slowly, the interval still holds the long-run median; the naive one does not."""
    generator = random.Random(3)
    trials, covered, naive = 200, 0, 0
    for _ in range(trials):
        level, latencies = generator.gauss(0, 1), []
        for _ in range(2000):  # a first-order autoregression whose long-run distribution is normal(0, 1)
            level = 0.99 * level + math.sqrt(1 - 0.99**2) * generator.gauss(0, 1)
            latencies.append(round(1e9 * (10 + level)))
        covered += _holds(latency_percentile(latencies, 0.5), 10e9)
        naive += _holds(percentile(sorted(latencies), 0.5), 10e9)
    assert naive / trials < 0.3
    assert covered / trials > 0.6  # batches of 100 still lean on their neighbours: better, not perfect


def test_a_step_widens_the_interval() -> None:
    """A machine that slows down half way gives an interval that spans both speeds."""
    found = latency_percentile([1000 + i % 7 for i in range(5000)] + [2000 + i % 7 for i in range(5000)], 0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1010
    assert found.high > 2000


def test_few_samples_have_no_batches() -> None:
    """Below twenty batches' worth of samples their order makes no difference."""
    values = list(range(399))
    shuffled = values.copy()
    random.Random(1).shuffle(shuffled)
    assert summarize(values) == summarize(shuffled)


def _holds(found: Percentile, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def _binomial_cdf(k: int, n: int, p: float) -> float:
    """P(B <= k) by the ratio of neighbouring terms, downward from `k`: shares nothing with what is tested."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    log_term = sum(math.log(n - i) - math.log(i + 1) for i in range(k)) if k < 2000 else None
    if log_term is None:
        log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_term + k * math.log(p) + (n - k) * math.log1p(-p))
    total = 0.0
    for i in range(k, -1, -1):
        total += term
        term *= i / (n - i + 1) * (1 - p) / p
        if term < 1e-30:
            break
    return total
