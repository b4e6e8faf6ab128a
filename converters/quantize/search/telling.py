"""A search in plain words: what became of each candidate and why, why it ended, what the best is short of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.quantize.scheme import Scheme
from converters.quantize.search.trials import NEAR_PLAIN, Tried, meets
from converters.quantize.search.types import Candidate, Goal

if TYPE_CHECKING:
    from converters.quantize.accuracy.metrics.base import Metric


def summary(tried: Tried, metric: Metric) -> str:
    """A candidate in a few words: `top1 75.1 (drop 0.2), 3.61 ms`."""
    if tried.refusal is not None:
        return tried.refusal
    if tried.slow is not None or tried.judgement is None or tried.value is None:
        return f"{_ms(tried)}: not evaluated, as {tried.slow}"
    return f"{metric.name} {tried.value:.4g} (drop {_number(tried.judgement.drop)}), {_ms(tried)}"


def reported(history: Sequence[Tried], best: Tried, metric: Metric, goal: Goal) -> tuple[Candidate, ...]:
    """Every candidate with what became of it; kept are the best and those whose changes are all in it."""
    return tuple(
        Candidate(
            number=tried.number,
            step=tried.step,
            scheme=tried.scheme,
            kept=tried is best or _part_of(tried, best, history),
            reason=_reason(tried, best, history, metric, goal),
            value=tried.value,
            judgement=tried.judgement,
            latency_ns=tried.latency_ns,
            size_bytes=tried.size_bytes,
            float_operators=tried.float_operators,
            effects=tried.effects,
            fallbacks=tried.fallbacks,
        )
        for tried in history
    )


def stopping(history: Sequence[Tried], best: Tried | None, goal: Goal) -> str:
    """Why a search that no budget ended has ended, with `best` or without one that meets the goal."""
    if best is None:
        some = any(meets(tried, goal) for tried in history)
        return "nothing that is quantised meets the goal" if some else "everything it knows was tried"
    if best is history[0]:
        return "plain int8 meets the goal"
    if best.latency <= NEAR_PLAIN * history[0].latency:
        return f"candidate {best.number} meets the goal and is as fast as plain int8"
    if best.scheme.precision == "int8" and not best.scheme.exceptions:
        more = best.latency / history[0].latency
        return f"candidate {best.number} meets the goal in {more:.2f} times plain int8's latency"
    return f"candidate {best.number} meets the goal, and nothing that was left to try promised to be faster"


def lacking(best: Tried, history: Sequence[Tried], metric: Metric, goal: Goal) -> str:
    """What the best candidate of a search that missed its goal is short of, and whether float32 is not."""
    said = _short(best, metric, goal)
    if any(meets(tried, goal) for tried in history):
        said += "; float32 keeps it: `--precision float32`"
    return said


def _short(best: Tried, metric: Metric, goal: Goal) -> str:
    """What a candidate is short of the goal."""
    judged = best.judgement
    if judged is None:
        return "it could not be judged"
    unit = f" {metric.unit}" if metric.unit else ""
    drop, allowed = f"{_number(judged.drop)}{unit}", _number(goal.max_drop)
    if goal.prove and judged.within:
        more = f": about {judged.needed} samples would prove it" if judged.needed is not None else ""
        return (
            f"{metric.name} drops by {drop} on {judged.samples} samples, which is within {allowed}, but the "
            f"bound of that at {judged.confidence:.0%} is {_number(judged.upper)}{more}"
        )
    return f"{metric.name} drops by {drop}, {allowed} is allowed"


def _reason(tried: Tried, best: Tried, history: Sequence[Tried], metric: Metric, goal: Goal) -> str:
    if tried.refusal is not None:
        return tried.refusal
    if tried.slow is not None or tried.judgement is None:
        return f"not evaluated: it takes {_ms(tried)}, and {tried.slow}"
    if tried is best:
        said = (
            "the fastest that meets the goal"
            if meets(tried, goal)
            else "the nearest to the goal of all tried"
        )
    elif meets(tried, goal) and not meets(best, goal):
        said = "meets the goal, and gains nothing over float32"
    elif meets(tried, goal):
        said = f"meets the goal in {_ms(tried)}, candidate {best.number} is as good in {_ms(best)}"
    else:
        said = _short(tried, metric, goal)
    changed = [effect for effect in tried.effects if effect.changed]
    if tried.effects and not changed:
        said += "; it found nothing to repair"
    plain = history[0]
    if tried is not plain and math.isfinite(plain.error) and plain.error > 0:
        said += f"; the output error is {_share(tried.error / plain.error)} plain int8's"
    twin = next((one for one in history[: tried.number - 1] if one.sha256 == tried.sha256), None)
    if twin is not None and tried.sha256 is not None:
        said += f"; the same file as candidate {twin.number}"
    return said


def _part_of(tried: Tried, best: Tried, history: Sequence[Tried]) -> bool:
    """Whether all that a candidate changed of plain int8 is in the best as well."""
    one, other, plain = tried.scheme, best.scheme, history[0].scheme
    if tried.judgement is None or one.key == plain.key or one.precision != other.precision:
        return False
    return (
        one.ranges in (plain.ranges, other.ranges)
        and set(one.repairs) <= set(other.repairs)
        and dict(one.exceptions).items() <= dict(other.exceptions).items()
        and not _nothing(one, other)
    )


def _nothing(one: Scheme, other: Scheme) -> bool:
    """Whether the two have nothing in common but their precision."""
    return one.ranges != other.ranges and not one.repairs and not one.exceptions


def _ms(tried: Tried) -> str:
    return f"{tried.latency / 1e6:.3g} ms"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _share(ratio: float) -> str:
    return f"{100 * ratio:.3g} % of" if ratio < 2 else f"{ratio:.3g} times"
