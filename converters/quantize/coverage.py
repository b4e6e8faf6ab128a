"""Which operators of a float graph have no integer form; the others compute in integers."""

from __future__ import annotations

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.assignment import computes, refusal


def left_in_float(
    graph: Graph, precision: str = "int8", *, runtime: str = "litert"
) -> list[tuple[GraphOperator, str]]:
    """The operators that stay in floating point in a static precision, each with the reason."""
    found = []
    for operator in graph.operators:
        if computes(graph, operator):
            reason = refusal(graph, operator, precision, runtime, None)
            if reason is not None:
                found.append((operator, reason))
    return found
