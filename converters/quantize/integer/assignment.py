"""What each operator of a float graph computes in: what a scheme asks for, as far as the runtime can."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from attrs import evolve, frozen

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.engine import Fallback
from converters.quantize.integer.parameters import UNBOUNDED
from converters.quantize.integer.prepared import Prepared, Range
from converters.quantize.integer.rules import rule_of
from converters.quantize.integer.rules.base import WIDTH, Rule
from converters.quantize.scheme import Scheme

FLOAT = "float32"
MASKS = ("SELECT", "SELECT_V2")


@frozen
class Assignment:
    """`precisions` of the operators in order, None for those that touch no float; `homes` of float tensors.

    A tensor's home is the precision of what makes it; for the graph's inputs that of the public input.
    """

    precisions: tuple[str | None, ...]
    homes: dict[str, str]
    fallbacks: tuple[Fallback, ...]


def assign(graph: Graph, ranges: Mapping[str, Range], scheme: Scheme, runtime: str) -> Assignment:
    """The precision of each operator.

    An operator that only moves values takes the precision of what is around it, where the scheme does not
    name it: between float operators it stays float.
    """
    found = _Assigning(graph, ranges, scheme, runtime)
    found.ask()
    found.demand()
    return found.settle()


def preferring(prepared: Prepared, scheme: Scheme, runtime: str) -> Scheme:
    """The scheme with what repairs prefer for operators that it does not name, where it can be had."""
    found = dict(scheme.exceptions)
    for operator in prepared.graph.operators:
        name = operator.outputs[0]
        wanted = prepared.precisions.get(name)
        if wanted is None or name in found:
            continue
        if wanted == FLOAT or refusal(prepared.graph, operator, wanted, runtime, prepared.ranges) is None:
            found[name] = wanted
    return evolve(scheme, exceptions=found)


def floats(graph: Graph, names: Collection[str | None]) -> list[str]:
    """Those of the names that are float tensors."""
    return [name for name in names if name is not None and graph.tensors[name].dtype.startswith("float")]


def computes(graph: Graph, operator: GraphOperator) -> bool:
    """Whether an operator reads or makes floats."""
    return bool(floats(graph, [*operator.inputs, *operator.outputs]))


def refusal(
    graph: Graph, operator: GraphOperator, precision: str, runtime: str, ranges: Mapping[str, Range] | None
) -> str | None:
    """Why an operator cannot be had in an integer precision, None where it can.

    Args:
        graph: float.
        operator: of the graph.
        precision: `int8` or `int16x8`.
        runtime: `litert` or `tflite`.
        ranges: of the activations; None where they are not known yet.
    """
    rule = rule_of(operator, runtime)
    own = rule.own if rule is not None else ()
    read = [name for place, name in enumerate(operator.inputs) if place not in own]
    tensors = [graph.tensors[name] for name in floats(graph, [*read, *operator.outputs])]
    for tensor in tensors:
        if tensor.variable:
            return f"it keeps its state in {tensor.name!r} from one run to the next"
    if rule is None or not rule.able:
        return "it has no integer form"
    if precision not in rule.able:
        return f"its integer form is {' or '.join(rule.able)} only"
    # the nearest integer does for infinity where values are compared or moved, but not where it masks
    saturates = rule.same == "all" and operator.type not in MASKS
    for tensor in tensors:
        if tensor.dtype != FLOAT:
            return f"{tensor.name!r} is {tensor.dtype}"
        if tensor.data is not None and np.isnan(tensor.data).any():
            return f"the constant {tensor.name!r} holds NaN"
        if tensor.data is not None and not saturates and np.abs(tensor.data).max(initial=0.0) > UNBOUNDED:
            return f"the constant {tensor.name!r} holds what stands for infinity, which no integer does"
    activation = operator.options.get("fusedActivationFunction", "NONE")
    if activation not in rule.fused:
        return f"its kernel knows no {activation} within"
    constant = rule.weights is None or graph.constant(operator.inputs[rule.weights]) is not None
    if not constant and precision not in rule.computed:
        return "its weights are computed as the model runs"
    if rule.bias is not None and len(operator.inputs) > rule.bias:
        name = operator.inputs[rule.bias]
        if name is not None and graph.constant(name) is None:
            return "its bias is computed as the model runs"
    if ranges is not None:
        for tensor in tensors:
            found = ranges.get(tensor.name)
            if tensor.data is None and not _known(found):
                return f"calibration saw no finite values of {tensor.name!r}"
            if tensor.data is None and not saturates and not _bounded(found):
                return f"calibration saw what stands for infinity in {tensor.name!r}, which no integer does"
    return rule.check(graph, operator, precision) if rule.check is not None else None


def data_inputs(rule: Rule, graph: Graph, operator: GraphOperator, precision: str) -> list[int]:
    """Positions of the inputs that are data: float, and neither constant weights nor bias."""
    weights = rule.weights
    if precision in rule.computed and graph.constant(operator.inputs[weights or 0]) is None:
        weights = None
    return [
        place
        for place, name in enumerate(operator.inputs)
        if name is not None
        and graph.tensors[name].dtype == FLOAT
        and place not in (weights, rule.bias, *rule.own)
    ]


def _known(found: Range | None) -> bool:
    return found is not None and math.isfinite(found.minimum) and math.isfinite(found.maximum)


def _bounded(found: Range | None) -> bool:
    return found is not None and max(-found.minimum, found.maximum) < UNBOUNDED


def _widest(precisions: Collection[str | None]) -> str | None:
    known = [precision for precision in precisions if precision is not None]
    return max(known, key=WIDTH.__getitem__, default=None)


class _Assigning:
    """The precisions so far."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range], scheme: Scheme, runtime: str) -> None:
        self._graph, self._ranges, self._scheme, self._runtime = graph, ranges, scheme, runtime
        self._asked: list[str | None] = []
        self._carries: list[bool] = []  # takes its precision from around it
        self._fallbacks: list[Fallback] = []
        self._demands: dict[str, str | None] = {}  # the widest precision in which a tensor is read

    def ask(self) -> None:
        """What the scheme asks for, or float32 where that cannot be had."""
        for operator in self._graph.operators:
            carries = False
            asked: str | None = None
            if computes(self._graph, operator):
                name = operator.outputs[0]
                asked = self._scheme.precision_of(name)
                if asked != FLOAT:
                    reason = self._refusal(operator, asked)
                    if reason is not None:
                        self._fall_back(operator, reason)
                        asked = FLOAT
                rule = rule_of(operator, self._runtime)
                carries = (
                    asked != FLOAT
                    and rule is not None
                    and rule.moves
                    and name not in self._scheme.exceptions
                    and len(data_inputs(rule, self._graph, operator, asked)) == 1
                )
            self._asked.append(asked)
            self._carries.append(carries)

    def demand(self) -> None:
        """In which precision every tensor is read; what only moves values passes on what is asked of it."""
        for index in reversed(range(len(self._asked))):
            operator, asked = self._graph.operators[index], self._asked[index]
            if self._carries[index]:
                asked = _widest([self._demands.get(name) for name in operator.outputs])
            for name in floats(self._graph, operator.inputs):
                self._demands[name] = _widest([self._demands.get(name), asked])

    def settle(self) -> Assignment:
        """Every operator's precision, and every tensor's home."""
        homes: dict[str, str | None] = {}
        for name in floats(self._graph, list(self._graph.inputs.values())):
            homes[name] = None if self._scheme.io == "float" else self._public(name)
        precisions: list[str | None] = []
        for index, operator in enumerate(self._graph.operators):
            precision = self._asked[index]
            if self._carries[index]:
                precision = self._carried(operator, homes)
            precisions.append(precision)
            if precision is not None:
                homes.update(dict.fromkeys(floats(self._graph, operator.outputs), precision))
        settled = {name: home or FLOAT for name, home in homes.items()}
        if self._scheme.io == "integer":
            self._note_ends(settled)
        return Assignment(tuple(precisions), settled, tuple(self._fallbacks))

    def _carried(self, operator: GraphOperator, homes: Mapping[str, str | None]) -> str:
        sources = [
            name for name in floats(self._graph, operator.inputs) if self._graph.constant(name) is None
        ]
        around = [*map(homes.get, sources), _widest([self._demands.get(name) for name in operator.outputs])]
        known = [precision for precision in around if precision is not None]
        precision = min(known, key=WIDTH.__getitem__, default=self._scheme.precision)
        if precision == FLOAT:
            return FLOAT
        reason = self._refusal(operator, precision)
        if reason is not None:
            self._fall_back(operator, reason)
            return FLOAT
        return precision

    def _public(self, name: str) -> str:
        """What an integer public input is in: the widest that it is read in."""
        precision = self._demands.get(name) or self._scheme.precision
        known = _bounded(self._ranges.get(name)) and self._graph.tensors[name].dtype == FLOAT
        return precision if known else FLOAT

    def _note_ends(self, homes: Mapping[str, str]) -> None:
        for what, ends in (("input", self._graph.inputs), ("output", self._graph.outputs)):
            for public, name in ends.items():
                if homes.get(name) == FLOAT:
                    why = "is read" if what == "input" else "is made"
                    reason = f"the {what} {public!r} stays float32: it {why} by a float operator"
                    self._fallbacks.append(Fallback(name, what.upper(), FLOAT, reason))

    def _refusal(self, operator: GraphOperator, precision: str) -> str | None:
        return refusal(self._graph, operator, precision, self._runtime, self._ranges)

    def _fall_back(self, operator: GraphOperator, reason: str) -> None:
        self._fallbacks.append(Fallback(operator.outputs[0], operator.type, FLOAT, reason))
