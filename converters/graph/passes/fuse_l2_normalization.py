"""`x / max(|x|, 1e-6) -> L2_NORMALIZATION(x)` over the last axis."""

from __future__ import annotations

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import beside_scalar, in_float, inner, over_last_axis, plain

_LEAST_SQUARE = 1e-12  # the kernel's bound of |x| is 1e-6
_MAX_RANK = 4


def fuse_l2_normalization(links: Links) -> int:
    """`x RSQRT(max(SUM(x^2), 1e-12)) -> L2_NORMALIZATION(x)`, or DIV by SQRT; the kernel's own bound."""
    count = 0
    for operator in links.operators("MUL", "DIV"):
        for place in (0, 1) if operator.type == "MUL" else (0,):
            parts = _parts(links, operator, place)
            if parts is not None:
                links.become(
                    operator,
                    "L2_NORMALIZATION",
                    [operator.inputs[place]],
                    {"fusedActivationFunction": "NONE"},
                    parts,
                )
                count += 1
                break
    return count


def _parts(links: Links, operator: GraphOperator, place: int) -> list[GraphOperator] | None:
    """The operators of the norm of the input at `place`, by which the other one scales it."""
    x = operator.inputs[place]
    if not plain(operator) or not in_float(links, operator) or len(links.tensor(x).shape) > _MAX_RANK:
        return None
    root = inner(links, operator, 1 - place, "RSQRT" if operator.type == "MUL" else "SQRT")
    bound = inner(links, root, 0, "MAXIMUM") if root is not None else None
    found = beside_scalar(links, bound) if bound is not None else None
    if root is None or bound is None or found is None or abs(found[1] / _LEAST_SQUARE - 1) > 1e-3:
        return None
    total = inner(links, bound, bound.inputs.index(found[0]), "SUM")
    if total is None or not over_last_axis(links, total):
        return None
    square = inner(links, total, 0, "SQUARE", "MUL")
    if square is None or any(name != x for name in square.inputs):
        return None
    return [root, bound, total, square]
