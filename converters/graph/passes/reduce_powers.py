"""`x^2 -> SQUARE(x)`, `x^0.5 -> SQRT(x)`, `x^-0.5 -> RSQRT(x)`, `x^1 -> x`."""

from __future__ import annotations

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float, scalar

_BUILTINS = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}


def reduce_powers(links: Links) -> int:
    """`POW(x, 2) -> SQUARE(x)`, `POW(x, 0.5) -> SQRT(x)`, `POW(x, -0.5) -> RSQRT(x)`, `POW(x, 1) -> x`."""
    count = 0
    for operator in links.operators("POW"):
        exponent = scalar(links, operator.inputs[1])
        if exponent is None or not in_float(links, operator):
            continue
        if links.tensor(operator.inputs[0]).shape != links.tensor(operator.outputs[0]).shape:
            continue
        if exponent in _BUILTINS:
            links.become(operator, _BUILTINS[exponent], operator.inputs[:1], {})
            count += 1
        elif exponent == 1 and links.bypass(operator):
            count += 1
    return count
