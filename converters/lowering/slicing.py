"""What takes a part: Slice, Split."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import CARRIED, Node, Refused, lowers
from converters.lowering.writing import operand

_MAX_AXES = 5


@lowers("Slice", dtypes=CARRIED)
def slice_(context: Context, node: Node) -> None:
    """`Slice` is SLICE, with steps STRIDED_SLICE."""
    name, output = node.input(0), node.output()
    shape = context.shape(name)
    starts, ends, axes, steps = _bounds(context, node, len(shape))
    ranges = [range(size) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        ranges[axis] = range(*slice(start, _end(end, step, shape[axis]), step).indices(shape[axis]))
    if any(len(taken) == 0 for taken in ranges):
        raise Refused("it takes nothing", got=list(context.shape(output)))
    tensor, order = operand(context, name)
    lying = [ranges[axis] for axis in order]
    if all(taken.step == 1 or len(taken) == 1 for taken in lying):
        begin, count = [taken.start for taken in lying], [len(taken) for taken in lying]
        context.bind(output, part(context, tensor, begin, count, output), order)
        return
    if len(order) > _MAX_AXES:
        raise Refused("it takes steps over too many axes", got=len(order), limit=_MAX_AXES)
    # an end of -1 would count from the end, so what runs down to element 0 has its end masked
    mask = sum(1 << place for place, taken in enumerate(lying) if taken.stop < 0)
    numbers = [[t.start for t in lying], [max(t.stop, 0) for t in lying], [t.step for t in lying]]
    context.produce(output, "STRIDED_SLICE", [tensor, *_constants(context, *numbers)], order, endMask=mask)


def part(context: Context, tensor: str, begin: list[int], size: list[int], hint: str) -> str:
    """A SLICE; of many axes, those that it leaves whole and that lie together are one."""
    held = context.graph.tensors[tensor]
    target, shape = tuple(size), held.shape
    if len(shape) > _MAX_AXES:
        merged: list[tuple[int, int, int]] = []  # begin, size, of how many
        for first, count, whole in zip(begin, size, shape, strict=True):
            if merged and count == whole and merged[-1][1] == merged[-1][2]:
                merged[-1] = (0, merged[-1][1] * count, merged[-1][2] * whole)
            else:
                merged.append((first, count, whole))
        if len(merged) > _MAX_AXES:
            raise Refused("it takes a part of too many axes", got=len(shape), limit=_MAX_AXES)
        begin, size, shape = [m[0] for m in merged], [m[1] for m in merged], tuple(m[2] for m in merged)
    inputs = [context.reshape_tensor(tensor, shape), *_constants(context, begin, size)]
    taken = context.emit("SLICE", inputs, ValueType(held.dtype, tuple(size)), hint)
    return context.reshape_tensor(taken, target)


def _end(end: int, step: int, size: int) -> int | None:
    """ONNX's end as Python takes it: what is before element 0 is no element from the end."""
    return None if step < 0 and end < -size else end


def _constants(context: Context, *numbers: list[int]) -> list[str | None]:
    return [context.add_constant(np.array(item, np.int32), "slice") for item in numbers]


def _bounds(context: Context, node: Node, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes and steps: attributes before operator set 10, inputs since."""
    if node.opset < 10:
        starts, ends = list(node.integers("starts") or ()), list(node.integers("ends") or ())
        axes = list(node.integers("axes") or range(len(starts)))
        return starts, ends, [axis % rank for axis in axes], [1] * len(starts)
    starts, ends = (_list(context, node.input(place), what) for place, what in ((1, "starts"), (2, "ends")))
    named, stepped = node.optional(3), node.optional(4)
    axes = list(range(len(starts))) if named is None else _list(context, named, "axes")
    steps = [1] * len(starts) if stepped is None else _list(context, stepped, "steps")
    return starts, ends, [axis % rank for axis in axes], steps


def _list(context: Context, name: str, what: str) -> list[int]:
    return [int(item) for item in context.need_constant(name, what).reshape(-1)]


@lowers("Split", dtypes=CARRIED)
def split(context: Context, node: Node) -> None:
    """`Split` is SPLIT into equal parts, else SPLIT_V; of bools, and with empty parts, a SLICE each."""
    name = node.input(0)
    tensor, order = operand(context, name)
    axis = node.integer("axis", 0) % len(order)
    place = order.index(axis)
    outputs = [(at, made) for at, made in enumerate(node.outputs) if made is not None]
    given = node.optional(1)
    stated = node.integers("split")
    if given is not None:
        stated = tuple(_list(context, given, "split"))
    size, count = context.shape(name)[axis], len(node.outputs)
    largest = -(-size // count)
    sizes = stated or tuple(min(largest, size - at * largest) for at in range(count))
    dtype = context.dtype(name)
    if len(outputs) < count or min(sizes) <= 0 or dtype == "bool":
        start = [sum(sizes[:at]) for at in range(count)]
        for at, made in outputs:
            if sizes[at] > 0:
                begin = [start[at] if p == place else 0 for p in range(len(order))]
                taken = list(layout.physical(context.shape(made), order))
                context.bind(made, part(context, tensor, begin, taken, made), order)
        return
    types = [ValueType(dtype, layout.physical(context.shape(made), order)) for _, made in outputs]
    names = [made for _, made in outputs]
    at_axis = context.add_constant(np.array(place, np.int32), "axis")
    if len(set(sizes)) == 1:
        tensors = context.emit_many("SPLIT", [at_axis, tensor], types, names, numSplits=count)
    else:
        parts = context.add_constant(np.array(sizes, np.int32), "sizes")
        tensors = context.emit_many("SPLIT_V", [tensor, parts, at_axis], types, names, numSplits=count)
    for made, result in zip(names, tensors, strict=True):
        context.bind(made, result, order)
