"""`ADD(op(x, w, b), c) -> op(x, w, b + c)` for op of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.channels import bias_of, take_over, weighted_maker
from converters.graph.passes.links import Links


def fold_add(links: Links) -> int:
    """Apply it wherever `c` is a constant per channel."""
    count = 0
    for operator in links.operators("ADD"):
        found = weighted_maker(links, operator)
        if found is None:
            continue
        maker, offset = found
        bias = bias_of(links, maker)
        with np.errstate(all="ignore"):  # a bias may hold anything, and then so does the sum
            total = offset if bias is None else bias + offset
        links.replace_constant(maker, 2, total.astype(np.float32), f"{maker.inputs[1]}_bias")
        take_over(links, maker, operator)
        count += 1
    return count
