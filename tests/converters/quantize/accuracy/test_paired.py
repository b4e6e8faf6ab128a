"""Bounds on the drop: how often they hold, what they need, and what they never claim."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.base import Evaluation
from converters.quantize.accuracy.paired import default_drop, judge, mcnemar, upper_bound
from converters.quantize.search.types import Goal
from device_agent.errors import MetricError

Z95 = 1.6448536269514722


class Share:
    """A binary metric of 0 and 1."""

    name, unit, greater_is_better, labelled, binary, default_drop = "share", "points", True, True, True, 0.5

    def value(self, kept):
        return 100 * float(np.mean(kept))


class Mean(Share):
    """A metric whose value must be computed anew for each resample."""

    name, unit, binary = "mean", "", False

    def value(self, kept):
        return float(np.mean(kept))


def split(both: int, lost: int, won: int, neither: int = 0) -> tuple[Evaluation, Evaluation]:
    before = [1] * (both + lost) + [0] * (won + neither)
    after = [1] * both + [0] * lost + [1] * won + [0] * neither
    return tuple(Evaluation(Share().value(kept), tuple(kept)) for kept in (before, after))


def test_tangos_interval():
    """Where nothing is corrected (at 99 %), the bound solves Tango's equation."""
    z = 2.3263478740408408
    for lost, won, n in ((5, 2, 60), (0, 0, 50), (12, 30, 200)):
        d = upper_bound(lost, won, n, 0.99)
        # q21: the root of Tango's quadratic 2n q^2 + B q + C = 0
        b, c = -lost - won + (2 * n - lost + won) * d, -won * d * (1 - d)
        q = max(np.roots([2 * n, b, c]).real)
        assert z == pytest.approx((n * d - (lost - won)) / np.sqrt(n * (2 * q + d * (1 - d))), abs=1e-6)


def test_the_bound_holds_for_rare_losses():
    """Where only losses are possible, the limit covers the truth in 94.8 % of all cases or more.

    The probabilities are exact. Tango's limit alone comes to 93.3 %.
    """
    n, confidence = 200, 0.95
    limits = np.array([upper_bound(lost, 0, n, confidence) for lost in range(60)])
    truths = np.linspace(0.0005, 0.15, 600)
    held = [binom.pmf(np.arange(60), n, p)[limits >= p].sum() for p in truths]
    assert min(held) >= 0.948


@pytest.mark.parametrize("n", [50, 200])
def test_the_bound_holds_in_simulation(n):
    """Over 4,000 seeded draws each: the limit of 95 % covers at least 94 %, whatever may be lost and won."""
    rng = np.random.default_rng(0)
    known: dict[tuple[int, int], float] = {}
    for won in (0.0, 0.002, 0.01, 0.05):
        for lost in (won, won + 0.005, won + 0.02, won + 0.06):
            draws = Counter(map(tuple, rng.multinomial(n, [lost, won, 1 - lost - won], 4000)[:, :2].tolist()))
            for pair in draws.keys() - known.keys():
                known[pair] = upper_bound(*pair, n, 0.95)
            assert sum(count for pair, count in draws.items() if known[pair] >= lost - won) >= 0.94 * 4000


@pytest.mark.parametrize("n", [20, 200, 5000])
def test_nothing_lost_is_no_proof_of_nothing(n):
    """With no sample lost nor won, the bound is above 0 and about the exact one of a proportion."""
    exact = 1 - 0.05 ** (1 / n)  # Clopper-Pearson
    assert 0.95 * exact <= upper_bound(0, 0, n, 0.95) <= 1.1 * exact
    judgement = judge(Share(), *split(n, 0, 0), Goal(0.0))
    assert (0.0, True, False, None) == (judgement.drop, judgement.within, judgement.proven, judgement.needed)


def test_mcnemar():
    """The exact test is a binomial one of a half."""
    for lost, won in ((0, 0), (3, 0), (7, 2), (40, 60), (1500, 1600)):
        expected = binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
        assert expected == pytest.approx(mcnemar(lost, won))


def test_proportions():
    """Drop, bounds and p-value; within is what was seen, proven what the bound says."""
    judgement = judge(Share(), *split(190, 4, 2, 4), Goal(1.0))
    assert (1.0, 200, "McNemar", True, False) == (
        judgement.drop,
        judgement.samples,
        judgement.method,
        judgement.within,
        judgement.proven,
    )
    assert judgement.lower < 1.0 < judgement.upper
    assert 0.6875 == judgement.p_value
    assert judge(Share(), *split(190, 4, 2, 4), Goal(4.0)).proven
    assert not judge(Share(), *split(190, 4, 2, 4), Goal(0.99)).within


def test_lower_is_better():
    """For a metric that counts what is wrong, more of it is a drop."""
    wrong = Share()
    wrong.greater_is_better = False
    assert -1.0 == judge(wrong, *split(190, 4, 2, 4), Goal(1.0)).drop


def test_nothing_agrees_more_with_itself():
    """The lower bound of what is compared with the float model itself is not below 0."""
    agreement = Share()
    agreement.labelled = False
    assert 0.0 == judge(agreement, *split(199, 1, 0), Goal(1.0)).lower
    assert judge(Share(), *split(199, 1, 0), Goal(1.0)).lower < 0.0


def test_batches_count_by_row():
    """Samples of several rows are as many proportions."""
    before, after = Evaluation(100.0, ((1, 1), (1, 1))), Evaluation(75.0, ((1, 0), (1, 1)))
    judgement = judge(Share(), before, after, Goal(1.0))
    assert (25.0, 4) == (judgement.drop, judgement.samples)


