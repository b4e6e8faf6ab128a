"""`max(x, a x) -> LEAKY_RELU(x)` for `0 < a < 1`."""

from __future__ import annotations

import numpy as np

from converters.graph.passes import curves
from converters.graph.passes.links import Links

_MINUS_ONE = int(np.flatnonzero(curves.GRID == -1)[0])


def fuse_leaky_relu(links: Links) -> int:
    """`max(x, a x) -> LEAKY_RELU(x, alpha=a)` for `0 < a < 1`, and other spellings of it."""
    return curves.fuse(links, _found)


def _found(curve: curves.Curve) -> tuple[str, dict[str, object]] | None:
    alpha = float(np.float32(-curve.values[_MINUS_ONE]))
    if 0 < alpha < 1 and curve.has(np.where(curves.GRID < 0, alpha * curves.GRID, curves.GRID)):
        return "LEAKY_RELU", {"alpha": alpha}
    return None
