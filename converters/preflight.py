"""`preflight()`: what a model is and needs, and what of it a board refuses; nothing is written or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from attrs import frozen

from converters import registry
from converters.backends.litert import rewrite
from converters.graph import cost
from converters.graph.ir import Graph, GraphTensor
from converters.graph.runtimes import least_runtime, numbers, runtime_of
from converters.graph.versions import version
from converters.graph.write import write
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Plan, Recipe
from converters.quantize.integer.assignment import FLOAT
from converters.quantize.integer.coverage import left_in_float
from converters.readers.tflite import TfliteSource, graph_of, malformed
from converters.verdict import Verdict
from targets.schema import Target

# what a worker process holds before it has a model: Python, NumPy and the runtime (LiteRT 2.3 on x86-64:
# 57 MB); the null runtime needs neither
RUNTIME_BYTES = {"litert": 57_000_000, "tflite": 57_000_000}
# XNNPACK keeps a copy of the weights in an order of its own beside the file's: 105 MB of weights in a process
# were seen to take 205 MB
WEIGHT_COPIES = 2
FORMULA = "2 x weights (the file's, and XNNPACK's copy) + arena + runtime"


@frozen
class OperatorUse:
    """One version of a builtin in the compiled graph.

    `runtime` is the first TFLite runtime that has it, None where its table does not say.
    """

    type: str
    version: int
    count: int
    macs: int
    runtime: str | None


@frozen
class Memory:
    """What a model holds in one precision, in bytes; `file` with all that is no constant."""

    weights: int
    arena: int
    file: int


@frozen
class Compiled:
    """The graph that is made of a model, before quantisation.

    `memory` is by precision: as it is, and what int8 would make of a float model.
    """

    operators: tuple[OperatorUse, ...]
    macs: int  # multiply-accumulates of one run
    least_runtime: str  # of TFLite
    memory: Mapping[str, Memory]


@frozen
class Fit:
    """Whether something fits a board, in bytes; `available` and `fits` are None where that is unknown."""

    needed: int
    available: int | None
    fits: bool | None


@frozen
class TargetCheck:
    """What would become of a model on a board.

    `refusals` are all reasons why it cannot be made, `ram` and `flash` estimates (see `FORMULA`), None where
    a refusal leaves nothing to measure.
    """

    target: str
    processor: str | None
    runtime: str
    runtime_version: str
    precision: str
    refusals: tuple[Verdict, ...]
    ram: Fit | None
    flash: Fit | None

    @property
    def accepted(self) -> bool:
        """Nothing was refused and everything fits, as far as is known."""
        fits = [fit.fits for fit in (self.ram, self.flash) if fit is not None]
        return not self.refusals and False not in fits


@frozen
class Preflight:
    """What a model is and needs.

    `compiled` is None where an operator cannot be lowered; `refusals` says which and why. `target` is None
    where none was asked about.
    """

    model: Model
    operator_counts: Mapping[str, int]
    compiled: Compiled | None
    refusals: tuple[Verdict, ...]
    target: TargetCheck | None


def preflight(model: Model, target: Target | None = None, *, precision: str | None = None) -> Preflight:
    """Look at a model before anything is made of it.

    Args:
        model: from a reader.
        target: the board to compare it with; its `ram_bytes` may be unknown.
        precision: that of the deployed model; what `plan` would take if None.

    Raises:
        InvalidModel: operators of a TFLite file do not fit their tensors.
        InvalidRequest: the board or the model cannot be had in `precision`.
    """
    graph, verdicts = registry.reader(model.format).lower(model)
    file_bytes = 0
    if graph is not None:
        rewrite(graph, model)
        file_bytes = len(write(graph))
    elif isinstance(model.payload, TfliteSource):
        graph = graph_of(model)  # what is refused in it can still be counted
        file_bytes = len(model.payload.data)
    refusals = tuple(verdict for verdict in verdicts if not verdict.ok)
    compiled = None
    if graph is not None:
        with malformed(model):
            compiled = _compiled(graph, model, file_bytes)
    return Preflight(
        model=model,
        operator_counts=dict(Counter(operator.type for operator in model.operators).most_common()),
        compiled=compiled,
        refusals=refusals,
        target=None if target is None else _check(model, target, precision, compiled),
    )


def _compiled(graph: Graph, model: Model, file_bytes: int) -> Compiled:
    structure = max(0, file_bytes - cost.constant_bytes(graph))
    memory = {"float32" if model.quantized != "full" else "int8": _memory(graph, structure)}
    if model.quantized is None:
        memory["int8"] = _memory(_as_int8(graph), structure)
    uses = _uses(graph)
    return Compiled(
        operators=uses,
        macs=sum(use.macs for use in uses),
        least_runtime=least_runtime({(use.type, use.version) for use in uses}),
        memory=memory,
    )


def _uses(graph: Graph) -> tuple[OperatorUse, ...]:
    """The versions of builtins in a graph, the most frequent first."""
    counts: Counter[tuple[str, int]] = Counter()
    macs: Counter[tuple[str, int]] = Counter()
    for operator in graph.operators:
        custom = f":{operator.options['customCode']}" if operator.type == "CUSTOM" else ""
        key = (operator.type + custom, version(graph, operator))
        counts[key] += 1
        macs[key] += cost.macs_of(graph, operator)
    return tuple(
        OperatorUse(kind, number, count, macs[kind, number], runtime_of(kind, number))
        for (kind, number), count in counts.most_common()
    )


def _memory(graph: Graph, structure: int) -> Memory:
    weights = cost.constant_bytes(graph)
    return Memory(weights, cost.arena_bytes(graph), weights + structure)


def _as_int8(graph: Graph) -> Graph:
    """A float graph in the sizes that quantisation would give it: steps of a byte, biases of four."""
    biases = {
        operator.inputs[2]
        for operator in graph.operators
        if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and len(operator.inputs) > 2
    }
    tensors = {
        name: _steps(tensor, "int32" if name in biases else "int8") for name, tensor in graph.tensors.items()
    }
    return Graph(tensors, graph.operators, graph.inputs, graph.outputs)


def _steps(tensor: GraphTensor, dtype: str) -> GraphTensor:
    if not tensor.dtype.startswith("float"):
        return tensor
    data = tensor.data
    if data is not None:  # other constants stay other constants: equal ones are stored once
        with np.errstate(invalid="ignore"):  # a NaN that signals
            real = np.nan_to_num(data.astype(np.float64), posinf=0.0, neginf=0.0)
        greatest = float(np.abs(real).max(initial=0.0)) or 1.0
        data = np.rint(real / greatest * np.iinfo(dtype).max).astype(dtype)
    return GraphTensor(tensor.name, tensor.shape, dtype, data, None, tensor.variable)


def _check(model: Model, target: Target, precision: str | None, compiled: Compiled | None) -> TargetCheck:
    recipe = Recipe(precision or _usual(model, target), "integer")
    plan = planner.plan(model, target, recipe=recipe)
    refusals = plan.refusals
    if plan.accepted and compiled is not None and plan.runtime in RUNTIME_BYTES:
        if plan.recipe.precision == "int8" and model.quantized is None:
            refusals = _quantized(model, plan, target)
        else:
            refusals = _too_new(compiled.operators, plan)
    memory = compiled.memory.get(plan.recipe.precision) if compiled is not None else None
    ram = flash = None
    if memory is not None and plan.runtime in RUNTIME_BYTES:
        needed = WEIGHT_COPIES * memory.weights + memory.arena + RUNTIME_BYTES[plan.runtime]
        ram, flash = _fit(needed, target.ram_bytes), _fit(memory.file, target.flash_bytes)
    return TargetCheck(
        target=target.name,
        processor=plan.segments[0].processor if plan.segments else None,
        runtime=plan.runtime,
        runtime_version=plan.runtime_version,
        precision=plan.recipe.precision,
        refusals=refusals,
        ram=ram,
        flash=flash,
    )


def _usual(model: Model, target: Target) -> str:
    """The precision that a model is deployed in where none is asked for."""
    if model.quantized == "weights":
        return "float32"
    able = {dtype for processor in target.processors for dtype in processor.dtypes}
    return "int8" if "int8" in able else target.processors[0].dtypes[0]


def _too_new(uses: tuple[OperatorUse, ...], plan: Plan) -> tuple[Verdict, ...]:
    """What the board's runtime is too old for; LiteRT began with all that is in the table."""
    if plan.runtime != "tflite":
        return ()
    return tuple(
        Verdict.no(
            f"version {use.version} of it is newer than the board's runtime",
            operator=use.type,
            got=f"TFLite {use.runtime}",
            limit=f"TFLite {plan.runtime_version}",
        )
        for use in uses
        if use.runtime is not None and numbers(use.runtime) > numbers(plan.runtime_version)
    )


def _quantized(model: Model, plan: Plan, target: Target) -> tuple[Verdict, ...]:
    """What is refused of a float model that is to be int8."""
    graph, _ = registry.reader(model.format).lower(model)
    if graph is None:
        return ()
    rewrite(graph, model)
    with malformed(model):
        return _too_new(_uses(_as_int8(graph)), plan) + _without_int8(model, graph, plan, target)


def _without_int8(model: Model, graph: Graph, plan: Plan, target: Target) -> tuple[Verdict, ...]:
    """What has no int8 form, where the processor does not compute in float32 either."""
    name = plan.segments[0].processor
    if any(one.name == name and FLOAT in one.dtypes for one in target.processors):
        return ()
    places = {operator.index: operator.name for operator in model.operators}
    return tuple(
        Verdict.no(
            f"it has no int8 form: {reason}",
            operator=operator.type,
            place=", ".join(places[source] for source in operator.sources if source in places),
            help="Choose a board with a processor that computes in float32 too.",
        )
        for operator, reason in left_in_float(graph, runtime=plan.runtime)
    )


def _fit(needed: int, available: int | None) -> Fit:
    return Fit(needed, available, None if available is None else needed <= available)
