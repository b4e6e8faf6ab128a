"""Tensors whose channels may be scaled together, between the weights that absorb the scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field

from converters.quantize.integer.repairs.weighted import Weighted, reads_evenly, weighted

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator

# f(x / s) = f(x) / s for s > 0, channel by channel, and nothing but the first input is data
_MOVERS = frozenset(
    {"ABS", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "LEAKY_RELU", "MAX_POOL_2D", "MIRROR_PAD", "NEG", "PAD"}
    | {"PRELU", "RELU", "RELU6", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND"}
)
_REDUCTIONS = frozenset(["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
_RESHAPES = frozenset(["RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SPACE_TO_DEPTH"])
_JOINS = frozenset(["ADD", "SUB", "MAXIMUM", "MINIMUM"])
_PRODUCTS = frozenset(["MUL", "DIV"])
_HOMOGENEOUS = ("NONE", "RELU")  # fused activations; RELU6 below its bound too


@define
class Group:
    """Tensors that are scaled by the same factor per channel, who makes and who reads them.

    The channel of a value is its place in the flat tensor modulo `channels`: `factor` tiled to the last axis.
    `added` are constants that are added to them: operator and place. `bounded` are those of the tensors that
    a RELU6 makes: the factor must keep them below 6 where they are.
    """

    tensors: list[str]
    channels: int
    makers: list[Weighted] = field(factory=list)
    readers: list[Weighted] = field(factory=list)
    added: list[tuple[GraphOperator, int]] = field(factory=list)
    bounded: list[str] = field(factory=list)


def groups(graph: Graph) -> list[Group]:
    """All of them, in execution order.

    The channels of a tensor may be scaled if whatever makes it and whatever reads it either has weights
    that absorb the factor, or computes the same of scaled channels and hands the scale on. Inputs and
    outputs of the graph stay as they are.
    """
    finder = _Finder(graph)
    for operator in graph.operators:
        finder.add(operator)
    return finder.groups()


class _Finder:
    """Joins tensors into groups operator by operator; a group that cannot be scaled is barred."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._over: dict[str, str] = {}  # union-find
        self._barred = {*graph.inputs.values(), *graph.outputs.values()}
        self._barred.update(name for name, tensor in graph.tensors.items() if tensor.variable)
        self._makers: list[Weighted] = []
        self._readers: list[Weighted] = []
        self._added: list[tuple[GraphOperator, int, str]] = []
        self._bounded: list[str] = []
        self._reads: dict[str, int] = {}
        for name in (name for operator in graph.operators for name in operator.inputs):
            if name is not None:
                self._reads[name] = self._reads.get(name, 0) + 1

    def add(self, operator: GraphOperator) -> None:
        """Take in an operator: its tensors are joined, absorb a factor, or are barred."""
        activation = operator.options.get("fusedActivationFunction", "NONE")
        layer = weighted(self._graph, operator)
        if operator.type == "RELU6" or activation == "RELU6":
            self._bounded.append(operator.outputs[0])
        elif activation not in _HOMOGENEOUS:
            self._barred.add(operator.outputs[0])
        if layer is not None and self._reads[layer.weights] == 1 and reads_evenly(self._graph, layer):
            self._readers.append(layer)
            self._makers.append(layer)
            return
        handed = self._handed(operator)
        names = [name for name in operator.inputs if name is not None and self._is_value(name)]
        for name in (*names, *operator.outputs):
            if name in handed:
                self._join(name, operator.outputs[0])
            else:
                self._barred.add(name)

    def _handed(self, operator: GraphOperator) -> set[str]:
        """The tensors of an operator that are scaled by the same factor; nothing where none may be."""
        source, output = operator.inputs[0] if operator.inputs else None, operator.outputs[0]
        if source is None or len(operator.outputs) != 1 or not self._shape(output):
            return set()
        if operator.type in _JOINS:
            return self._joined(operator)
        if operator.type in _PRODUCTS:
            return self._multiplied(operator)
        if not self._is_value(source) or not self._shape(source):
            return set()
        alike = self._shape(source)[-1:] == self._shape(output)[-1:]
        if operator.type in _RESHAPES:
            return {source, output}
        if operator.type == "TRANSPOSE":
            order = self._graph.constant(operator.inputs[1])
            last = order is not None and int(order.reshape(-1)[-1]) == len(self._shape(output)) - 1
            return {source, output} if last else set()
        if operator.type in _REDUCTIONS:
            axes = self._graph.constant(operator.inputs[1])
            rank = len(self._shape(source))
            keeps = axes is not None and not np.isin(axes.reshape(-1) % rank, rank - 1).any()
            return {source, output} if keeps else set()
        if operator.type == "CONCATENATION":
            read = {name for name in operator.inputs if name is not None}
            return {*read, output} if all(map(self._is_value, read)) else set()
        if operator.type in _MOVERS:
            return {source, output} if alike else set()
        return set()

    def _joined(self, operator: GraphOperator) -> set[str]:
        """Of a sum: both operands and the output, where they have the same channels."""
        output = operator.outputs[0]
        last = self._shape(output)[-1:]
        names = {name for name in operator.inputs if name is not None}
        if any(self._shape(name)[-1:] != last for name in names):
            return set()
        constants = [place for place, name in enumerate(operator.inputs) if not self._is_value(name or "")]
        if constants and (operator.type not in ("ADD", "SUB") or len(constants) > 1):
            return set()
        self._added += [(operator, place, output) for place in constants]
        return {*filter(self._is_value, names), output}

    def _multiplied(self, operator: GraphOperator) -> set[str]:
        """Of a product: the operand of the output's shape and the output; the other one stays as it is."""
        output = operator.outputs[0]
        places = (0,) if operator.type == "DIV" else (0, 1)
        for place in places:
            name, other = operator.inputs[place], operator.inputs[1 - place]
            if name is None or other is None or not self._is_value(name):
                continue
            smaller = not self._is_value(other) or self._shape(other) != self._shape(output)
            if self._shape(name) == self._shape(output) and smaller and name != other:
                return {name, output}
        return set()

    def groups(self) -> list[Group]:
        """The groups that may be scaled."""
        barred = {self._root(name) for name in self._barred}
        found: dict[str, Group] = {}
        for name, tensor in self._graph.tensors.items():
            root = self._root(name)
            if tensor.data is not None or root in barred or not tensor.shape or tensor.dtype != "float32":
                continue
            group = found.setdefault(root, Group([], 0))
            group.tensors.append(name)
            group.channels = math.gcd(group.channels, tensor.shape[-1])
        for layer in self._makers:
            if (root := self._root(layer.output)) in found:
                found[root].makers.append(layer)
        for layer in self._readers:
            if (root := self._root(layer.input)) in found:
                found[root].readers.append(layer)
        for operator, place, output in self._added:
            if (root := self._root(output)) in found:
                found[root].added.append((operator, place))
        for name in self._bounded:
            if (root := self._root(name)) in found:
                found[root].bounded.append(name)
        return [group for group in found.values() if group.makers and group.readers and group.channels > 1]

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._graph.tensors[name].shape

    def _is_value(self, name: str) -> bool:
        """Whether it is a float tensor that is no constant."""
        tensor = self._graph.tensors.get(name)
        return tensor is not None and tensor.data is None and tensor.dtype == "float32"

    def _root(self, name: str) -> str:
        while (over := self._over.get(name, name)) != name:
            self._over[name] = self._over.get(over, over)
            name = over
        return name

    def _join(self, one: str, other: str) -> None:
        self._over[self._root(one)] = self._root(other)
