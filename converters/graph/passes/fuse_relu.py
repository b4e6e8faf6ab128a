"""`max(x, 0) -> RELU(x)`, and the RELUs with an upper bound from MAXIMUM and MINIMUM in any order."""

from __future__ import annotations

import math

from converters.graph.ir import GraphOperator
from converters.graph.passes import curves
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import beside_scalar, in_float

_BOUNDS = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}
_CLIPS = ("MAXIMUM", "MINIMUM")


def fuse_relu(links: Links) -> int:
    """`min(max(x, a), b) -> RELU(x)` or RELU6, RELU_N1_TO_1, RELU_0_TO_1, whose bounds those are."""
    count = sum(_lowered(links, operator) for operator in links.operators("MINIMUM"))
    return count + curves.fuse(links, _found, least=1)


def _found(curve: curves.Curve) -> tuple[str, dict[str, object]] | None:
    alone = len(curve.operators) == 1
    if curve.root.type not in (_CLIPS if alone else (*_CLIPS, *_BOUNDS)):
        return None
    for builtin, bounds in _BOUNDS.items():
        if curve.is_function(curves.clip(*bounds)):
            return builtin, {}
    return None


def _lowered(links: Links, operator: GraphOperator) -> int:
    """`min(op(x) with RELU, 6) -> op(x) with RELU6`."""
    found = beside_scalar(links, operator)
    if found is None or found[1] != 6 or not in_float(links, operator):
        return 0
    maker = links.maker.get(found[0])
    if maker is None or maker.options.get("fusedActivationFunction") != "RELU":
        return 0
    if not links.exclusive(found[0], operator):
        return 0
    links.absorb(maker, operator)
    maker.options["fusedActivationFunction"] = "RELU6"
    return 1
