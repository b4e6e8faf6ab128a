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
    causal_conv as _causal_conv,  # noqa: F401
    conv_transpose as _conv_transpose,  # noqa: F401
    convolution as _convolution,  # noqa: F401
    elementwise as _elementwise,  # noqa: F401
    grid_sample as _grid_sample,  # noqa: F401
    layer_norm as _layer_norm,  # noqa: F401
    matmul as _matmul,  # noqa: F401
    normalization as _normalization,  # noqa: F401
    pad as _pad,  # noqa: F401
    pooling as _pooling,  # noqa: F401
    qlinear as _qlinear,  # noqa: F401
    quantized as _quantized,  # noqa: F401
    recurrent as _recurrent,  # noqa: F401
    reduction as _reduction,  # noqa: F401
    resize as _resize,  # noqa: F401
    rotary as _rotary,  # noqa: F401
    shape as _shape,  # noqa: F401
    spectral as _spectral,  # noqa: F401
    unfold as _unfold,  # noqa: F401
)
from converters.lowering.context import Context
from converters.lowering.facts import STANDARD_DOMAINS, Facts, analyse, inputs_of
from converters.lowering.registry import CARRIED, Node, Refused, read_node
from converters.verdict import Verdict


def lower(proto: onnx.ModelProto) -> tuple[Graph | None, tuple[Verdict, ...]]:
    """The graph of an ONNX model with static inputs, and a verdict per node in the file's order.

    The graph is None if and only if a verdict is a no.

    Raises:
        InvalidModel: a node's inputs do not fit its operator.
    """
    facts = analyse(proto)
    context = Context(facts)
    for value in inputs_of(proto.graph):
        context.add_input(value.name)
    verdicts = [
        _judge(context, facts, read_node(index, node, facts.opset), node.domain)
        for index, node in enumerate(proto.graph.node)
    ]
    if not all(verdict.ok for verdict in verdicts):
        return None, tuple(verdicts)
    makers = {name: index for index, node in enumerate(proto.graph.node) for name in node.output}
    for value in proto.graph.output:
        context.source = makers.get(value.name, -1)
        context.add_output(value.name)
    remove_dead(context.graph)
    verify(context.graph)
    return context.graph, tuple(verdicts)


def _judge(context: Context, facts: Facts, node: Node, domain: str) -> Verdict:
    """Lower one node; a refusal leaves placeholders for its outputs, so that the next can be judged."""
    kind = node.type if domain in STANDARD_DOMAINS else f"{domain}.{node.type}"
    if node.index in facts.folded:
        return Verdict.yes("folded into a constant", operator=kind, place=node.name)
    if node.index in facts.dead:
        return Verdict.yes("left out: nothing reads it", operator=kind, place=node.name)
    context.source = node.index
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
    reason = "becomes " + ", ".join(made) if made else "needs no operator"
    return Verdict.yes(reason, operator=kind, place=node.name)


def _lower(context: Context, facts: Facts, node: Node, domain: str) -> None:
    if domain not in STANDARD_DOMAINS:
        raise Refused(
            "its operator set is not ONNX's own",
            got=domain,
            help="Export the model with standard ONNX operators only.",
        )
    entry = registry.entry(node.type)
    if entry is None:
        raise Refused(
            "there is no lowering of this operator yet",
            help="Replace it in the source model, or leave the part that holds it out of the export.",
        )
    for name in (*node.inputs, *node.outputs):
        if name is None:
            continue
        known = facts.types.get(name)
        if known is None:
            raise Refused(f"the shape of {name!r} is not known before the model runs")
        if 0 in known.shape:
            raise Refused(f"{name!r} has no elements", got=list(known.shape))
        if math.prod(known.shape) > MAX_ELEMENTS:
            raise Refused(f"{name!r} is too large", got=list(known.shape), limit=f"{MAX_ELEMENTS} elements")
    used = [facts.types[name].dtype for name in (*node.inputs[:1], *node.outputs[:1]) if name is not None]
    for dtype in used:
        if dtype not in CARRIED or (dtype == used[0] and dtype not in entry.dtypes):
            raise Refused(
                "it computes in a dtype that it cannot be lowered in",
                got=dtype,
                limit=", ".join(entry.dtypes),
                help="Export the model in float32.",
            )
    try:
        entry.function(context, node)
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        # attributes that contradict each other or the shapes, which shape inference lets pass
        raise Refused("its attributes and inputs do not fit together", got=f"{type(e).__name__}: {e}") from e
