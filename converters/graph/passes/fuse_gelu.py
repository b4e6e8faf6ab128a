"""`x (1 + erf(x / sqrt 2)) / 2 -> GELU(x)`, and its approximation by tanh, however they are spelled."""

from __future__ import annotations

from converters.graph.passes import curves
from converters.graph.passes.links import Links


def fuse_gelu(links: Links) -> int:
    """`x (1 + erf(x / sqrt 2)) / 2 -> GELU(x)`, by tanh with `approximate`; https://arxiv.org/abs/1606.08415."""
    return curves.fuse(links, _found)


def _found(curve: curves.Curve) -> tuple[str, dict[str, object]] | None:
    for function, approximate in ((curves.gelu, False), (curves.gelu_by_tanh, True)):
        if curve.is_function(function):
            return "GELU", {"approximate": approximate}
    return None
