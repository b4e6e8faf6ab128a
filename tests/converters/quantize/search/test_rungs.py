"""The ladder's decisions, without a search around them."""

from collections.abc import Callable

from attrs import evolve

from converters.quantize.accuracy.metrics.base import Judgement
from converters.quantize.search import rungs
from converters.quantize.search.trials import Tried, Try
from converters.quantize.search.types import Goal

SPACE = rungs.Space(("minmax", "mse"), ("first", "second"), ("float32",), "float", Goal(0.5), None)


def tries(drop: Callable[[Try], float], width: float) -> list[tuple[str, tuple[str, ...]]]:
    """Ranges and repairs tried without exceptions, where each candidate drops so much, by `width`."""
    history: list[Tried] = []
    rung = rungs.without_exceptions(SPACE, history)
    asked = next(rung, None)
    while asked is not None:
        found = drop(asked)
        within, proven = found <= 0.5, found + width <= 0.5
        judged = Judgement(found, found - width, found + width, 0.95, 2, "test", within, proven, None)
        made = Tried(len(history) + 1, asked.step, asked.scheme, judgement=judged, errors=(0.1, 0.1))
        history.append(evolve(made, latency_ns=100, size_bytes=10))
        try:
            asked = rung.send(history[-1])
        except StopIteration:
            break
    return [(tried.scheme.ranges, tried.scheme.repairs) for tried in history]


def good(asked: Try) -> float:
    return 0.0 if (asked.scheme.ranges, asked.scheme.repairs) == ("mse", ("second",)) else 1.5


def test_where_chance_may_decide():
    """Every way to choose ranges is tried with every repair, once, until one of them meets the goal."""
    found = tries(good, width=5.0)
    assert ("mse", ("second",)) == found[-1]
    assert len(set(found)) == len(found)
    everything = tries(lambda asked: 1.5, width=5.0)
    assert {("mse", ("first",)), ("mse", ("second",))} <= set(everything)


def test_where_all_surely_miss():
    """Nothing more is tried where no candidate could have met the goal by luck."""
    assert not {("mse", ("first",)), ("mse", ("second",))} & set(tries(good, width=0.5))
