"""`x = op(...)`, nothing reads `x` -> nothing."""

from __future__ import annotations

from converters.graph.ir import Graph


def remove_dead(graph: Graph) -> int:
    """Remove operators whose outputs nothing reads, and tensors that nothing touches; counts operators."""
    needed = {*graph.outputs.values()}
    kept = []
    for operator in reversed(graph.operators):
        if needed.isdisjoint(operator.outputs) and not _writes_state(graph, operator.inputs):
            continue
        kept.append(operator)
        needed.update(name for name in operator.inputs if name is not None)
        needed.update(operator.outputs, operator.intermediates)
    removed = len(graph.operators) - len(kept)
    graph.operators[:] = reversed(kept)
    needed.update(graph.inputs.values())
    for name in [name for name in graph.tensors if name not in needed]:
        del graph.tensors[name]
    return removed


def _writes_state(graph: Graph, names: list[str | None]) -> bool:
    return any(name is not None and graph.tensors[name].variable for name in names)
