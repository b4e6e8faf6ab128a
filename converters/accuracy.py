"""From a plan that asks for accuracy to the model that keeps it: what is given to a search, and got of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.partition.planner import carried_out
from converters.partition.types import Accuracy, Recipe
from converters.quantize.engine import Apart
from converters.quantize.samples.calibration import Calibration
from converters.quantize.scheme import AUTO, STATIC, Scheme
from converters.quantize.search.types import Goal
from device_agent.errors import AccuracyMissed, InvalidRequest, QuantizationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from converters.backends.base import Backend
    from converters.model import Model
    from converters.partition.types import Plan
    from converters.progress import Progress
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.engine import Built, Engine, Layer, LayerError
    from converters.quantize.samples.validation import Validation
    from converters.quantize.search.types import Candidate, Search

JUDGED_SAMPLES = 200  # of the calibration samples, where there are no others


@frozen
class Found:
    """What a search found, the model that it ended with, and the plan that says how that was made."""

    search: Search
    built: Built
    plan: Plan


def find(
    model: Model,
    plan: Plan,
    backend: Backend,
    calibration: Calibration,
    validation: Validation | None,
    *,
    resume: Path | None,
    progress: Progress,
) -> Found:
    """Search for the scheme that a plan asks for, or build and judge the one that it names.

    Args:
        model: the float source.
        plan: its recipe is `auto`, or names a precision and what accuracy must be kept.
        backend: of the plan's processor.
        calibration: real samples.
        validation: samples to judge on; the calibration samples, without labels, if None.
        resume: a journal to go on from, and to keep.
        progress: told of each stage.

    Raises:
        BudgetExceeded: the search does not fit the memory it may use.
        CalibrationError: the samples do not fit the model.
        InvalidRequest: the metric is unknown.
        MetricError: the metric cannot judge the model's outputs, or needs labels that are not there.
        QuantizationError: nothing could be built.
    """
    from converters.quantize.accuracy.metrics.choice import choose
    from converters.quantize.search import auto

    asked = plan.recipe.accuracy or Accuracy()
    judged = validation or on_calibration(calibration)
    metric, why = choose(asked.metric, model, judged)
    goal = Goal(
        max_drop=asked.max_drop or 0.0,
        confidence=asked.confidence,
        prove=asked.prove,
        time_budget=asked.time_budget,
        memory_budget=asked.memory_budget,
    )
    engine = backend.engine(model, calibration, progress)
    if engine is None:
        raise InvalidRequest(
            f"{backend.name} has nothing to search", got=plan.recipe.precision, where=plan.model
        )
    only = None if plan.recipe.precision == AUTO else plan.recipe.scheme
    search, built = auto.search(
        model, Limited(engine, plan.recipe), calibration, judged, metric, goal,
        journal=resume, progress=progress, io=plan.recipe.io, only=only,
        usual_drop=asked.max_drop is None,
    )  # fmt: skip
    search = evolve(search, notes=(*search.notes, *_notes(metric, why, asked, judged, validation)))
    return Found(search, built, _made(plan, search, asked))


def on_calibration(calibration: Calibration) -> Validation:
    """The calibration samples to judge on, without labels: at most `JUDGED_SAMPLES` from all over them."""
    from converters.quantize.samples.validation import Validation

    step = max(1, calibration.count // JUDGED_SAMPLES)
    count = min(JUDGED_SAMPLES, calibration.count)
    samples = Calibration(
        calibration.source, count, lambda: islice(calibration.samples(), 0, step * count, step)
    )
    return Validation(samples=samples, labels=None, source=calibration.source, count=count)


class Limited:
    """An engine that builds only what a recipe allows; see `Engine`.

    `ranges` and `repairs` are those the recipe names, `steps` those its processor has. A model with
    operators that are in none of them is refused.
    """

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine, self._recipe = engine, recipe
        self.name: str = getattr(engine, "name", type(engine).__name__)
        named, repairs = recipe.ranges, recipe.repairs
        self.ranges = engine.ranges if named is None else (named,)
        self.repairs = tuple(name for name in engine.repairs if repairs is None or name in repairs)
        self.steps = tuple(step for step in engine.steps if step in recipe.steps)

    def layers(self) -> tuple[Layer, ...]:
        """See `Engine`."""
        return self._engine.layers()

    def build(self, scheme: Scheme) -> Built:
        """See `Engine`."""
        built = self._engine.build(scheme)
        check_fallbacks(built, scheme, self._recipe)
        return built

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """See `Engine`."""
        return self._engine.errors(scheme, samples)

    def allow(self, seconds: float | None) -> None:
        """See `Apart`; nothing where the engine builds in this process."""
        if isinstance(self._engine, Apart):
            self._engine.allow(seconds)

    def held_bytes(self) -> int:
        """See `Apart`; 0 where the engine builds in this process."""
        return self._engine.held_bytes() if isinstance(self._engine, Apart) else 0


def check_fallbacks(built: Built, scheme: Scheme, recipe: Recipe) -> None:
    """Refuse integer models with operators in a precision that the plan's processor does not have.

    Raises:
        QuantizationError: names them, and why they are not in the precision asked for.
    """
    if scheme.precision not in STATIC:
        return
    wrong = [each for each in built.fallbacks if each.precision not in (*recipe.steps, "int8")]
    if wrong:
        raise QuantizationError(
            f"{len(wrong)} operators have no integer form, and the processor has no other",
            where=built.artifact.title,
            got="; ".join(f"{each.type} {each.layer!r}: {each.reason}" for each in wrong[:5]),
            next_step="Choose a board whose processor computes in float32 too: `edge targets list`.",
        )


def missed(search: Search, where: str) -> AccuracyMissed:
    """The error of a search that did not reach its goal."""
    best = best_of(search)
    value = "" if best.value is None else f" at {best.value:.4g} {search.unit}".rstrip()
    return AccuracyMissed(
        f"no candidate keeps the accuracy that was asked for in {search.metric}",
        where=where,
        got=f"the best of {len(search.candidates)}{value} (float {search.reference:.4g}), {search.lacks}",
        expected=f"a drop of at most {search.goal.max_drop:g} {search.unit}".rstrip(),
        next_step="Allow more with --max-drop, give more or better calibration samples, or keep more of the "
        "model in float with `--precision weight-int8`, float16 or float32. Nothing was activated.",
    )


def best_of(search: Search) -> Candidate:
    """The candidate that a search ended with."""
    return next(candidate for candidate in search.candidates if candidate.number == search.best)


def _made(plan: Plan, search: Search, asked: Accuracy) -> Plan:
    """The plan as it was carried out."""
    scheme = best_of(search).scheme
    recipe = Recipe(
        precision=scheme.precision,
        io=scheme.io,
        ranges=scheme.ranges,
        repairs=scheme.repairs,
        steps=plan.recipe.steps,
        exceptions=dict(scheme.exceptions),
        accuracy=evolve(asked, metric=search.metric, max_drop=search.goal.max_drop),
    )
    if plan.recipe.precision != AUTO:
        return evolve(plan, recipe=recipe)
    others = {
        name: error.precision
        for error in search.errors
        if error.precision != scheme.precision
        for name in (error.label or error.layer).split(", ")
    }
    return carried_out(plan, recipe, others)


def _notes(
    metric: Metric, why: str, asked: Accuracy, judged: Validation, given: Validation | None
) -> tuple[str, ...]:
    notes: tuple[str, ...] = judged.notes
    if asked.metric is None:
        notes += (f"judged by {metric.name}: {why}",)
    if not metric.labelled:
        notes += (
            f"{metric.name} compares with the float model, not with labels: it is no accuracy by itself",
        )
    if given is None:
        notes += (f"judged on {judged.count} of the samples that it was calibrated with: give --validation",)
    return notes
