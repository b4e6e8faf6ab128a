"""Lowers a whole ONNX graph: every node is judged, and the graph is built as far as it goes."""

from __future__ import annotations

import math

import onnx

from converters.graph.ir import Graph, GraphTensor
from converters.graph.passes.dead import remove_dead
from converters.graph.verify import MAX_ELEMENTS, verify
from converters.lowering import registry

# imported for the lowerings they register
from converters.lowering import (  # isort: skip
    activation as _activation,  # noqa: F401
    attention as _attention,  # noqa: F401
    bits as _bits,  # noqa: F401
    causal_conv as _causal_conv,  # noqa: F401
    comparison as _comparison,  # noqa: F401
    conv_transpose as _conv_transpose,  # noqa: F401
    convolution as _convolution,  # noqa: F401
    cumulative as _cumulative,  # noqa: F401
    deform_conv as _deform_conv,  # noqa: F401
    elementwise as _elementwise,  # noqa: F401
    functions as _functions,  # noqa: F401
    gathering as _gathering,  # noqa: F401
    grid_sample as _grid_sample,  # noqa: F401
    layer_norm as _layer_norm,  # noqa: F401
    matmul as _matmul,  # noqa: F401
    normalization as _normalization,  # noqa: F401
    pad as _pad,  # noqa: F401
    pooling as _pooling,  # noqa: F401
    qlinear as _qlinear,  # noqa: F401
    quantized as _quantized,  # noqa: F401
    ranking as _ranking,  # noqa: F401
    rectifiers as _rectifiers,  # noqa: F401
    recurrent as _recurrent,  # noqa: F401
    reduction as _reduction,  # noqa: F401
    regions as _regions,  # noqa: F401
    resize as _resize,  # noqa: F401
    rotary as _rotary,  # noqa: F401
    scattering as _scattering,  # noqa: F401
    shape as _shape,  # noqa: F401
    slicing as _slicing,  # noqa: F401
    spectral as _spectral,  # noqa: F401
    tiling as _tiling,  # noqa: F401
    unfold as _unfold,  # noqa: F401
)
from converters.lowering.context import Context
from converters.lowering.facts import STANDARD_DOMAINS, Facts, Step, analyse, inputs_of
from converters.lowering.images import image_ends
from converters.lowering.registry import CARRIED, Node, Refused, read_node
from converters.lowering.widening import widened
from converters.readers.base import Held
from converters.verdict import Verdict

_BECOMES = "becomes "
_FOLDED = "folded into a constant"
_NOTHING = "needs no operator"
# operators that have no lowering of their own, but have one where what decides them is constant
_UNDECIDED = {
    "Compress": "what it keeps is known",
    "ConstantOfShape": "its shape is known",
    "If": "its condition is known",
    "Loop": "how often it runs, or what it collects, is known",
    "NonZero": "how many elements it finds is known",
    "Range": "its length is known",
    "Unique": "how many elements it finds is known",
}
_TAKE_INFINITY = ("Clip", "Pad")
_FLAGS = (
    "ceil_mode",
    "count_include_pad",
    "exclusive",
    "keepdims",
    "largest",
    "reverse",
    "sorted",
    "transA",
    "transB",
)
_TAKE_EMPTY = ("Concat", "Split")  # operands without elements, which they leave out


def facts_of(proto: onnx.ModelProto) -> Facts:
    """What is known of a model before it runs; see `facts.analyse`."""
    return analyse(proto, lambda operator: registry.entry(operator) is not None)


def lower(proto: onnx.ModelProto, *, channels_last: bool = False) -> tuple[Graph | None, tuple[Verdict, ...]]:
    """The graph of an ONNX model with static inputs, and a verdict per node in the file's order.

    The graph is None if and only if a verdict is a no. With `channels_last` the inputs and outputs that are
    images (see `images`) are NHWC in it.

    Raises:
        InvalidModel: a node's inputs do not fit its operator.
    """
    context, verdicts = _build(proto, channels_last=channels_last)
    return (context.graph if context is not None else None), verdicts


def held_values(proto: onnx.ModelProto, *, channels_last: bool = False) -> tuple[Held, ...]:
    """What the graph that `lower` makes holds of the values that the file's own nodes compute, in order.

    Empty where it makes none. What is a constant in the graph is left out.
    """
    context, _ = _build(proto, channels_last=channels_last)
    found = []
    for index, node in enumerate(proto.graph.node):
        for name in node.output:
            value = context.value(name) if context is not None and name else None
            if value is not None:
                inputs = tuple(read for read in node.input if read)
                found.append(Held(name, index, inputs, value.tensor, value.order))
    return tuple(found)


def _build(proto: onnx.ModelProto, *, channels_last: bool) -> tuple[Context | None, tuple[Verdict, ...]]:
    """The context with the whole graph in it, None if a verdict is a no; and the verdicts."""
    facts = facts_of(proto)
    context = Context(facts)
    images = image_ends(proto.graph, facts) if channels_last else frozenset()
    for value in inputs_of(proto.graph):
        context.add_input(value.name, channels_last=value.name in images)
    judged: list[list[Verdict]] = [[] for _ in proto.graph.node]
    for place, step in enumerate(facts.steps):
        judged[step.source].append(_judge(context, facts, place, step))
    verdicts = tuple(
        _summary(read_node(index, node, 0), node.domain, judged[index])
        for index, node in enumerate(proto.graph.node)
    )
    if not all(verdict.ok for verdict in verdicts):
        return None, verdicts
    makers = {name: step.source for step in facts.steps for name in step.node.output}
    for value in proto.graph.output:
        context.source = makers.get(value.name, -1)
        context.add_output(value.name, channels_last=value.name in images)
    remove_dead(context.graph)
    verify(context.graph)
    return context, verdicts


