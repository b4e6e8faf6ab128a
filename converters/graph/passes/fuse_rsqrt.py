"""`x / sqrt(v) -> x RSQRT(v)`."""

from __future__ import annotations

import math

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float, inner, plain, scalar


def fuse_rsqrt(links: Links) -> int:
    """`DIV(1, SQRT(v)) -> RSQRT(v)`, `DIV(x, SQRT(v)) -> MUL(x, RSQRT(v))` where `v` is the smaller."""
    count = 0
    for operator in links.operators("DIV"):
        root = inner(links, operator, 1, "SQRT")
        if root is None or not in_float(links, operator):
            continue
        shape = links.tensor(root.outputs[0]).shape
        whole = shape == links.tensor(operator.outputs[0]).shape
        if scalar(links, operator.inputs[0]) == 1 and whole and plain(operator):
            links.become(operator, "RSQRT", root.inputs, {}, [root])
            count += 1
        elif links.fixed and math.prod(shape) < math.prod(links.tensor(operator.inputs[0]).shape):
            root.type = "RSQRT"
            links.become(operator, "MUL", operator.inputs, operator.options)
            count += 1
    return count
