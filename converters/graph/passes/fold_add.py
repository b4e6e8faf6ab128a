"""`ADD(op(x, w, b), c) -> op(x, w, b + c)` for convolutions and FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.channels import bias_of, bias_place, take_over, weighted_maker
from converters.graph.passes.links import Links


def fold_add(links: Links) -> int:
    """`op(x, w, b) + c -> op(x, w, b + c)` wherever `c` is a constant per channel; so `SUB`, with `b - c`."""
    count = 0
    for operator in links.operators("ADD", "SUB"):
        found = weighted_maker(links, operator, (0, 1) if operator.type == "ADD" else (0,))
        if found is None:
            continue
        maker, offset = found
        bias = bias_of(links, maker)
        with np.errstate(all="ignore"):  # a bias may hold anything, and then so does the sum
            added = offset if operator.type == "ADD" else -offset
            total = added if bias is None else bias + added
        links.replace_constant(maker, bias_place(maker), total.astype(np.float32), f"{maker.inputs[1]}_bias")
        take_over(links, maker, operator)
        count += 1
    return count
