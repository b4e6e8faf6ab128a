"""`plan()`: which processor computes what, decided from verdicts alone; nothing is written or sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from converters import registry
from converters.partition.types import (
    IO_KINDS,
    PRECISIONS,
    Plan,
    PlannedOperator,
    Recipe,
    Segment,
    planned_inputs,
)
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.verdict import Verdict
    from targets.schema import Processor, Target


def plan(model: Model, target: Target, *, recipe: Recipe) -> Plan:
    """Decide who computes what.

    The first processor (in the board's order of preference) that computes in the recipe's precision and
    whose backend accepts every operator takes the whole model. Where none does, the plan is that of the
    processor that refuses the fewest operators, and holds its refusals.

    Args:
        model: the model to place.
        target: the board.
        recipe: the precision asked for.

    Raises:
        InvalidRequest: an unknown precision or io, no processor of the board computes in it, or the model
            is quantised already and otherwise.
    """
    _check(recipe, target)
    if recipe.precision == "float32":
        recipe = evolve(recipe, io="float")
    if model.quantized is not None:
        recipe = _kept(model, recipe)
    candidates = [processor for processor in target.processors if recipe.precision in processor.dtypes]
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for processor in candidates:
        verdicts[processor.name] = registry.backend(processor.backend).judge(model)
        if all(verdict.ok for verdict in verdicts[processor.name]):
            break
    # min() takes the first of equals: the order of preference decides
    chosen = min(
        (processor for processor in candidates if processor.name in verdicts),
        key=lambda processor: sum(not verdict.ok for verdict in verdicts[processor.name]),
    )
    return _plan(model, target, recipe, chosen, verdicts[chosen.name])


def _check(recipe: Recipe, target: Target) -> None:
    for what, got, known in (("precision", recipe.precision, PRECISIONS), ("io", recipe.io, IO_KINDS)):
        if got not in known:
            raise InvalidRequest(f"unknown {what}", got=repr(got), expected=" or ".join(known))
    able = sorted({dtype for processor in target.processors for dtype in processor.dtypes})
    if recipe.precision not in able:
        raise InvalidRequest(
            f"no processor of {target.name} computes in {recipe.precision}",
            where=target.name,
            got=recipe.precision,
            expected=" or ".join(able),
            next_step="Choose one of them with `--precision`, or another board: `edge targets list`.",
        )


def _kept(model: Model, recipe: Recipe) -> Recipe:
    """The recipe of a model that is quantised already: the one that it was made by, or a refusal."""
    kept = "int8" if model.quantized == "full" else "float32"
    if recipe.precision != kept:
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
        processor.backend,
        tuple(operator.index for operator in operators if operator.processor is not None),
    )
    return Plan(
        model=model.path.name,
        model_sha256=model.sha256,
        target=target.name,
        architecture=target.architecture,
        runtime=processor.backend,
        runtime_version=target.runtimes[processor.backend],
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
    return f"{processor.name} runs {verdict.reason} in {recipe.precision}{quantized}"