def test_needed():
    """As many samples as would prove it, with the same shares lost and won; none past the allowed drop."""
    judgement = judge(Share(), *split(198, 1, 1), Goal(0.5))
    assert judgement.needed is not None
    assert judgement.needed > 200
    share = judgement.needed / 200
    assert upper_bound(share, share, judgement.needed, 0.95) <= 0.005
    assert upper_bound(0.98 * share, 0.98 * share, int(0.98 * judgement.needed), 0.95) > 0.005
    assert judge(Share(), *split(190, 10, 0), Goal(0.5)).needed is None


def evaluations(metric, n: int, loss: float, seed: int = 0) -> tuple[Evaluation, Evaluation]:
    rng = np.random.default_rng(seed)
    before = rng.normal(5, 1, n)
    after = before - loss + rng.normal(0, 0.2, n)
    return tuple(Evaluation(metric.value(list(kept)), tuple(kept)) for kept in (before, after))


def test_bootstrap_of_any_metric():
    """The bounds of a mean are those of the normal distribution, and the same every time."""
    metric = Mean()
    pair = evaluations(metric, 300, 0.1)
    judgement = judge(metric, *pair, Goal(0.2))
    differences = np.array(pair[0].kept) - np.array(pair[1].kept)
    half = Z95 * differences.std() / np.sqrt(300)
    assert "bootstrap" == judgement.method
    assert judgement.drop == pytest.approx(differences.mean())
    assert (differences.mean() - half, differences.mean() + half) == pytest.approx(
        (judgement.lower, judgement.upper), abs=half / 8
    )
    assert judgement == judge(metric, *pair, Goal(0.2))
    assert judgement.proven
    tight = judge(metric, *pair, Goal(judgement.drop + half / 2))
    assert not tight.proven
    assert tight.needed == pytest.approx(4 * 300, rel=0.25)


def test_resamples_are_paired(model_of_one_value):
    """A metric that resamples at once has the bounds of one that does not: both models in the same choice."""
    metric = open_metric("mae", model_of_one_value)
    rng = np.random.default_rng(0)
    errors = np.abs(rng.normal(1, 1, 200))
    before = [(value, 1.0) for value in errors]
    after = [(value + 0.01, 1.0) for value in errors]  # the spread is large, that of the differences 0
    judgement = judge(
        metric,
        Evaluation(metric.value(before), tuple(before)),
        Evaluation(metric.value(after), tuple(after)),
        Goal(0.02),
    )
    assert (0.01, 0.01) == pytest.approx((judgement.drop, judgement.upper))
    assert judgement.proven


def test_few_samples_prove_nothing():
    """Samples that happen to be alike are no proof where they are few."""
    same = Evaluation(1.0, (1.0,) * 10)
    judgement = judge(Mean(), same, same, Goal(0.9))
    assert (True, False, 20) == (judgement.within, judgement.proven, judgement.needed)


def test_points_without_a_difference(model_of_one_value):
    """Where no resample shows a difference, a metric in points has the bound of a proportion."""
    metric = open_metric("auc", model_of_one_value)
    kept = tuple(((float(index >= 50), int(index >= 50)),) for index in range(100))
    same = Evaluation(100.0, kept)
    judgement = judge(metric, same, same, Goal(0.5))
    assert 100 * upper_bound(0, 0, 100, 0.95) == pytest.approx(judgement.upper)
    assert not judgement.proven
    assert judge(metric, Evaluation(100.0, kept * 8), Evaluation(100.0, kept * 8), Goal(0.5)).proven


def test_equal_samples():
    """So has a metric of any unit, of the float model's value: a user's accuracy of 0 and 1 may be one."""
    same = Evaluation(0.9, (1.0,) * 90 + (0.0,) * 10)
    judgement = judge(Mean(), same, same, Goal(0.005))
    assert 0.9 * upper_bound(0, 0, 100, 0.95) == pytest.approx(judgement.upper)
    assert (True, False) == (judgement.within, judgement.proven)


def test_enough(model_of_one_value):
    """A ratio past what is enough is no drop; below it, the drop is what lacks."""
    metric = open_metric("snr", model_of_one_value)
    perfect = Evaluation(100.0, ((1.0, 0.0),) * 30)
    for noise, drop in ((1e-4, 0.0), (1e-2, 10.0), (1.0, 30.0)):
        kept = ((1.0, noise),) * 30
        judgement = judge(metric, perfect, Evaluation(metric.value(kept), kept), Goal(metric.default_drop))
        assert drop == pytest.approx(judgement.drop)
        assert (drop <= 15) == judgement.within


def test_default_drops(model_of_one_value):
    """In points half of one; in a unit of its own, a share of the float model's value."""
    reference = Evaluation(8.0, (1,))
    assert 0.5 == default_drop(open_metric("auc", model_of_one_value), reference)
    assert 0.4 == pytest.approx(default_drop(open_metric("mae", model_of_one_value), reference))


def test_what_cannot_be_judged(model_of_one_value):
    """Evaluations of other samples, and labels of one kind in most choices, are refused."""
    with pytest.raises(MetricError, match="the float model's samples: got 2 samples, expected 3"):
        judge(Share(), Evaluation(1.0, (1, 1, 1)), Evaluation(1.0, (1, 1)), Goal(1.0))
    metric = open_metric("auc", model_of_one_value)
    kept = (((0.1, 0),),) * 1 + (((0.9, 1),),) * 0
    with pytest.raises(MetricError, match="too few samples"):
        judge(metric, Evaluation(100.0, kept), Evaluation(100.0, kept), Goal(1.0))
