"""`exp(x - max x) / sum(exp(x - max x)) -> SOFTMAX(x)` over the last axis."""

from __future__ import annotations

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float, inner, over_last_axis, plain


def fuse_softmax(links: Links) -> int:
    """`e / SUM(e)` with `e = EXP(x - REDUCE_MAX(x))` or `EXP(x)` is SOFTMAX(x)."""
    count = 0
    for operator in links.operators("DIV"):
        found = _exponential(links, operator)
        if found is None:
            continue
        x, parts = found
        links.become(operator, "SOFTMAX", [x], {"beta": 1.0}, parts)
        count += 1
    return count


def _exponential(links: Links, operator: GraphOperator) -> tuple[str, list[GraphOperator]] | None:
    total = inner(links, operator, 1, "SUM")
    exponential = links.maker_of(operator.inputs[0], "EXP")
    if total is None or exponential is None or not plain(operator) or not in_float(links, operator):
        return None
    made = exponential.outputs[0]
    if total.inputs[0] != made or not over_last_axis(links, total) or made in links.outputs:
        return None
    if {id(reader) for reader in links.readers(made)} != {id(operator), id(total)}:
        return None
    parts = [total, exponential]
    x = exponential.inputs[0]
    difference = inner(links, exponential, 0, "SUB")
    highest = inner(links, difference, 1, "REDUCE_MAX") if difference is not None else None
    if difference is None or highest is None or highest.inputs[0] != difference.inputs[0]:
        return None if x is None else (x, parts)
    if over_last_axis(links, highest):
        x = difference.inputs[0]
        parts += [difference, highest]
    return None if x is None else (x, parts)
