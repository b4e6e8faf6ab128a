"""`SLICE(CONCATENATION(a, b))` of just `a` -> `a`."""

from __future__ import annotations

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links, merged
from converters.graph.passes.patterns import plain


def skip_concatenation(links: Links) -> int:
    """`SLICE(CONCATENATION(a, b)) -> a` where the slice is just one of the parts, in the same integers."""
    count = 0
    for operator in links.operators("SLICE") if links.fixed else ():
        joined = links.maker_of(operator.inputs[0], "CONCATENATION")
        part = _part(links, operator, joined) if joined is not None and plain(joined) else None
        if joined is None or part is None:
            continue
        before = operator.inputs[0]
        links.set_input(operator, 0, part)
        if links.bypass(operator):
            joined.sources = merged(joined, operator)
            count += 1
        else:
            links.set_input(operator, 0, before)
    return count


def _part(links: Links, operator: GraphOperator, joined: GraphOperator) -> str | None:
    """The part of a concatenation that a slice is."""
    begin = links.graph.constant(operator.inputs[1])
    if begin is None:
        return None
    axis = joined.options["axis"] % begin.size
    place = 0
    for name in joined.inputs:
        shape = links.tensor(name).shape
        wanted = [place if at == axis else 0 for at in range(begin.size)]
        if begin.reshape(-1).tolist() == wanted and shape == links.tensor(operator.outputs[0]).shape:
            return name
        place += shape[axis]
    return None
