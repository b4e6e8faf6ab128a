"""Outputs that join ranges far apart, boxes and scores in one tensor: the parts keep steps of their own.

An int8 tensor has one step, a 255th of its range. Where a graph ends by joining boxes in pixels and scores in
0..1, that step is that of the boxes, and of a score nothing is left. The parts stay in int8, each with its own
step, and are joined in int16, whose step is fine enough for both; nothing is computed in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from converters.quantize.engine import Effect
from converters.quantize.parameters import of_range, spanned
from converters.quantize.rules import rule_of

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.prepared import Prepared, Range
    from converters.quantize.repairs.base import Context

NAME = "split_heads"
APART = 8.0  # the widest part's int8 step to the narrowest part's: past it, a part is left less than 32 steps
WIDE, FLOAT = "int16x8", "float32"
SCALES = frozenset({"ADD", "SUB", "MUL", "DIV"})  # with a constant: they scale and shift the parts
DECODES = SCALES | {"EXP", "MAXIMUM", "MINIMUM"}  # what makes boxes of a convolution's distances


@frozen
class Head:
    """A public output that joins parts whose ranges are apart.

    `steps` are the int8 steps that the narrowest and the widest part have on their own, in the output's unit.
    `joining` and `decoding` name operators by their first output: from the joint to the output, and those that
    compute the wide parts. `precision` is that of the joint.
    """

    output: str
    steps: tuple[float, float]
    joining: tuple[str, ...]
    decoding: tuple[str, ...]
    precision: str

    def __str__(self) -> str:
        ratio = self.steps[1] / self.steps[0]
        what = f"output {self.output!r} joins parts whose ranges are {ratio:.3g} times apart: joined in "
        what += "int16" if self.precision == WIDE else f"{self.precision}, int16 would be too coarse for both"
        return what + (f", {len(self.decoding)} operators that make the wide part in int16" * bool(self.decoding))


def split_heads(prepared: Prepared, context: Context) -> Effect:
    """Say in which precision the joints of outputs compute; see `heads` and `docs/quantization/heads.md`.

    The float graph and its ranges stay as they are.
    """
    found = heads(prepared.graph, prepared.ranges, context.scheme.precision)
    wanted = {name: head.precision for head in found for name in head.joining}
    wanted = {name: WIDE for head in found for name in head.decoding} | wanted
    changed = [name for name, precision in wanted.items() if prepared.precisions.get(name) != precision]
    if not changed:
        return Effect(NAME, 0, "no output joins parts whose ranges are far apart")
    prepared.precisions.update(wanted)
    return Effect(NAME, len(changed), "; ".join(map(str, found)))


def heads(graph: Graph, ranges: Mapping[str, Range], precision: str) -> tuple[Head, ...]:
    """The outputs that join parts whose ranges are too far apart for one step of `precision`.

    With int8, parts are too far apart where their own int8 steps s (range / 255) have max(s) > 8 min(s). They
    are joined in int16 where its step, max|x| / 32767, is at most min(s): then no part loses anything; else
    in float32, which moves them and computes nothing. With int16x8, parts are too far apart only in that last
    case.

    Args:
        graph: float32.
        ranges: of its activations.
        precision: of the scheme, `int8` or `int16x8`.
    """
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    found = (_head(graph, ranges, makers, public, precision) for public in graph.outputs)
    return tuple(head for head in found if head is not None)


def _head(
    graph: Graph, ranges: Mapping[str, Range], makers: Mapping[str, GraphOperator], public: str, precision: str
) -> Head | None:
    """The head that makes a public output, None where its parts are near enough."""
    tail = list(_back(graph, makers, [graph.outputs[public]], _carries))
    apart: list[tuple[float, float]] = []
    wide: list[str] = []  # inputs of joints that have the wide ranges
    mixed: set[str] = set()
    joining: list[str] = []
    coarse = False
    for operator in sorted(tail, key=graph.operators.index):
        steps = _steps(graph, ranges, makers, operator)
        mixes = bool(steps) and max(steps.values()) > APART * min(steps.values())
        if mixes:
            least, most = min(steps.values()), max(steps.values())
            apart.append((least, most))
            wide += [name for name, step in steps.items() if step * APART >= most and name in operator.inputs]
            coarse |= _joint_step(ranges, operator) > least
        if mixes or mixed.intersection(filter(None, operator.inputs)):
            mixed.update(operator.outputs)
            joining.append(operator.outputs[0])
    if not apart or (precision == WIDE and not coarse):
        return None
    decoding = [
        operator.outputs[0]
        for operator in _back(graph, makers, wide, _decodes)
        if operator.outputs[0] not in joining and not _moves_one(graph, operator)
    ]
    worst = max(apart, key=lambda pair: pair[1] / pair[0])
    return Head(public, worst, tuple(joining), tuple(decoding), FLOAT if coarse else WIDE)
