"""How far the layers of a quantised IR are from float, from sums over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converters.quantize.engine import LayerError

if TYPE_CHECKING:
    from converters.quantize.engine import Layer


def layer_errors(
    layers: Sequence[Layer], precisions: Sequence[str], sums: np.ndarray
) -> tuple[LayerError, ...]:
    """The errors of the layers that can be compared.

    Args:
        layers: in execution order.
        precisions: what each computes in.
        sums: float64[layers, 4], over samples, of r^2, q^2, r q and (r - q)^2; NaN where there is nothing to
            compare.
    """
    return tuple(
        _error(layer, precision, *map(float, row))
        for layer, precision, row in zip(layers, precisions, sums, strict=True)
        if np.isfinite(row).all()
    )


def _error(
    layer: Layer, precision: str, reference: float, other: float, product: float, error: float
) -> LayerError:
    norms = math.sqrt(reference * other)
    return LayerError(
        layer=layer.name,
        type=layer.type,
        label=layer.label,
        precision=precision,
        snr_db=10 * math.log10(max(reference, 5e-324) / error) if error else None,
        cosine=product / norms if norms else float(error == 0),
        range_use=None,
        saturation=None,
    )
