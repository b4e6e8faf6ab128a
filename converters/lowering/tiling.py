"""What repeats, masks or rearranges whole tensors: Expand, Tile, Trilu, ReverseSequence, space and depth."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import CARRIED, Node, lowers
from converters.lowering.writing import operand


@lowers("Expand", dtypes=CARRIED)
def expand(context: Context, node: Node) -> None:
    """`Expand` is BROADCAST_TO, or nothing where the shape stays."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    if shape == target:
        context.bind(output, context.tensor(name), context.order(name))
        return
    rank = len(target)
    order = layout.padded(context.order(name) or layout.identity(len(shape)), rank)
    tensor = context.arrange(name, order, (1,) * (rank - len(shape)) + shape)
    lying = np.array(layout.physical(target, order), np.int32)
    context.produce(output, "BROADCAST_TO", [tensor, context.add_constant(lying, "shape")], order)


@lowers("Tile", dtypes=CARRIED)
def tile(context: Context, node: Node) -> None:
    """`Tile` is TILE."""
    repeats = context.need_constant(node.input(1), "repeats").reshape(-1)
    tensor, order = operand(context, node.input(0))
    lying = np.array([repeats[axis] for axis in order], np.int32)
    context.produce(node.output(), "TILE", [tensor, context.add_constant(lying, "repeats")], order)


@lowers("Trilu", dtypes=CARRIED)
def trilu(context: Context, node: Node) -> None:
    """`Trilu` is SELECT_V2 by a constant triangle."""
    name, output = node.input(0), node.output()
    shape = context.shape(name)
    given = node.optional(1)
    k = 0 if given is None else int(context.need_constant(given, "k").reshape(()))
    ones = np.ones(shape[-2:], bool)
    kept = np.triu(ones, k) if node.integer("upper", 1) else np.tril(ones, k)
    dtype = context.dtype(name)
    inputs: list[str | None] = [
        context.add_constant(kept, "triangle"),
        context.logical(name),
        context.add_constant(np.zeros((), dtype), "zero"),
    ]
    context.produce(output, "SELECT_V2", inputs, layout.identity(len(shape)))


@lowers("ReverseSequence", dtypes=("float32", "int32", "int64", "uint8", "int16"), through={"int8": "int32"})
def reverse_sequence(context: Context, node: Node) -> None:
    """`ReverseSequence` is REVERSE_SEQUENCE."""
    tensor, order = operand(context, node.input(0))
    lengths = context.logical(node.input(1))
    context.produce(
        node.output(),
        "REVERSE_SEQUENCE",
        [tensor, lengths],
        order,
        seqDim=order.index(node.integer("time_axis", 0)),
        batchDim=order.index(node.integer("batch_axis", 1)),
    )


@lowers("DepthToSpace", "SpaceToDepth", dtypes=("float32", "int32", "int64", "int8", "uint8"))
def depth_and_space(context: Context, node: Node) -> None:
    """The builtins of the same names, in NHWC; mode CRD takes the channels in another order first."""
    name, output = node.input(0), node.output()
    order = layout.channels_last(4)
    size = node.integer("blocksize", 1)
    tensor = context.arrange(name, order)
    squared, crd = size * size, node.text("mode", "DCR") == "CRD"
    if node.type == "SpaceToDepth":
        if not crd:
            context.produce(output, "SPACE_TO_DEPTH", [tensor], order, blockSize=size)
            return
        made = ValueType(context.dtype(output), layout.physical(context.shape(output), order))
        moved = context.emit("SPACE_TO_DEPTH", [tensor], made, f"{output}_dcr", blockSize=size)
        context.bind(output, _regrouped(context, moved, squared), order)
        return
    if crd:
        tensor = _regrouped(context, tensor, context.graph.tensors[tensor].shape[3] // squared)
    context.produce(output, "DEPTH_TO_SPACE", [tensor], order, blockSize=size)


def _regrouped(context: Context, tensor: str, groups: int) -> str:
    """The channels, which count through `groups` groups, in the order that counts within each first."""
    held = context.graph.tensors[tensor]
    channels = np.arange(held.shape[3], dtype=np.int32).reshape(groups, -1).T.reshape(-1)
    inputs: list[str | None] = [tensor, context.add_constant(channels, "channels")]
    return context.emit("GATHER", inputs, ValueType(held.dtype, held.shape), f"{tensor}_regrouped", axis=3)
