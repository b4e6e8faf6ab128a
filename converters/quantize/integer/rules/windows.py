"""Operators that sum squares, which need more bits than int8 has: made of int16 ones in both precisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from converters.quantize.integer.prepared import Range
from converters.quantize.integer.rules import functions, lookup, making
from device_agent.bundle import Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from converters.quantize.integer.expansion import Expansion


def pool_of_squares(expansion: Expansion) -> None:
    """L2_POOL_2D: the root of the mean of the squares."""
    made = expansion.outputs[0]
    _, squares = _squares(expansion)
    pooled = making.placed(expansion, "pooled", expansion.shape(made), squares)
    options = {key: value for key, value in expansion.operator.options.items() if key[:5] != "fused"}
    expansion.add("AVERAGE_POOL_2D", [squares], [pooled], **options)
    lookup.look_up(expansion, pooled, made, functions.activated(functions.sqrt))


def local_response(expansion: Expansion) -> None:
    """LOCAL_RESPONSE_NORMALIZATION: `x (bias + alpha sum x^2)^-beta`, the sum over channels nearby.

    The sum is a product with a band of ones, and the power is looked up.
    (https://papers.nips.cc/paper/4824, section 3.3)
    """
    made, options = expansion.outputs[0], expansion.operator.options
    wide, squares = _squares(expansion)
    shape = expansion.shape(made)
    near = np.abs(np.subtract.outer(np.arange(shape[-1]), np.arange(shape[-1]))) <= options["radius"]
    band = expansion.constant("band", (near * 127).astype(np.int8), Quantization((1 / 127,), (0,)))
    most = int(near.sum(axis=1).max()) * making.span_of(expansion, squares).maximum
    total = making.between(expansion, "total", shape, Range(0.0, most), "int16x8")
    expansion.add("FULLY_CONNECTED", [squares, band], [total], keepNumDims=True)
    ends = _response(np.array([0.0, most]), options)
    factor = making.between(
        expansion, "factor", shape, Range(float(ends.min()), float(ends.max())), "int16x8"
    )
    lookup.look_up(expansion, total, factor, _response)
    if expansion.dtype(made) == "int16":
        expansion.add("MUL", [wide, factor], [made])
        return
    product = making.between(expansion, "product", shape, making.span_of(expansion, made), "int16x8")
    expansion.add("MUL", [wide, factor], [product])
    expansion.requantize(product, made)


def _response(total: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    base = options["bias"] + options["alpha"] * np.maximum(total, 0.0)
    return np.asarray(np.maximum(base, 1e-9) ** -options["beta"])


def _squares(expansion: Expansion) -> tuple[str, str]:
    """The input in int16, and its squares."""
    wide = making.as_int16(expansion, making.operand(expansion, 0))
    span = making.span_of(expansion, wide)
    most = max(span.minimum**2, span.maximum**2)
    squares = making.between(expansion, "squares", expansion.shape(wide), Range(0.0, most), "int16x8")
    expansion.add("MUL", [wide, wide], [squares])
    return wide, squares
