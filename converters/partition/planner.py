"""`plan()`: which processor computes what, decided from verdicts alone; nothing is written or sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from converters import registry
from converters.partition.precisions import precisions_of, settled
from converters.partition.types import (
    ASKED,
    Plan,
    PlannedOperator,
    Recipe,
    Segment,
    ends_of,
    planned_inputs,
)
from converters.quantize.scheme import AUTO, IO_KINDS, PRECISIONS
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.verdict import Verdict
    from targets.schema import Processor, Target

SEARCHED = "in what the search gives it"
_LIMITS = {
    "max_drop": "0 or more",
    "confidence": "between 0.5 and 1",
    "time_budget": "seconds, more than 0",
    "memory_budget": "bytes, more than 0",
}


def plan(model: Model, target: Target, *, recipe: Recipe) -> Plan:
    """Decide who computes what.

    The first processor (in the board's order of preference) that computes in the recipe's precision and
    whose backend accepts every operator takes the whole model. Where none does, the plan is that of the
    processor that refuses the fewest operators, and holds its refusals.

    Args:
        model: the model to place.
        target: the board.
        recipe: the precision asked for; `auto` becomes what it means for the model and the processor.

    Raises:
        InvalidRequest: an unknown precision or io, no processor of the board computes in it, or the model
            is quantised already and otherwise.
    """
    _check(recipe)
    if model.quantized is not None:
        recipe = _kept(model, recipe)
    recipe = evolve(recipe, io=ends_of(recipe.precision, recipe.io))
    candidates: list[tuple[Processor, Recipe]] = []
    for processor in target.processors:
        own = settled(recipe, processor, computes=registry.backend(processor.backends[0]).computes)
        if own is not None:
            candidates.append((processor, evolve(own, io=ends_of(own.precision, own.io))))
    if not candidates:
        raise _unable(recipe, target)
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for processor, _ in candidates:
        verdicts[processor.name] = registry.backend(processor.backends[0]).judge(model)
        if all(verdict.ok for verdict in verdicts[processor.name]):
            break
    # min() takes the first of equals: the order of preference decides
    chosen, own = min(
        (candidate for candidate in candidates if candidate[0].name in verdicts),
        key=lambda candidate: sum(not verdict.ok for verdict in verdicts[candidate[0].name]),
    )
    return _plan(model, target, own, chosen, verdicts[chosen.name])


def carried_out(plan: Plan, recipe: Recipe, precisions: Mapping[str, str]) -> Plan:
    """A plan whose search has ended, as what it ended with.

    Args:
        plan: that asked for a search.
        recipe: what was made.
        precisions: of source operators, by name, that compute in another than the recipe's.
    """
    operators = tuple(
        evolve(
            operator,
            reason=operator.reason.replace(SEARCHED, f"in {precisions.get(operator.name, recipe.precision)}"),
        )
        for operator in plan.operators
    )
    return evolve(plan, recipe=recipe, operators=operators)


def _check(recipe: Recipe) -> None:
    from converters.quantize.ranges import METHODS
    from converters.quantize.repairs import REPAIRS

    for what, got, known in (("precision", recipe.precision, ASKED), ("io", recipe.io, IO_KINDS)):
        if got not in known:
            raise InvalidRequest(f"unknown {what}", got=repr(got), expected=" or ".join(known))
    ranges = () if recipe.ranges is None else (recipe.ranges,)
    for what, names, has in (
        ("way to choose ranges", ranges, METHODS),
        ("repair", recipe.repairs or (), tuple(REPAIRS)),
    ):
        unknown = [name for name in names if name not in has]
        if unknown:
            raise InvalidRequest(f"unknown {what}", got=repr(unknown[0]), expected=" or ".join(has))
    asked = recipe.accuracy
    if asked is None:
        return
    if recipe.precision == "float32":
        raise InvalidRequest(
            "float32 loses nothing that could be judged",
            got="a metric or limit for float32",
            next_step="`edge convert --precision float32` keeps the model as it is.",
        )
    limits = {
        "max_drop": asked.max_drop is None or asked.max_drop >= 0,
        "confidence": 0.5 < asked.confidence < 1,
        "time_budget": asked.time_budget is None or asked.time_budget > 0,
        "memory_budget": asked.memory_budget is None or asked.memory_budget > 0,
    }
    for name, good in limits.items():
        if not good:
            raise InvalidRequest(
                f"{name} makes no sense", got=str(getattr(asked, name)), expected=_LIMITS[name]
            )


def _unable(recipe: Recipe, target: Target) -> InvalidRequest:
    """The error that says what the board's processors can do instead."""
    able = {name for processor in target.processors for name in precisions_of(processor)}
    return InvalidRequest(
        f"no processor of {target.name} computes in {recipe.precision}",
        where=target.name,
        got=recipe.precision,
        expected=" or ".join(name for name in PRECISIONS if name in able) or "nothing that can be made",
        next_step="Choose one of them with `--precision`, or another board: `edge targets list`.",
    )


def _kept(model: Model, recipe: Recipe) -> Recipe:
    """The recipe of a model that is quantised already: the one that it was made by, or a refusal."""
    kept = "int8" if model.quantized == "full" else "float32"
    if recipe.precision not in (kept, AUTO):
        raise InvalidRequest(
            "the model is quantised already, and what that rounded away cannot be brought back"
            if model.quantized == "full"
            else "the model's weights are quantised already, its activations are not",
            where=model.path.name,
            got=recipe.precision,
            expected=kept,
            next_step=f"Use `--precision {kept}`, which keeps it, or give the model it was made from.",
        )
    floats = any(spec.dtype.startswith("float") for spec in (*model.inputs, *model.outputs))
    return Recipe(kept, "float" if floats else "integer")


def _plan(
    model: Model, target: Target, recipe: Recipe, processor: Processor, verdicts: tuple[Verdict, ...]
) -> Plan:
    operators = tuple(
        PlannedOperator(
            index=operator.index,
            type=operator.type,
            name=operator.name,
            processor=processor.name if verdict.ok and verdict.becomes else None,
            reason=_reason(verdict, processor, recipe, kept=model.quantized is not None),
        )
        for operator, verdict in zip(model.operators, verdicts, strict=True)
    )
    refusals = tuple(verdict for verdict in verdicts if not verdict.ok)
    segment = Segment(
        processor.name,
        processor.backends[0],
        tuple(operator.index for operator in operators if operator.processor is not None),
    )
    return Plan(
        model=model.path.name,
        model_sha256=model.sha256,
        target=target.name,
        architecture=target.architecture,
        runtime=processor.backends[0],
        runtime_version=target.runtimes[processor.backends[0]],
        recipe=recipe,
        segments=() if refusals else (segment,),
        operators=operators,
        refusals=refusals,
        inputs=planned_inputs(model),
    )


def _reason(verdict: Verdict, processor: Processor, recipe: Recipe, *, kept: bool) -> str:
    if not verdict.ok:
        return f"{processor.name} cannot: {verdict.reason}"
    if not verdict.becomes:
        return verdict.reason
    quantized = ", as it was quantised before" if kept else ""
    asked = verdict.integer.get(recipe.precision, f"in {recipe.precision}")
    precision = SEARCHED if recipe.precision == AUTO else asked
    return f"{processor.name} runs {verdict.reason} {precision}{quantized}"
