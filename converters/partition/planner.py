"""`plan()`: which processor computes what, decided from verdicts alone; nothing is written or sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters import registry
from converters.partition.execution import settled_execution
from converters.partition.precisions import settled
from converters.partition.refusals import check, check_names, no_execution, not_installed, unable
from converters.partition.types import (
    Alternative,
    Plan,
    PlannedOperator,
    Recipe,
    Segment,
    ends_of,
    planned_inputs,
)
from converters.quantize.scheme import AUTO
from device_agent.errors import InvalidRequest, MissingDependency

if TYPE_CHECKING:
    from converters.backends.base import Backend
    from converters.model import Model
    from converters.verdict import Verdict
    from device_agent.bundle import Execution
    from targets.schema import Processor, Target

SEARCHED = "in what the search gives it"


@frozen
class _Road:
    """A processor, the backend that compiles for it, what it would make, and how that would be run."""

    processor: Processor
    backend: Backend
    recipe: Recipe
    execution: Execution | None

    @property
    def place(self) -> str:
        """Who computes, in the words of a plan: the processor, or the device asked for in its place."""
        own = self.execution is None or self.execution.device.lower() == self.processor.name
        return self.processor.name if own or self.execution is None else self.execution.device


def plan(
    model: Model,
    target: Target,
    *,
    recipe: Recipe,
    runtime: str | None = None,
    execution: Execution | None = None,
) -> Plan:
    """Decide who computes what.

    The first processor (in the board's order of preference) that computes in the recipe's precision and
    whose backend accepts every operator takes the whole model. Where none does, the plan is that of the
    processor that refuses the fewest operators, and holds its refusals.

    Args:
        model: the model to place.
        target: the board.
        recipe: the precision asked for; `auto` becomes what it means for the model and the processor.
        runtime: that of the board which is to run it; each processor's preferred one if None.
        execution: how it is to run it, for runtimes with several processors; an empty `device` means the
            processor's own, a `precision` of None the most exact one. The usual if None.

    Raises:
        InvalidRequest: an unknown precision, io, range method or repair; the board lacks the runtime, or
            no processor of it computes in the precision; the model is quantised already and otherwise; or
            the runtime has no such execution.
        MissingDependency: the runtime's converter is not installed.
    """
    check(recipe)
    kept = model.quantized is not None
    if kept:
        recipe = _kept(model, recipe)
    roads = _roads(target, recipe, runtime, execution, kept=kept)
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for road in roads:
        try:
            verdicts[road.processor.name] = road.backend.judge(model)
        except MissingDependency as e:
            raise not_installed(e, target, road.backend.name) from e
        if all(verdict.ok for verdict in verdicts[road.processor.name]):
            break
    # min() takes the first of equals: the order of preference decides
    chosen = min(
        (road for road in roads if road.processor.name in verdicts),
        key=lambda road: sum(not verdict.ok for verdict in verdicts[road.processor.name]),
    )
    return _plan(model, target, chosen, verdicts[chosen.processor.name])


def with_alternatives(plan: Plan, model: Model, target: Target, *, recipe: Recipe) -> Plan:
    """A plan that is refused, with what the board's other runtimes would say; any other as it is."""
    if plan.accepted:
        return plan
    others = (name for name in target.runtimes if name != plan.runtime and _processors(target, name))
    return evolve(plan, alternatives=tuple(_alternative(model, target, recipe, name) for name in others))


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


def _processors(target: Target, runtime: str) -> tuple[Processor, ...]:
    """The processors of a board that a runtime drives."""
    return tuple(processor for processor in target.processors if runtime in processor.backends)


def _roads(
    target: Target, recipe: Recipe, runtime: str | None, execution: Execution | None, *, kept: bool
) -> tuple[_Road, ...]:
    """Who could carry out a recipe, in the board's order of preference; an error that says why nobody can.

    With `kept` the model is quantised already, and its ends stay as they are.
    """
    if runtime is None:
        pairs = [(processor, processor.backends[0]) for processor in target.processors]
    else:
        pairs = [(processor, runtime) for processor in _processors(target, runtime)]
    if not pairs:
        raise _no_runtime(target, str(runtime))
    backends = {name: registry.backend(name) for _, name in pairs}
    if execution is not None:
        pairs = [(processor, name) for processor, name in pairs if backends[name].places]
        if not pairs:
            raise no_execution(target, tuple(backends))
    check_names(recipe, backends.values())
    roads = []
    for processor, name in pairs:
        backend = backends[name]
        own = settled(recipe, processor, backend)
        if own is not None:
            ends = ends_of(own.precision, own.io)
            if not kept and ends not in backend.ends:
                ends = backend.ends[0]
            how = settled_execution(execution, processor) if backend.places else None
            roads.append(_Road(processor, backend, evolve(own, io=ends), how))
    if not roads:
        raise unable(recipe, target, tuple(pairs))
    return tuple(roads)


def _alternative(model: Model, target: Target, recipe: Recipe, runtime: str) -> Alternative:
    try:
        other = plan(model, target, recipe=recipe, runtime=runtime)
    except (InvalidRequest, MissingDependency) as e:
        return Alternative(runtime, accepted=False, reason=str(e))
    if other.accepted:
        return Alternative(runtime, accepted=True, reason="takes every operator")
    refused = f"refuses {len(other.refusals)} of {len(other.operators)} operators"
    return Alternative(runtime, accepted=False, reason=f"{refused}: {other.refusals[0]}")


def _no_runtime(target: Target, runtime: str) -> InvalidRequest:
    has = [name for name in target.runtimes if _processors(target, name)]
    if runtime == AUTO:
        return InvalidRequest(
            "the faster runtime is found by measuring on a device, and here is none",
            got="runtime auto",
            expected=" or ".join(has),
            next_step="`edge deploy --runtime auto` measures; or name one with `--runtime`.",
        )
    return InvalidRequest(
        f"no processor of {target.name} has the runtime {runtime!r}",
        got=runtime,
        expected=" or ".join(has),
        next_step=f"`edge targets show {target.name}` lists its processors and runtimes.",
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


def _plan(model: Model, target: Target, road: _Road, verdicts: tuple[Verdict, ...]) -> Plan:
    operators = tuple(
        PlannedOperator(
            index=operator.index,
            type=operator.type,
            name=operator.name,
            processor=road.place if verdict.ok and verdict.becomes else None,
            reason=_reason(verdict, road, kept=model.quantized is not None),
        )
        for operator, verdict in zip(model.operators, verdicts, strict=True)
    )
    refusals = tuple(verdict for verdict in verdicts if not verdict.ok)
    segment = Segment(
        road.place,
        road.backend.name,
        tuple(operator.index for operator in operators if operator.processor is not None),
    )
    return Plan(
        model=model.path.name,
        model_sha256=model.sha256,
        target=target.name,
        architecture=target.architecture,
        runtime=road.backend.name,
        runtime_version=target.runtimes[road.backend.name],
        recipe=road.recipe,
        segments=() if refusals else (segment,),
        operators=operators,
        refusals=refusals,
        inputs=planned_inputs(model),
        execution=road.execution,
    )


def _reason(verdict: Verdict, road: _Road, *, kept: bool) -> str:
    if not verdict.ok:
        return f"{road.place} cannot: {verdict.reason}"
    if not verdict.becomes:
        return verdict.reason
    quantized = ", as it was quantised before" if kept else ""
    precision = road.recipe.precision
    asked = verdict.integer.get(precision, f"in {precision}")
    return f"{road.place} runs {verdict.reason} {SEARCHED if precision == AUTO else asked}{quantized}"
