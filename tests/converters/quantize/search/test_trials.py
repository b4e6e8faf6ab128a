"""Candidates are compared by the metric where it tells them apart, by the output error where it does not."""

import math

import pytest
from attrs import evolve

from converters.quantize.accuracy.metrics.base import Judgement
from converters.quantize.scheme import Scheme
from converters.quantize.search.trials import Tried, better, fastest, meets, nearest
from converters.quantize.search.types import Goal

GOAL = Goal(max_drop=1.0)


def _tried(number=1, *, drop=0.5, width=2.0, errors=(0.1, 0.2, 0.3), **more) -> Tried:
    judged = Judgement(
        drop, drop - width, drop + width, 0.95, 3, "test", drop <= 1.0, drop + width <= 1.0, None
    )
    made = Tried(number, "step", Scheme(), judgement=judged, errors=errors, latency_ns=1000, size_bytes=10)
    return evolve(made, **more)


def test_the_metric_decides_where_it_can():
    """Bounds that do not overlap decide, whatever the output error says."""
    worse = _tried(drop=6.0, errors=(0.01, 0.01, 0.01))
    assert better(_tried(), worse)
    assert not better(worse, _tried())


def test_the_output_error_decides_elsewhere():
    """In pairs: a small difference in every sample counts, a great one in a single sample does not."""
    one = _tried()
    assert better(_tried(errors=(0.09, 0.19, 0.29)), one)
    assert not better(_tried(errors=(0.11, 0.21, 0.0)), one)
    assert not better(one, one)
    assert better(_tried(errors=(0.1,)), _tried(errors=(0.2,)))


def test_what_was_not_judged_is_never_better():
    """A refusal loses against anything that was judged."""
    refused = Tried(2, "step", Scheme(), refusal="no")
    assert better(_tried(), refused)
    assert not better(refused, _tried())
    assert not better(refused, refused)
    assert math.isinf(refused.error)


@pytest.mark.parametrize(("prove", "expected"), [(False, True), (True, False)])
def test_what_meets_a_goal(prove: bool, expected: bool):
    """What was seen, or with a proof its bound."""
    assert expected == meets(_tried(), Goal(max_drop=1.0, prove=prove))
    assert meets(_tried(width=0.25), Goal(max_drop=1.0, prove=prove))
    assert not meets(Tried(2, "step", Scheme(), refusal="no"), GOAL)


def test_the_fastest():
    """Of those within two hundredths the one with fewer float operators, then the smaller."""
    assert None is fastest([_tried(drop=2.0)], GOAL)
    slow, fast = _tried(1, latency_ns=2000), _tried(2, latency_ns=1500)
    assert 2 == fastest([slow, fast, _tried(3, drop=2.0, latency_ns=10)], GOAL).number
    float_one = _tried(3, latency_ns=1490, float_operators=2)
    assert 2 == fastest([slow, fast, float_one], GOAL).number
    assert 4 == fastest([slow, fast, float_one, _tried(4, latency_ns=1500, size_bytes=5)], GOAL).number


def test_the_nearest():
    """The least drop, or with a proof the least bound."""
    one, other = _tried(1, drop=2.0, width=0.25), _tried(2, drop=1.5, width=5.0)
    assert 2 == nearest([one, other], GOAL).number
    assert 1 == nearest([one, other], Goal(max_drop=1.0, prove=True)).number
    assert None is nearest([Tried(2, "step", Scheme(), refusal="no")], GOAL)
