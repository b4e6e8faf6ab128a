"""The ladder: from plain int8 to what keeps the accuracy, measuring every step; docs/quantization/ladder.md.

`rungs` and `culprits` decide, `attempts` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from converters.quantize.scheme import Scheme
from converters.quantize.search import rungs
from converters.quantize.search.attempts import Attempts
from converters.quantize.search.budget import Budget
from converters.quantize.search.culprits import Option, culprits, options
from converters.quantize.search.groups import Group, extra_ns, grouped
from converters.quantize.search.telling import lacking, reported, stopping
from converters.quantize.search.trials import Tried, Try, fastest, gainful, nearest
from converters.quantize.search.types import Culprit, Search
from device_agent.errors import QuantizationError

if TYPE_CHECKING:
    from converters.progress import Progress
    from converters.quantize.accuracy.metrics.base import Evaluation, Metric
    from converters.quantize.engine import Built, Engine
    from converters.quantize.search.journal import Journal
    from converters.quantize.search.trials import Bench
    from converters.quantize.search.types import Goal


def run(
    engine: Engine,
    goal: Goal,
    bench: Bench,
    *,
    metric: Metric,
    reference: Evaluation,
    source: str,
    io: str,
    journal: Journal | None,
    progress: Progress,
    budget: Budget | None = None,
    only: Scheme | None = None,
) -> tuple[Search, Built]:
    """Search for the fastest scheme that meets the goal.

    Args:
        engine: builds candidates.
        goal: what is asked for. That it is missed is no error: `Search.met` says so.
        bench: measures them.
        metric: its name and unit.
        reference: the float model on the validation samples.
        source: where those came from.
        io: `integer` or `float`, of the model's own inputs and outputs.
        journal: what is in it is not computed again; None: nothing is kept.
        progress: told of every candidate.
        budget: time and memory; those of the goal, from now on, if None.
        only: build and judge this scheme alone.

    Raises:
        CalibrationError: the engine has no samples.
        QuantizationError: no candidate could be built and judged; says why of each.
    """
    if budget is None:
        budget = Budget(goal.time_budget, goal.memory_budget)
    done = Attempts(engine, bench, metric, journal, progress, budget)
    if only is not None:
        done.attempt(Try(f"{only.precision}, as asked", only))
        stopped: str | None = "only this was asked for"
        found: tuple[Culprit, ...] = ()
    else:
        stopped, found = _search(done, goal, io)
    history = done.history
    # float32 is tried to say what it would keep; who asks for a quantised model is not given another
    float_ns = done.latencies.get("float32") if "float32" in engine.steps else None
    asked = history if only is not None else gainful(history, float_ns)
    met = fastest(asked, goal)
    best = met or nearest(asked, goal) or nearest(history, goal)
    if best is None:
        raise QuantizationError(
            "no candidate could be built and judged",
            got="; ".join(f"{tried.step}: {tried.refusal}" for tried in history),
        )
    built = done.building(best)
    progress("errors of the layers", 0, 0)
    plain_errors = done.layer_errors(history[0])
    search = Search(
        metric=metric.name,
        unit=metric.unit,
        goal=goal,
        samples=source,
        count=len(reference.kept),
        reference=reference.value,
        reference_latency_ns=done.latencies.get("float32"),
        candidates=reported(history, best, metric, goal),
        best=best.number,
        met=met is not None,
        stopped=stopped or stopping(history, met, goal),
        lacks="" if met is not None else lacking(best, history, metric, goal),
        culprits=found,
        errors=plain_errors if best is history[0] else done.layer_errors(best),
        seconds=budget.spent,
        plain_errors=plain_errors,
        notes=tuple(done.notes),
    )
    return search, built


def _search(done: Attempts, goal: Goal, io: str) -> tuple[str | None, tuple[Culprit, ...]]:
    """All rungs: why a budget ended them, None where none did, and the culprits that were found."""
    engine, history = done.engine, done.history
    space = rungs.Space(engine.ranges, engine.repairs, engine.steps, io, goal, None)
    done.attempt(Try("plain int8", rungs.plain(space)))
    done.time("float32", Scheme("float32", "float"))
    space = evolve(space, float_ns=done.latencies.get("float32"))
    done.notes.extend(rungs.no_gain(space, history))
    stopped = _follow(rungs.without_exceptions(space, history), done)
    start = rungs.base(history)
    found: tuple[Culprit, ...] = ()
    if stopped is None and space.steps and start is not None and not rungs.done(space, history):
        choices, found = _looked(done, space, start)
        stopped = _follow(rungs.with_exceptions(space, history, start, choices), done)
    if stopped is None:
        stopped = _follow(rungs.at_the_end(space, history), done)
    return stopped, found


def _follow(rung: rungs.Rung, done: Attempts) -> str | None:
    """Do what a rung decides; why a budget ended it, None where none did."""
    try:
        step = next(rung)
        while True:
            over = done.budget.over()
            if over is not None:
                return over
            step = rung.send(done.attempt(step))
    except StopIteration:
        return None


def _looked(done: Attempts, space: rungs.Space, start: Tried) -> tuple[Sequence[Option], tuple[Culprit, ...]]:
    """Look at single layers: what each may be given, and those that lose the accuracy."""
    if "int16x8" in space.steps:
        done.time("int16x8", evolve(start.scheme, precision="int16x8"))
    groups, gains = done.look(grouped(done.engine.layers()), space.steps, start)
    if gains.note:
        done.notes.append(gains.note)
    macs = sum(group.macs for group in groups)

    def extra(group: Group, step: str) -> float:
        return extra_ns(group, step, done.latencies, macs, gains.extra_ns.get((group.key, step)))

    return options(groups, gains, space.steps, extra), culprits(groups, gains)
