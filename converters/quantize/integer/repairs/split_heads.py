"""Outputs that join ranges far apart, boxes and scores in one tensor: the parts keep steps of their own.

An int8 tensor has one step, a 255th of its range. Where a graph ends by joining boxes in pixels and scores
in 0..1, that step is that of the boxes, and of a score nothing is left. The parts stay in int8, each with its
own step, and are joined in int16, whose step is fine enough for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from converters.quantize.engine import Effect
from converters.quantize.integer.parameters import of_range, spanned
from converters.quantize.integer.rules import rule_of

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.prepared import Prepared, Range
    from converters.quantize.integer.repairs.base import Context

    Makers = Mapping[str, GraphOperator]

NAME = "split_heads"
# Of its own 255 int8 steps a part is left less than 32 past the one (the widest part's step to its own), and
# less than 64 past the other (the joint's int16 step to its own).
APART, COARSE = 8.0, 4.0
WIDE, FLOAT = "int16x8", "float32"
SCALING = frozenset({"ADD", "SUB", "MUL", "DIV"})  # with a constant they scale or shift parts
DECODING = SCALING | {"EXP", "MAXIMUM", "MINIMUM", "POW", "SQUARE"}  # makes boxes of distances


@frozen
class Part:
    """A part of what an operator makes: its tensor, None where a constant scales values apart, and step."""

    name: str | None
    step: float  # of the part alone in int8, in the unit of what is joined


@frozen
class Head:
    """A public output that joins parts whose ranges are apart.

    `least` and `most` are the int8 steps that the narrowest and the widest part have on their own. `joining`
    and `decoding` name operators by their first output: from the joint to the output, and those that compute
    the wide parts. `precision` is that of the joint.
    """

    output: str
    least: float
    most: float
    joining: tuple[str, ...]
    decoding: tuple[str, ...]
    precision: str

    def __str__(self) -> str:
        text = (
            f"output {self.output!r} joins parts whose ranges are {self.most / self.least:.3g} times apart: "
        )
        text += "joined in int16" if self.precision == WIDE else "joined in float32, as int16 is too coarse"
        return text + (f", {len(self.decoding)} operators before it in int16" if self.decoding else "")


def split_heads(prepared: Prepared, context: Context) -> Effect:
    """Choose the precision of the operators that make such outputs; see `heads`.

    The graph and its ranges stay as they are.
    """
    found = heads(prepared.graph, prepared.ranges, context.scheme.precision)
    wanted = {name: WIDE for head in found for name in head.decoding}
    wanted |= {name: head.precision for head in found for name in head.joining}
    changed = [name for name, precision in wanted.items() if prepared.precisions.get(name) != precision]
    if not changed:
        return Effect(NAME, 0, "no output joins parts whose ranges are far apart")
    prepared.precisions.update(wanted)
    return Effect(NAME, len(changed), "; ".join(map(str, found)))


def heads(graph: Graph, ranges: Mapping[str, Range], precision: str) -> tuple[Head, ...]:
    """The outputs that join parts whose ranges are too far apart for one step of `precision`.

    With int8, parts are too far apart where the int8 steps s that they have on their own (range / 255) have
    max(s) > 8 min(s). They are joined in int16 where its step, max|x| / 32767, is at most 4 min(s); else in
    float32, which only moves them. With int16x8 they are too far apart in that last case alone.

    Args:
        graph: float32.
        ranges: of its activations.
        precision: of the scheme, `int8` or `int16x8`.
    """
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    found = (_head(graph, ranges, makers, public) for public in graph.outputs)
    return tuple(
        head for head in found if head is not None and (precision == "int8" or head.precision == FLOAT)
    )


def _head(graph: Graph, ranges: Mapping[str, Range], makers: Makers, public: str) -> Head | None:
    """The head that makes a public output, None where its parts are near enough."""
    joining: list[str] = []
    behind: set[str] = set()  # tensors in which parts are mixed
    mixed: list[tuple[float, float]] = []
    wide: list[str] = []
    coarse = False
    for operator in _back(graph, makers, [graph.outputs[public]], _carries):
        parts = _parts(graph, ranges, makers, operator)
        steps = [part.step for part in parts]
        mixes = bool(parts) and max(steps) > APART * min(steps)
        if mixes:
            mixed.append((min(steps), max(steps)))
            wide += [part.name for part in parts if part.name is not None and part.step * APART > max(steps)]
            coarse = coarse or of_range(ranges[operator.outputs[0]], WIDE).scale[0] > COARSE * min(steps)
        if mixes or behind.intersection(filter(None, operator.inputs)):
            behind.update(operator.outputs)
            joining.append(operator.outputs[0])
    if not mixed:
        return None
    decoding = tuple(
        operator.outputs[0]
        for operator in _back(graph, makers, wide, _decodes)
        if operator.outputs[0] not in joining
        and not (_moves(operator) and len(_floats(graph, operator)) == 1)  # takes the precision around it
    )
    least, most = max(mixed, key=lambda pair: pair[1] / pair[0])
    return Head(public, least, most, tuple(joining), decoding, FLOAT if coarse else WIDE)


def _back(
    graph: Graph, makers: Makers, names: Iterable[str], through: Callable[[Graph, GraphOperator], bool]
) -> list[GraphOperator]:
    """The operators, in order, from which values come to these tensors through such operators alone."""
    pending = list(names)
    found: set[str] = set()
    while pending:
        operator = makers.get(pending.pop())
        if operator is not None and operator.outputs[0] not in found and through(graph, operator):
            found.add(operator.outputs[0])
            pending += _variables(graph, operator)
    return [operator for operator in graph.operators if operator.outputs[0] in found]


def _carries(graph: Graph, operator: GraphOperator) -> bool:
    """Whether an operator moves or joins what it is given, or scales or shifts it by a constant."""
    scales = operator.type in SCALING and len(_variables(graph, operator)) == 1
    return scales or _moves(operator)


def _decodes(_graph: Graph, operator: GraphOperator) -> bool:
    return operator.type in DECODING or _moves(operator)


def _moves(operator: GraphOperator) -> bool:
    rule = rule_of(operator)
    return rule is not None and rule.moves


def _floats(graph: Graph, operator: GraphOperator) -> list[str]:
    """The float tensors that an operator reads, constants too."""
    return [name for name in operator.inputs if name is not None and graph.tensors[name].dtype == FLOAT]


def _variables(graph: Graph, operator: GraphOperator) -> list[str]:
    return [name for name in _floats(graph, operator) if graph.tensors[name].data is None]


def _parts(graph: Graph, ranges: Mapping[str, Range], makers: Makers, operator: GraphOperator) -> list[Part]:
    """What an operator joins, parts that are always 0 left out; empty where its range is not known."""
    if operator.outputs[0] not in ranges:
        return []
    inputs = _floats(graph, operator)
    if _moves(operator):
        found = [Part(name, _step(graph, ranges, makers, name)) for name in inputs]
    elif operator.type == "MUL":
        own = of_range(ranges[operator.outputs[0]], "int8").scale[0]
        factors = np.abs(next(data for data in map(graph.constant, inputs) if data is not None))
        found = [Part(None, own * float(factor / factors.max())) for factor in np.unique(factors)]
    else:
        found = []
    return [part for part in found if part.step > 0]


def _step(graph: Graph, ranges: Mapping[str, Range], makers: Makers, name: str) -> float:
    """The int8 step that a tensor has on its own, 0 where it is always 0.

    Where the kernel that makes it knows only one (scores of a LOGISTIC: 1/256), that one.
    """
    constant = graph.constant(name)
    held = spanned(constant) if constant is not None else ranges.get(name)
    if held is None or held.minimum == held.maximum == 0:
        return 0.0
    maker = makers.get(name)
    while maker is not None and _moves(maker) and len(_floats(graph, maker)) == 1:
        maker = makers.get(_floats(graph, maker)[0])
    rule = rule_of(maker) if maker is not None else None
    fixed = rule.fixed.get("int8") if rule is not None else None
    return fixed.scale[0] if fixed is not None else of_range(held, "int8").scale[0]
