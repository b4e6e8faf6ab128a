"""Operators that move or reshape: most cost nothing, because layouts are carried."""

from __future__ import annotations

import math

import numpy as np

from converters.graph.dtypes import schema_name
from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.elementwise import agree
from converters.lowering.registry import CARRIED, NUMBERS, Node, Refused, lowers


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", dtypes=CARRIED)
def reshape(context: Context, node: Node) -> None:
    """All of them state a shape: the same bytes where these can hold it, else a TRANSPOSE and a RESHAPE."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    if math.prod(shape) != math.prod(target):
        raise Refused(
            "it states a shape with another number of elements",
            got=list(target),
            limit=f"{math.prod(shape)} elements",
            help="If the file fixes a batch of 1 there, read it with that batch, or export it with -1.",
        )
    held = context.order(name) or layout.identity(len(shape))
    order = layout.reshaped(shape, held, target)
    if order is None:
        tensor, order = context.logical(name), layout.identity(len(target))
    else:
        tensor = context.tensor(name)
    context.bind(output, context.reshape_tensor(tensor, layout.physical(target, order), output), order)


@lowers("Transpose", dtypes=CARRIED)
def transpose(context: Context, node: Node) -> None:
    """`Transpose` changes how the tensor is read, not the tensor."""
    name = node.input(0)
    rank = len(context.shape(name))
    perm = node.integers("perm") or tuple(reversed(range(rank)))
    held = context.order(name) or layout.identity(rank)
    context.bind(node.output(), context.arrange(name, held), layout.transposed(held, perm))


@lowers("Identity", "OptionalGetElement", dtypes=CARRIED)
def identity(context: Context, node: Node) -> None:
    """`Identity` is its input, and so is the element of an optional that is a tensor."""
    context.bind(node.output(), context.tensor(node.input(0)), context.order(node.input(0)))


@lowers("Dropout")
def dropout(context: Context, node: Node) -> None:
    """`Dropout` passes its input through, outside of training."""
    training = node.optional(2)
    if training is not None and context.need_constant(training, "training_mode").any():
        raise Refused("it is in training mode", help="Export the model in evaluation mode.")
    identity(context, node)


@lowers("Cast", dtypes=CARRIED)
def cast(context: Context, node: Node) -> None:
    """`Cast` is CAST, or nothing where the dtype stays."""
    name, output = node.input(0), node.output()
    source, target = context.dtype(name), context.dtype(output)
    if source == target:
        identity(context, node)
        return
    order = context.order(name) or layout.identity(len(context.shape(name)))
    context.produce(
        output,
        "CAST",
        [context.arrange(name, order)],
        order,
        inDataType=schema_name(source),
        outDataType=schema_name(target),
    )


@lowers("Concat", dtypes=CARRIED)
def concat(context: Context, node: Node) -> None:
    """`Concat` is CONCATENATION along the axis as it lies."""
    names = [node.input(place) for place in range(len(node.inputs))]
    names = [name for name in names if 0 not in context.shape(name)]
    rank = len(context.shape(node.output()))
    if len(names) == 1:
        context.bind(node.output(), context.tensor(names[0]), context.order(names[0]))
        return
    order = agree(context, names, rank)
    axis = order.index(node.integer("axis", 0) % rank)
    inputs: list[str | None] = [context.arrange(name, order) for name in names]
    context.produce(node.output(), "CONCATENATION", inputs, order, axis=axis)


@lowers("Pad", dtypes=NUMBERS)
def pad(context: Context, node: Node) -> None:
    """`Pad` with a constant is PAD or PADV2, by reflection MIRROR_PAD."""
    name, output = node.input(0), node.output()
    rank = len(context.shape(name))
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect"):
        raise Refused("it pads in a mode that TFLite has not", got=mode, limit="constant, reflect")
    amounts, value = _paddings(context, node, rank)
    if not any(map(any, amounts)):
        context.bind(output, context.tensor(name), context.order(name))
        return
    if min(map(min, amounts), default=0) < 0:
        raise Refused("it pads by a negative amount", got=amounts, limit=0, help="Use a Slice to crop.")
    order = context.order(name) or layout.identity(rank)
    lying = np.array([amounts[axis] for axis in order], np.int32)
    inputs: list[str | None] = [context.arrange(name, order), context.add_constant(lying, "paddings")]
    if mode == "reflect":
        context.produce(output, "MIRROR_PAD", inputs, order, mode="REFLECT")
    elif value == 0:
        context.produce(output, "PAD", inputs, order)
    else:
        inputs.append(context.add_constant(np.array(value, context.dtype(name)), "pad_value"))
        context.produce(output, "PADV2", inputs, order)


def _paddings(context: Context, node: Node, rank: int) -> tuple[list[tuple[int, int]], float]:
    """How much is padded before and after each axis, and with what: attributes before operator set 11."""
    if node.opset < 11:
        pads, value = node.integers("pads") or (), node.number("value", 0.0)
        axes = tuple(range(rank))
    else:
        pads = tuple(int(n) for n in context.need_constant(node.input(1), "pads").reshape(-1))
        filler = node.optional(2)
        value = float(context.need_constant(filler, "value").reshape(())) if filler is not None else 0.0
        named = node.optional(3)
        axes = tuple(range(rank))
        if named is not None:
            axes = tuple(int(axis) % rank for axis in context.need_constant(named, "axes").reshape(-1))
    amounts = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        amounts[axis] = (pads[place], pads[place + len(axes)])
    return amounts, value
