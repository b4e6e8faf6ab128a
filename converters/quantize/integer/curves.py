"""Elementwise operators that follow one tensor, as one operator: a function of it, which a table holds.

Softplus `log(1 + e^x)` and Mish `x tanh(softplus(x))` are some operators each, and what is between them spans
ranges that no integer resolves: e^x up to hundreds, while the result needs its values near 0. As the function
of one tensor all of it is a table, as exact as its ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.integer.parameters import UNBOUNDED
from converters.quantize.integer.rules import CURVE, functions, rule_of
from converters.quantize.scheme import STATIC

if TYPE_CHECKING:
    from converters.quantize.integer.prepared import Range
    from converters.quantize.scheme import Scheme

Array = np.ndarray
_UNARY: dict[str, Callable[[Array, Mapping[str, Any]], Array]] = {
    "ABS": lambda x, _: np.abs(x),
    "CEIL": functions.ceil,
    "COS": functions.cos,
    "ELU": functions.elu,
    "EXP": functions.exp,
    "FLOOR": functions.floor,
    "GELU": functions.gelu,
    "HARD_SWISH": functions.hard_swish,
    "LEAKY_RELU": functions.leaky_relu,
    "LOG": functions.log,
    "LOGISTIC": lambda x, _: 0.5 + 0.5 * np.tanh(0.5 * x),
    "NEG": lambda x, _: -x,
    "RELU": lambda x, _: np.maximum(x, 0.0),
    "RELU6": lambda x, _: np.clip(x, 0.0, 6.0),
    "RELU_0_TO_1": lambda x, _: np.clip(x, 0.0, 1.0),
    "RELU_N1_TO_1": lambda x, _: np.clip(x, -1.0, 1.0),
    "ROUND": functions.nearest,
    "RSQRT": functions.rsqrt,
    "SIGN": functions.sign,
    "SIN": functions.sin,
    "SQRT": functions.sqrt,
    "SQUARE": functions.square,
    "TANH": lambda x, _: np.tanh(x),
}
_BINARY: dict[str, Callable[[Array, Array, Mapping[str, Any]], Array]] = {
    "ADD": lambda x, y, _: x + y,
    "DIV": lambda x, y, _: x / y,
    "FLOOR_DIV": functions.floor_divide,
    "FLOOR_MOD": functions.floor_mod,
    "MAXIMUM": lambda x, y, _: np.maximum(x, y),
    "MINIMUM": lambda x, y, _: np.minimum(x, y),
    "MUL": lambda x, y, _: x * y,
    "POW": functions.power,
    "SQUARED_DIFFERENCE": lambda x, y, _: np.square(x - y),
    "SUB": lambda x, y, _: x - y,
}
_FUSED = {"NONE": None, "RELU": "RELU", "RELU6": "RELU6", "RELU_N1_TO_1": "RELU_N1_TO_1"}
_STEEP = ("DIV", "EXP", "LOG", "RSQRT")  # have kernels, but what they make spans too much


@frozen
class _Region:
    """Operators, by their places, that make one tensor of `source`."""

    source: str
    operators: frozenset[int]


def joined(graph: Graph, ranges: Mapping[str, Range], scheme: Scheme, runtime: str) -> Graph:
    """The graph with a CURVE in place of operators that are a function of one tensor.

    Two or more of them are joined where nothing else reads what is between them, all are asked for in the
    same precision, and one is steep or has no kernel: others are as good, and faster, by themselves.

    Args:
        graph: float; not changed.
        ranges: of the activations.
        scheme: an operator that it names is left alone unless all of a curve are.
        runtime: `litert` or `tflite`.
    """
    regions = _regions(graph)
    read: defaultdict[str, set[int]] = defaultdict(set)
    for index, operator in enumerate(graph.operators):
        for name in operator.inputs:
            if name is not None:
                read[name].add(index)
    taken: set[int] = set()
    made: dict[int, GraphOperator] = {}
    for index in reversed(range(len(graph.operators))):
        region = regions.get(graph.operators[index].outputs[0]) if graph.operators[index].outputs else None
        if region is None or taken & region.operators or not _closed(graph, region, index, read):
            continue
        if _worth(graph, region, index, scheme, runtime) and _ranged(graph, region, index, ranges):
            taken |= region.operators
            made[index] = _curve(graph, region, index)
    if not made:
        return graph
    operators = [
        made.get(index, operator)
        for index, operator in enumerate(graph.operators)
        if index in made or index not in taken
    ]
    return evolve(graph, operators=operators)


def _regions(graph: Graph) -> dict[str, _Region]:
    found: dict[str, _Region] = {}
    for index, operator in enumerate(graph.operators):
        varying = [name for name in operator.inputs if name is not None and graph.constant(name) is None]
        if not varying or not _elementwise(graph, operator):
            continue
        # an operand is a function of its own source, or itself the source of the others
        sources = {found[name].source for name in varying if name in found}
        if len(sources) != 1 or not all(name in found or name in sources for name in varying):
            sources = set(varying)
        if len(sources) != 1:
            continue
        (source,) = sources
        if graph.tensors[source].shape != graph.tensors[operator.outputs[0]].shape:
            continue
        parts = [found[name].operators for name in varying if name in found and name != source]
        found[operator.outputs[0]] = _Region(source, frozenset({index}).union(*parts))
    return found


def _elementwise(graph: Graph, operator: GraphOperator) -> bool:
    if operator.type not in _UNARY and operator.type not in _BINARY:
        return False
    if operator.options.get("fusedActivationFunction", "NONE") not in _FUSED:
        return False
    tensors = [graph.tensors[name] for name in (*operator.inputs, *operator.outputs) if name is not None]
    plain = all(tensor.dtype == "float32" and not tensor.variable for tensor in tensors)
    return plain and all(tensor.data is None or tensor.data.size == 1 for tensor in tensors)


def _closed(graph: Graph, region: _Region, last: int, read: Mapping[str, set[int]]) -> bool:
    """Whether nothing but the region reads what is made within it."""
    within = {graph.operators[index].outputs[0] for index in region.operators if index != last}
    return not within & set(graph.outputs.values()) and all(read[name] <= region.operators for name in within)


def _worth(graph: Graph, region: _Region, last: int, scheme: Scheme, runtime: str) -> bool:
    precision = scheme.precision_of(graph.operators[last].outputs[0])
    operators = [graph.operators[index] for index in region.operators]
    if len(operators) < 2 or precision not in STATIC:
        return False
    if any(scheme.precision_of(operator.outputs[0]) != precision for operator in operators):
        return False
    rules = [rule_of(operator, runtime) for operator in operators]
    lacking = any(rule is not None and precision not in rule.precisions for rule in rules)
    return lacking or any(operator.type in _STEEP for operator in operators)


def _ranged(graph: Graph, region: _Region, last: int, ranges: Mapping[str, Range]) -> bool:
    ends = [ranges.get(name) for name in (region.source, graph.operators[last].outputs[0])]
    return all(end is not None and max(-end.minimum, end.maximum) < UNBOUNDED for end in ends)


def _curve(graph: Graph, region: _Region, last: int) -> GraphOperator:
    operators = [graph.operators[index] for index in sorted(region.operators)]
    output = graph.operators[last].outputs[0]

    def function(x: Array, _: Mapping[str, Any]) -> Array:
        values: dict[str, Array] = {region.source: x}
        with np.errstate(all="ignore"):  # what is no number is 0 in a table
            for operator in operators:
                values[operator.outputs[0]] = _value(graph, operator, values)
        return values[output]

    sources = tuple(dict.fromkeys(source for operator in operators for source in operator.sources))
    return GraphOperator(CURVE, [region.source], [output], {"function": function}, sources)


def _value(graph: Graph, operator: GraphOperator, values: Mapping[str, Array]) -> Array:
    given = []
    for name in operator.inputs:
        held = graph.constant(name)
        given.append(values[name or ""] if held is None else held.astype(np.float64).reshape(()))
    if operator.type in _UNARY:
        found = _UNARY[operator.type](given[0], operator.options)
    else:
        found = _BINARY[operator.type](given[0], given[1], operator.options)
    fused = _FUSED[operator.options.get("fusedActivationFunction", "NONE")]
    return found if fused is None else _UNARY[fused](found, {})