def _kind(operator: str, domain: str) -> str:
    return operator if domain in STANDARD_DOMAINS else f"{domain}.{operator}"


def _summary(node: Node, domain: str, verdicts: list[Verdict]) -> Verdict:
    """The verdict on a node of the file, of those on the nodes it stands for."""
    kind = _kind(node.type, domain)
    if len(verdicts) == 1 and verdicts[0].operator == kind:
        return verdicts[0]
    for no in (verdict for verdict in verdicts if not verdict.ok):
        reason = f"{no.operator}, which it stands for: {no.reason}"
        return Verdict.no(reason, operator=kind, place=node.name, got=no.got, limit=no.limit, help=no.help)
    made = [verdict.reason.removeprefix(_BECOMES) for verdict in verdicts if _BECOMES in verdict.reason]
    reason = verdicts[-1].reason if verdicts else _NOTHING  # the last gives what the node gives
    if made:
        reason = _BECOMES + ", ".join(made)
    return Verdict.yes(reason, operator=kind, place=node.name)


def _judge(context: Context, facts: Facts, place: int, step: Step) -> Verdict:
    """Lower one step; a refusal leaves placeholders for its outputs, so that the next can be judged."""
    node = read_node(step.source, step.node, step.opset)
    domain = step.node.domain
    kind = _kind(node.type, domain)
    if place in facts.folded:
        return Verdict.yes(_FOLDED, operator=kind, place=node.name)
    if place in facts.dead:
        return Verdict.yes("left out: nothing reads it", operator=kind, place=node.name)
    context.source = step.source
    before = len(context.graph.operators)
    try:
        _lower(context, facts, node, domain)
    except Refused as no:
        for name in node.outputs:
            if name is not None and name in facts.types:
                known = facts.types[name]
                context.graph.tensors[name] = GraphTensor(name, known.shape, known.dtype)
                context.bind(name, name)
        return Verdict.no(no.reason, operator=kind, place=node.name, got=no.got, limit=no.limit, help=no.help)
    made = [operator.type for operator in context.graph.operators[before:]]
    reason = _BECOMES + ", ".join(made) if made else _NOTHING
    return Verdict.yes(reason, operator=kind, place=node.name)


def _lower(context: Context, facts: Facts, node: Node, domain: str) -> None:
    if domain not in STANDARD_DOMAINS:
        raise Refused(
            "its operator set is not ONNX's own",
            got=domain,
            help="Export the model with standard ONNX operators only.",
        )
    entry = registry.entry(node.type)
    if entry is None and node.type in _UNDECIDED:
        raise Refused(
            f"{_UNDECIDED[node.type]} only when the model runs",
            help="Bind the input that decides it to a constant.",
        )
    if entry is None:
        raise Refused(
            "there is no lowering of this operator yet",
            help="Replace it in the source model, or leave the part that holds it out of the export.",
        )
    for attribute, value in node.attributes.items():
        if isinstance(value, float) and not math.isfinite(value) and node.type not in _TAKE_INFINITY:
            raise Refused(f"its attribute {attribute} is not a finite number", got=value)
        if attribute in _FLAGS and value not in (0, 1):  # runtimes take other numbers for yes or for no
            raise Refused(f"its attribute {attribute} is neither 0 nor 1", got=value)
        if attribute == "axis" and node.inputs and node.inputs[0] in facts.types:
            rank = len(facts.types[node.inputs[0] or ""].shape) + 1  # some put an axis in
            if not -rank <= value <= rank:
                raise Refused("its axis is none that its input has", got=value, limit=rank - 1)
    for name in (*node.inputs, *node.outputs):
        if name is None:
            continue
        known = facts.types.get(name)
        if known is None:
            raise Refused(f"the shape of {name!r} is not known before the model runs")
        operand = name in facts.constants and name != node.inputs[0]  # axes, say: none of them
        if 0 in known.shape and not operand and node.type not in _TAKE_EMPTY:
            raise Refused(f"{name!r} has no elements", got=list(known.shape))
        if math.prod(known.shape) > MAX_ELEMENTS:
            raise Refused(f"{name!r} is too large", got=list(known.shape), limit=f"{MAX_ELEMENTS} elements")
    used = [facts.types[name].dtype for name in (*node.inputs[:1], *node.outputs[:1]) if name is not None]
    through = entry.through.get(used[0]) if used else None
    for dtype in used:
        if dtype not in CARRIED or (dtype == used[0] and dtype not in entry.dtypes and through is None):
            raise Refused(
                "it computes in a dtype that it cannot be lowered in",
                got=dtype,
                limit=", ".join((*entry.dtypes, *entry.through)),
                help="Export the model in float32.",
            )
    try:
        if through is not None:
            widened(context, node, used[0], through, entry.function)
        else:
            entry.function(context, node)
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        # attributes that contradict each other or the shapes, which shape inference lets pass
        raise Refused("its attributes and inputs do not fit together", got=f"{type(e).__name__}: {e}") from e
