"""`RESHAPE(RESHAPE(x)) -> RESHAPE(x)`, and `RESHAPE(x) -> x` where the shape stays."""

from __future__ import annotations

from converters.graph.passes.links import Links, merged


def merge_reshapes(links: Links) -> int:
    """`RESHAPE(RESHAPE(x)) -> RESHAPE(x)`; `RESHAPE(x) -> x` where the shape is fixed and stays."""
    count = 0
    for operator in links.operators("RESHAPE"):
        inner = links.maker_of(operator.inputs[0], "RESHAPE")
        if inner is not None:
            operator.sources = merged(inner, operator)
            links.set_input(operator, 0, inner.inputs[0])
            count += 1
        same = links.tensor(operator.inputs[0]).shape == links.tensor(operator.outputs[0]).shape
        if same and links.fixed and links.bypass(operator):
            count += 1
    return count
