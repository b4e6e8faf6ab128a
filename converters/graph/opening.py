"""Which sizes of a graph may change while it runs: found by comparing the graphs of several sizes.

The same model lowered at other sizes of an axis gives other graphs. Where they differ in the sizes of
tensors only, the graph computes the right thing at every size. A constant that differs must go: RESHAPE takes
-1 for a size, STRIDED_SLICE has a mask, padding may be more than a window needs. Anything else that differs
keeps the graph at its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete

# operators that slide a window over the axes behind the first, with the names of their strides
_STRIDES = {
    "AVERAGE_POOL_2D": ("strideH", "strideW"),
    "CONV_2D": ("strideH", "strideW"),
    "CONV_3D": ("strideD", "strideH", "strideW"),
    "DEPTHWISE_CONV_2D": ("strideH", "strideW"),
    "L2_POOL_2D": ("strideH", "strideW"),
    "MAX_POOL_2D": ("strideH", "strideW"),
}


class StaysFixed(Exception):
    """An operator holds a size that would have to change; `sources` are those of the operator."""

    def __init__(self, reason: str, operator: GraphOperator, *, got: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = operator
        self.got = None if got is None else str(got)


@frozen
class _Use:
    """An operand: the same operator of each graph, and a place among its inputs."""

    graphs: tuple[Graph, ...]
    peers: tuple[GraphOperator, ...]
    position: int

    @property
    def operator(self) -> GraphOperator:
        """The operator in the first graph."""
        return self.peers[0]

    def tensors(self, position: int) -> list[GraphTensor]:
        """What each graph's operator reads at a place; nothing where the operand is absent."""
        named = zip(self.graphs, (peer.inputs[position] for peer in self.peers), strict=True)
        return [graph.tensors[name] for graph, name in named if name is not None]


def free(graph: Graph, others: Sequence[Graph]) -> None:
    """Take the sizes out of `graph`, in place, that differ from those of the same model at other sizes.

    Its tensors state in their signatures which sizes those are.

    Args:
        graph: the model lowered at one size of each axis that is to stay open; at least 2, since an axis of
            size 1 is treated apart.
        others: the same at other sizes, rewritten by the same rewrites.

    Raises:
        StaysFixed: it holds a size that cannot be taken out; says in which operator.
    """
    graphs = (graph, *others)
    same = [dict(zip(graph.inputs.values(), g.inputs.values(), strict=True)) for g in graphs]
    for name in graph.inputs.values():
        _sign([g.tensors[known[name]] for g, known in zip(graphs, same, strict=True)])
    for place, operator in enumerate(graph.operators):
        alike = [g.operators[place] if place < len(g.operators) else None for g in graphs]
        peers = tuple(_like(operator, peer) for peer in alike)
        for position in range(len(operator.inputs)):
            _compare_input(_Use(graphs, peers, position), same)
        _check_window(graphs, peers)
        for made in zip(*(peer.outputs for peer in peers), strict=True):
            _match(operator, made, same)
            if len({len(g.tensors[name].shape) for g, name in zip(graphs, made, strict=True)}) > 1:
                raise StaysFixed("the number of its axes depends on the size", operator)
            _sign([g.tensors[name] for g, name in zip(graphs, made, strict=True)])
    for known, g in zip(same, graphs, strict=True):
        ends = [known.get(name) for name in graph.outputs.values()]
        if len(g.operators) > len(graph.operators) or ends != list(g.outputs.values()):
            raise StaysFixed("it is followed by other operators at other sizes", graph.operators[-1])


def _sign(tensors: list[GraphTensor]) -> None:
    """State in the first of the tensors which of its sizes differ in the others."""
    sizes = zip(*(tensor.shape for tensor in tensors), strict=True)
    signature = tuple(-1 if len(set(found)) > 1 else found[0] for found in sizes)
    tensors[0].signature = signature if -1 in signature else None


def _like(operator: GraphOperator, peer: GraphOperator | None) -> GraphOperator:
    """The operator at the same place of another graph, if it is the same but for sizes."""
    if peer is None or peer.type != operator.type:
        got = f"{operator.type} at one size, {peer.type if peer is not None else 'nothing'} at another"
        raise StaysFixed("it becomes other operators at other sizes", operator, got=got)
    if _options(peer) != _options(operator):
        raise StaysFixed("its options depend on the size", operator, got=f"{operator.type} {_options(peer)}")
    if _operands(peer) != _operands(operator):
        raise StaysFixed("the number of its operands depends on the size", operator, got=operator.type)
    return peer


def _options(operator: GraphOperator) -> dict[str, object]:
    return {key: value for key, value in operator.options.items() if key != "newShape"}


def _operands(operator: GraphOperator) -> tuple[list[bool], int]:
    return [name is None for name in operator.inputs], len(operator.outputs)


def _compare_input(use: _Use, same: list[dict[str, str]]) -> None:
    """Check that all graphs read the same value at a place, or take a constant's sizes out of the first."""
    tensors = use.tensors(use.position)
    if not tensors:
        return
    operator = use.operator
    if tensors[0].variable:
        if any(tensor.shape != tensors[0].shape for tensor in tensors):
            raise StaysFixed("it keeps a state whose shape depends on the size", operator)
        return
    arrays = [tensor.data for tensor in tensors if tensor.data is not None]
    if not arrays:
        _match(operator, tuple(tensor.name for tensor in tensors), same)
    elif len(arrays) < len(tensors):
        raise StaysFixed("one of its operands is constant at some sizes only", operator)
    elif any(a.shape != arrays[0].shape or a.tobytes() != arrays[0].tobytes() for a in arrays):
        _take_out(use, arrays)


