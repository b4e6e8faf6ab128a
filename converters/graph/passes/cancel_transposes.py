"""`TRANSPOSE(TRANSPOSE(x, p), q) -> TRANSPOSE(x, p[q])`; the identity goes, and one that moves only axes
of size 1 is a RESHAPE."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.options import complete
from converters.graph.passes.links import Links, merged


def cancel_transposes(links: Links) -> int:
    """`TRANSPOSE(TRANSPOSE(x, p), q) -> TRANSPOSE(x, p[q])`, a RESHAPE where no axis of more than 1 moves."""
    count = 0
    for operator in links.operators("TRANSPOSE"):
        perm = links.graph.constant(operator.inputs[1])
        inner = links.maker_of(operator.inputs[0], "TRANSPOSE")
        if perm is None:
            continue
        first = links.graph.constant(inner.inputs[1]) if inner is not None else None
        if inner is not None and first is not None:
            perm = first[perm]
            operator.sources = merged(inner, operator)
            links.set_input(operator, 0, inner.inputs[0])
            links.replace_constant(operator, 1, perm, "perm")
            count += 1
        count += _simplify(links, operator, perm)
    return count


def _simplify(links: Links, operator: GraphOperator, perm: np.ndarray) -> int:
    shape = links.tensor(operator.inputs[0]).shape
    if list(perm) == list(range(len(perm))):
        return int(links.bypass(operator))
    if not links.fixed:
        return 0
    moved = [axis for axis in perm if shape[axis] > 1]
    if moved != sorted(moved):
        return 0
    target = links.tensor(operator.outputs[0]).shape
    links.replace_constant(operator, 1, np.array(target, np.int32), "shape")
    operator.type = "RESHAPE"
    operator.options = complete("RESHAPE", {"newShape": list(target)})
    return 1
