"""A float graph on its way to integers: what repairs change, and the quantiser carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from converters.graph.ir import Graph

if TYPE_CHECKING:
    import numpy as np


@frozen
class Range:
    """The values that a tensor's quantised form must hold, least and greatest, in the tensor's own unit."""

    minimum: float
    maximum: float


@frozen
class Rounded:
    """Weights whose integers were chosen by other than rounding to the nearest.

    `integers` is int8 in the weights' shape, `scale` float32[C], one per channel of the axis that the
    weights' operator quantises on; the zero-point is 0.
    """

    integers: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)


@define
class Prepared:
    """A float32 graph, the ranges of its activations by tensor, and chosen weights by constant.

    `precisions` are what operators, by their first output, had better compute in where a scheme names no
    other for them and they can. `corrections`, by first output too, are added to the biases of operators
    that compute in integers, float32[C]: the float graph stays what it is. Repairs change all five in place.
    """

    graph: Graph
    ranges: dict[str, Range]
    rounded: dict[str, Rounded] = field(factory=dict)
    precisions: dict[str, str] = field(factory=dict)
    corrections: dict[str, np.ndarray] = field(factory=dict)


def copied(prepared: Prepared) -> Prepared:
    """A copy that a repair may change: arrays are shared, since repairs put new ones in their places."""
    graph = prepared.graph
    operators = [
        evolve(
            operator,
            inputs=list(operator.inputs),
            outputs=list(operator.outputs),
            options=dict(operator.options),
        )
        for operator in graph.operators
    ]
    tensors = {name: evolve(tensor) for name, tensor in graph.tensors.items()}
    return Prepared(
        Graph(tensors, operators, dict(graph.inputs), dict(graph.outputs)),
        dict(prepared.ranges),
        dict(prepared.rounded),
        dict(prepared.precisions),
        dict(prepared.corrections),
    )
