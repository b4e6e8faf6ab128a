"""`MUL(op(x, w, b), c) -> op(x, c w, c b)` for convolutions and FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.channels import OUTPUT_AXIS, bias_of, bias_place, take_over, weighted_maker
from converters.graph.passes.links import Links


def fold_mul(links: Links) -> int:
    """`c op(x, w, b) -> op(x, c w, c b)` wherever `c` is a constant per channel."""
    count = 0
    for operator in links.operators("MUL"):
        found = weighted_maker(links, operator)
        if found is None:
            continue
        maker, factor = found
        weights = links.tensor(maker.inputs[1])
        if weights.data is None:
            continue
        lined = [1] * len(weights.shape)
        lined[OUTPUT_AXIS[maker.type]] = -1
        bias = bias_of(links, maker)
        with np.errstate(all="ignore"):  # weights may hold anything, and then so does the product
            scaled = weights.data * factor.reshape(lined)
            scaled_bias = None if bias is None else bias * factor
        links.replace_constant(maker, 1, scaled, f"{weights.name}_scaled")
        if scaled_bias is not None:
            links.replace_constant(maker, bias_place(maker), scaled_bias, f"{weights.name}_bias_scaled")
        take_over(links, maker, operator)
        count += 1
    return count
