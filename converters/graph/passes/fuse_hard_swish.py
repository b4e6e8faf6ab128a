"""`x relu6(x + 3) / 6 -> HARD_SWISH(x)`, however it is spelled."""

from __future__ import annotations

from converters.graph.passes import curves
from converters.graph.passes.links import Links


def fuse_hard_swish(links: Links) -> int:
    """`x relu6(x + 3) / 6 -> HARD_SWISH(x)` wherever a chain computes that; https://arxiv.org/abs/1905.02244."""
    return curves.fuse(
        links, lambda curve: ("HARD_SWISH", {}) if curve.is_function(curves.hard_swish) else None
    )
