"""`(x a) b -> x (a b)` and `(x + a) + b -> x + (a + b)` for constants `a` and `b`."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.links import Links, merged
from converters.graph.passes.patterns import in_float, inner


def merge_scalars(links: Links) -> int:
    """`(x a) b -> x (a b)`, `(x + a) + b -> x + (a + b)`, in float where neither constant widens `x`."""
    count = 0
    for operator in links.operators("ADD", "MUL"):
        for place in (0, 1):
            first = inner(links, operator, place, operator.type)
            outer = links.graph.constant(operator.inputs[1 - place])
            if first is None or outer is None or not in_float(links, operator):
                continue
            at = next((at for at in (0, 1) if links.graph.constant(first.inputs[at]) is not None), None)
            value = None if at is None else links.graph.constant(first.inputs[at])
            if at is None or value is None:
                continue
            x = first.inputs[1 - at]
            with np.errstate(all="ignore"):  # constants may hold anything, and then so does what they make
                both = value + outer if operator.type == "ADD" else value * outer
            if both.size > max(value.size, outer.size) or not np.isfinite(both).all():
                continue
            if links.tensor(x).shape != links.tensor(operator.outputs[0]).shape:
                continue
            made = links.add_constant(both.astype(np.float32), f"{operator.outputs[0]}_constant")
            operator.sources = merged(first, operator)
            links.set_input(operator, place, x)
            links.set_input(operator, 1 - place, made)
            count += 1
            break
    return count
