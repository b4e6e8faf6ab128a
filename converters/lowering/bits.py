"""Bit operations: TFLite has BITWISE_XOR, RIGHT_SHIFT and BITCAST; the others are made of arithmetic."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.elementwise import agree, binary
from converters.lowering.facts import ValueType
from converters.lowering.registry import CARRIED, SMALL, Node, Refused, lowers
from converters.lowering.writing import apply, operand, reduce_tensor

_INTEGERS = ("int32", "int64")
_WIDTH = {"int8": 8, "uint8": 8, "int16": 16, "int32": 32, "int64": 64}  # bits
_MAX_RANK = 4  # one more axis, for the bits, must still broadcast


@lowers("BitwiseNot", dtypes=_INTEGERS, through=SMALL)
def bitwise_not(context: Context, node: Node) -> None:
    """`not x = -1 - x` in two's complement."""
    tensor, order = operand(context, node.input(0))
    ones = context.add_constant(np.array(-1, context.dtype(node.input(0))), "ones")
    context.produce(node.output(), "SUB", [ones, tensor], order)


@lowers("BitwiseXor", dtypes=("int8", "uint8", "int16", "int32"))
def bitwise_xor(context: Context, node: Node) -> None:
    """`BitwiseXor` is BITWISE_XOR."""
    binary(context, node.output(), "BITWISE_XOR", node.input(0), node.input(1))


@lowers("BitwiseAnd", "BitwiseOr", dtypes=("int32",), through=SMALL)
def bitwise(context: Context, node: Node) -> None:
    """The bits one by one, along an axis of their own: MUL or MAXIMUM of them, weighed and summed.

    Bit i of x is `floor_mod(x >> i, 2)`. The sum cannot overflow: only the highest bit's weight is
    negative.
    """
    left, right, output = node.input(0), node.input(1), node.output()
    rank = len(context.shape(output))
    if rank > _MAX_RANK:
        raise Refused("it has too many axes", got=rank, limit=_MAX_RANK)
    order = agree(context, [left, right], rank)
    width = _WIDTH["int32"]
    places = context.add_constant(np.arange(width, dtype=np.int32), "places")
    bits = []
    for name in (left, right):
        shape = (1,) * (rank - len(context.shape(name))) + context.shape(name)
        tensor = context.arrange(name, order, shape)
        tensor = context.reshape_tensor(tensor, (*layout.physical(shape, order), 1))
        bits.append(apply(context, "FLOOR_MOD", apply(context, "RIGHT_SHIFT", tensor, places), 2))
    both = apply(context, "MUL" if node.type == "BitwiseAnd" else "MAXIMUM", *bits)
    weights = np.array([1 << place for place in range(width)], np.int64).astype(np.int32)
    weighed = apply(context, "MUL", both, weights)
    context.bind(output, reduce_tensor(context, "SUM", weighed, (rank,), keep=False), order)


@lowers("BitShift", dtypes=_INTEGERS, through=SMALL)
def bit_shift(context: Context, node: Node) -> None:
    """To the right it is RIGHT_SHIFT; to the left MUL by a power of two, looked up where it is computed.

    An amount that is negative or no less than the width moves every bit out, as in the ONNX reference.
    """
    value, output = node.input(0), node.output()
    dtype = context.dtype(value)
    width = _WIDTH[dtype]
    if node.text("direction", "") == "RIGHT":
        if dtype != "int32":
            raise Refused("RIGHT_SHIFT has no such dtype", got=dtype, limit="int8, uint8, int16, int32")
        binary(context, output, "RIGHT_SHIFT", value, _amount(context, node, width - 1))
        return
    amount, factor = _amount(context, node, width), f"{output}^factor"
    powers = (np.uint64(1) << np.arange(width, dtype=np.uint64)).astype(np.int64).astype(dtype)
    powers = np.append(powers, np.array(0, dtype))
    known, given = ValueType(dtype, context.shape(amount)), context.constant(amount)
    if given is not None:
        context.declare(factor, known, powers[given])
    else:
        tensor, order = operand(context, amount)
        context.declare(factor, known)
        table = context.add_constant(powers, "powers")
        shape = context.graph.tensors[tensor].shape
        looked = context.emit("GATHER", [table, tensor], ValueType(dtype, shape), factor, axis=0)
        context.bind(factor, looked, order)
    binary(context, output, "MUL", value, factor)


def _amount(context: Context, node: Node, limit: int) -> str:
    """By how much it shifts: `limit` for what is negative or more."""
    name = node.input(1)
    made, given = f"{node.output()}^amount", context.constant(name)
    if given is not None:
        within = np.where((given < 0) | (given > limit), limit, given)
        context.declare(made, context.type(name), within.astype(given.dtype))
        return made
    tensor, order = operand(context, name)
    below = apply(context, "LESS", tensor, 0, dtype="bool")
    context.declare(made, context.type(name))
    least = apply(context, "MINIMUM", tensor, limit)
    most = context.add_constant(np.array(limit, context.dtype(name)), "limit")
    context.bind(made, apply(context, "SELECT_V2", below, most, least, dtype=context.dtype(name)), order)
    return made


@lowers("BitCast", dtypes=CARRIED)
def bit_cast(context: Context, node: Node) -> None:
    """`BitCast` between dtypes of one size is BITCAST."""
    name, output = node.input(0), node.output()
    source, target = context.dtype(name), context.dtype(output)
    if context.half(name) or context.half(output):
        raise Refused("the bits of a float16 are not kept: it is computed in float32", got="float16")
    if np.dtype(source).itemsize != np.dtype(target).itemsize:
        raise Refused("its dtypes are not of one size", got=f"{source}, {target}")
    tensor, order = operand(context, name)
    if source == target:
        context.bind(output, tensor, order)
        return
    context.produce(output, "BITCAST", [tensor], order)