def _match(operator: GraphOperator, names: tuple[str, ...], same: list[dict[str, str]]) -> None:
    """Note that these tensors, one of each graph, are the same value; check where it is known already."""
    for known, name in zip(same, names, strict=True):
        if known.setdefault(names[0], name) != name:
            raise StaysFixed("it reads other values at other sizes", operator)


def _take_out(use: _Use, arrays: list[np.ndarray]) -> None:
    """Replace a constant that differs between the graphs by one that holds at every size."""
    operator = use.operator
    made: np.ndarray | None = None
    if {array.ndim for array in arrays} == {1} and len({array.size for array in arrays}) == 1:
        changing = [axis for axis in range(arrays[0].size) if len({int(a[axis]) for a in arrays}) > 1]
        if (operator.type, use.position) == ("RESHAPE", 1):
            made = _reshape(use, arrays, changing)
        elif (operator.type, use.position) == ("SLICE", 2):
            made = _slice(use, arrays, changing)
        elif (operator.type, use.position) == ("STRIDED_SLICE", 2):
            made = _strided_slice(use, arrays, changing)
    elif operator.type in ("PAD", "PADV2") and use.position == 1:
        made = _pad(use, arrays)
    held = operator.inputs[use.position]
    if made is None or held is None:
        got = f"{operator.type} reads {held!r}"
        raise StaysFixed("it reads a constant that depends on the size", operator, got=got)
    operator.inputs[use.position] = _add_constant(use.graphs[0], made, f"{held}_open")


def _add_constant(graph: Graph, array: np.ndarray, hint: str) -> str:
    name, count = hint, 0
    while name in graph.tensors:
        name, count = f"{hint}_{count + 1}", count + 1
    graph.tensors[name] = GraphTensor(name, array.shape, array.dtype.name, array)
    return name


def _reshape(use: _Use, arrays: list[np.ndarray], changing: list[int]) -> np.ndarray:
    if len(changing) > 1:
        raise StaysFixed(
            "it makes a shape of which several sizes change, and RESHAPE can find out one only",
            use.operator,
            got=" and ".join(str(array.tolist()) for array in arrays),
        )
    made = arrays[0].copy()
    made[changing] = -1
    use.operator.options["newShape"] = made.tolist()
    return made


def _slice(use: _Use, arrays: list[np.ndarray], changing: list[int]) -> np.ndarray | None:
    """A size up to the end: the operator becomes STRIDED_SLICE (LiteRT does not resize what SLICE makes)."""
    operator, begin = use.operator, use.graphs[0].constant(use.operator.inputs[1])
    if begin is None:
        return None
    for axis in changing:
        pairs = zip(use.tensors(0), arrays, strict=True)
        if any(int(begin[axis] + sizes[axis]) != tensor.shape[axis] for tensor, sizes in pairs):
            return None
    operator.type = "STRIDED_SLICE"
    operator.options = complete("STRIDED_SLICE", {"endMask": sum(1 << axis for axis in changing)})
    operator.inputs.append(_add_constant(use.graphs[0], np.ones_like(begin), "strides"))
    return np.asarray(begin + arrays[0], np.int32)


def _strided_slice(use: _Use, arrays: list[np.ndarray], changing: list[int]) -> np.ndarray | None:
    """A bit of `endMask` is an end at the end."""
    options, strides = use.operator.options, use.graphs[0].constant(use.operator.inputs[3])
    if strides is None or options.get("ellipsisMask") or options.get("newAxisMask"):
        return None
    for axis in changing:
        pairs = zip(use.tensors(0), arrays, strict=True)
        if strides[axis] < 1 or any(int(ends[axis]) != t.shape[axis] for t, ends in pairs):
            return None
        options["endMask"] = options.get("endMask", 0) | 1 << axis
    return arrays[0]


def _pad(use: _Use, arrays: list[np.ndarray]) -> np.ndarray | None:
    """The padding of a window, with the most that any size needs after it: what no window reaches is idle.

    `_check_window` sees to it that every remainder of the size by the stride is among the graphs.
    """
    readers = use.graphs[0].consumers(use.operator.outputs[0])
    windows = [one for one in readers if one.type in _STRIDES and one.options.get("padding") == "VALID"]
    begins = {array[:, 0].tobytes() for array in arrays}
    if len(readers) != 1 or len(windows) != 1 or len(begins) > 1:
        return None
    most: np.ndarray = np.maximum.reduce(arrays)
    return most


def _check_window(graphs: tuple[Graph, ...], peers: tuple[GraphOperator, ...]) -> None:
    """Check that the padding of a window is what the source means, at every size.

    How far the last window reaches, and what SAME pads, goes by the remainder of the size by the stride. A
    padding that was right at some sizes need not be at others, unless every remainder was among them.
    """
    operator = peers[0]
    for axis, key in enumerate(_STRIDES.get(operator.type, ()), 1):
        stride = int(operator.options.get(key, 1))
        sizes = {_padded_from(g, peer, axis) for g, peer in zip(graphs, peers, strict=True)}
        if len(sizes) > 1 and {size % stride for size in sizes} != set(range(stride)):
            raise StaysFixed(
                "its padding goes by the size, and not every case of it was among the sizes that were tried",
                operator,
                got=f"stride {stride} over sizes {sorted(sizes)}",
            )


def _padded_from(graph: Graph, window: GraphOperator, axis: int) -> int:
    """The size that a window slides over, before it was padded."""
    source = window.inputs[0] or ""
    maker = graph.producer(source)
    if maker is not None and maker.type in ("PAD", "PADV2") and maker.inputs[0] is not None:
        source = maker.inputs[0]
    return graph.tensors[source].shape[axis]
