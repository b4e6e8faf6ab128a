"""`(a - b)^2 -> SQUARED_DIFFERENCE(a, b)`."""

from __future__ import annotations

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float, inner, plain

_MAX_RANK = 4  # of its kernel


def fuse_squared_difference(links: Links) -> int:
    """`SQUARE(SUB(a, b)) -> SQUARED_DIFFERENCE(a, b)`; so `MUL(d, d)` for `d = SUB(a, b)`."""
    count = 0
    for operator in links.operators("SQUARE", "MUL"):
        if operator.type == "MUL" and (operator.inputs[0] != operator.inputs[1] or not plain(operator)):
            continue
        difference = inner(links, operator, 0, "SUB")
        if difference is None or not in_float(links, operator):
            continue
        if len(links.tensor(operator.outputs[0]).shape) <= _MAX_RANK:
            links.become(operator, "SQUARED_DIFFERENCE", difference.inputs, {}, [difference])
            count += 1
    return count
