"""Applies the rewrites until none applies."""

from __future__ import annotations

from collections.abc import Callable

from converters.graph.ir import Graph
from converters.graph.passes.cancel_transposes import cancel_transposes
from converters.graph.passes.dead import remove_dead
from converters.graph.passes.fold_activation import fold_activation
from converters.graph.passes.fold_add import fold_add
from converters.graph.passes.fold_constants import fold_constants
from converters.graph.passes.fold_mul import fold_mul
from converters.graph.passes.fold_pad import fold_pad
from converters.graph.passes.fold_reshape_reduction import fold_reshape_reduction
from converters.graph.passes.fold_transpose_fully_connected import fold_transpose_fully_connected
from converters.graph.passes.links import Links
from converters.graph.passes.merge_reshapes import merge_reshapes

_REWRITES: tuple[Callable[[Links], int], ...] = (
    fold_constants,
    cancel_transposes,
    merge_reshapes,
    fold_reshape_reduction,
    fold_pad,
    fold_transpose_fully_connected,
    fold_add,
    fold_mul,
    fold_activation,
)


def run(graph: Graph) -> dict[str, int]:
    """Rewrite the graph in place until nothing changes.

    Returns:
        How often each rewrite applied, by its name; those that did not are left out. `remove_dead`
        counts the operators that nothing reads any more, among them what other rewrites left behind.
    """
    counts: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for rewrite in _REWRITES:
            links = Links(graph)
            count = rewrite(links)
            links.commit()
            if count:
                counts[rewrite.__name__] = counts.get(rewrite.__name__, 0) + count
                changed = True
        removed = remove_dead(graph)
        if removed:
            counts["remove_dead"] = counts.get("remove_dead", 0) + removed
            changed = True
    return counts
