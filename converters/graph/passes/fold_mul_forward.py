"""`op(MUL(x, c), w) -> op(x, w c)` for op of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links, merged
from converters.graph.passes.patterns import in_float, inner


def fold_mul_forward(links: Links) -> int:
    """`op(c x, w) -> op(x, w c)` wherever `c` is a constant per input channel; padding stays zero."""
    count = 0
    for operator in links.operators("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        product = inner(links, operator, 0, "MUL")
        weights = links.graph.constant(operator.inputs[1])
        if product is None or weights is None or weights.dtype != np.float32 or not in_float(links, operator):
            continue
        if operator.options.get("weightsFormat", "DEFAULT") != "DEFAULT":
            continue
        found = _factor(links, product)
        factor = None if found is None else _per_weight(links, operator, found[1], weights)
        if found is None or factor is None:
            continue
        with np.errstate(all="ignore"):  # weights may hold anything, and then so does the product
            scaled = weights * factor
        links.replace_constant(operator, 1, scaled, f"{operator.inputs[1]}_scaled")
        operator.sources = merged(product, operator)
        links.set_input(operator, 0, found[0])
        count += 1
    return count


def _factor(links: Links, product: GraphOperator) -> tuple[str, np.ndarray] | None:
    """The tensor and the constant per channel (float32[channels] or float32[1]) of a product."""
    for place in (0, 1):
        name, constant = product.inputs[place], links.graph.constant(product.inputs[1 - place])
        if name is None or constant is None or constant.dtype != np.float32:
            continue
        shape = links.tensor(name).shape
        if shape != links.tensor(product.outputs[0]).shape or constant.size not in (1, shape[-1]):
            return None
        if constant.size == 1 or constant.shape[-1] == constant.size:
            return name, constant.reshape(-1)
    return None


def _per_weight(
    links: Links, operator: GraphOperator, factor: np.ndarray, weights: np.ndarray
) -> np.ndarray | None:
    """The factor of each input channel, lined up with the weights; None where that cannot be."""
    if factor.size == 1 or operator.type != "DEPTHWISE_CONV_2D":
        return factor if factor.size in (1, weights.shape[-1]) else None  # not so in a grouped convolution
    channels = links.tensor(operator.inputs[0]).shape[-1]
    multiplier = weights.shape[-1] // channels
    return np.repeat(factor, multiplier) if channels * multiplier == weights.shape[-1] else None
