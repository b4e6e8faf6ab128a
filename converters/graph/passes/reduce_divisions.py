"""`x / c -> x (1 / c)` for a constant `c`."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float


def reduce_divisions(links: Links) -> int:
    """`DIV(x, c) -> MUL(x, 1 / c)` for a float constant; exact for powers of 2, else within a rounding."""
    count = 0
    for operator in links.operators("DIV"):
        divisor = links.graph.constant(operator.inputs[1])
        if divisor is None or divisor.dtype != np.float32 or not in_float(links, operator):
            continue
        with np.errstate(all="ignore"):  # a divisor may be 0 or tiny; those are left
            inverse = (1 / divisor.astype(np.float64)).astype(np.float32)
        normal = (np.abs(inverse) >= np.finfo(np.float32).tiny) & np.isfinite(inverse)
        if not normal.all():
            continue
        inputs = [operator.inputs[0], links.add_constant(inverse, f"{operator.inputs[1]}_inverse")]
        links.become(operator, "MUL", inputs, operator.options)
        count += 1
    return count
