"""Operators of two and more operands that broadcast."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context, elements
from converters.lowering.facts import ValueType
from converters.lowering.layout import Order
from converters.lowering.registry import FLOAT, NUMBERS, SMALL, Node, Refused, lowers
from converters.lowering.writing import apply

_MAX_BROADCAST_RANK = 5


@lowers("Add", "Mul", dtypes=NUMBERS, through=SMALL)
def add_mul(context: Context, node: Node) -> None:
    """`Add` is ADD and `Mul` is MUL."""
    binary(context, node.output(), node.type.upper(), node.input(0), node.input(1))


@lowers("Sub", dtypes=NUMBERS, through=SMALL)
def sub(context: Context, node: Node) -> None:
    """`Sub` is SUB; of a constant it is ADD of its negative, which may fold into a bias."""
    subtrahend = context.constant(node.input(1))
    if subtrahend is not None and subtrahend.dtype == np.float32:
        binary(context, node.output(), "ADD", node.input(0), node.input(1), constant=-subtrahend)
    else:
        binary(context, node.output(), "SUB", node.input(0), node.input(1))


@lowers("Div", dtypes=("float32", "int32"), through=SMALL)
def div(context: Context, node: Node) -> None:
    """`Div` is DIV; by a constant it is MUL by its reciprocal, which may fold into weights."""
    divisor = context.constant(node.input(1))
    if divisor is not None and divisor.dtype == np.float32:
        with np.errstate(all="ignore"):
            reciprocal = (1 / divisor.astype(np.float64)).astype(np.float32)
        if np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(np.float32).tiny).all():
            binary(context, node.output(), "MUL", node.input(0), node.input(1), constant=reciprocal)
            return
    binary(context, node.output(), "DIV", node.input(0), node.input(1))


@lowers("Pow", dtypes=("float32", "int32"), through=SMALL)
def power(context: Context, node: Node) -> None:
    """`Pow` is POW; an integer power of a float is one of its value as a float."""
    base, exponent, output = node.input(0), node.input(1), node.output()
    kind, limit = context.dtype(exponent), context.dtype(base)
    if kind == limit:
        given = context.constant(exponent)
        if kind == "int32" and (given is None or (given < 0).any()):
            raise Refused(
                "an integer to a power that may be negative",
                got=f"{exponent!r} is computed" if given is None else int(given.min()),
                limit="a constant of 0 or more",
            )
        binary(context, output, "POW", base, exponent)
        return
    if limit != "float32" or kind == "bool":
        raise Refused("its exponent must be of the dtype of its base", got=kind, limit=limit)
    wide = f"{output}^exponent"
    constant = context.constant(exponent)
    if constant is not None:
        context.declare(wide, ValueType("float32", constant.shape), constant.astype(np.float32))
    else:
        context.declare(wide, ValueType("float32", context.shape(exponent)))
        context.bind(wide, context.cast(context.tensor(exponent), "float32", wide), context.order(exponent))
    binary(context, output, "POW", base, wide)


@lowers("Mod", dtypes=NUMBERS, through=SMALL)
def mod(context: Context, node: Node) -> None:
    """`Mod` is FLOOR_MOD; with the sign of the dividend it is that of the absolute values."""
    left, right, output = node.input(0), node.input(1), node.output()
    if not node.integer("fmod", 0):
        binary(context, output, "FLOOR_MOD", left, right)
        return
    sizes = []
    for name in (left, right):
        made = f"{output}^size_of_{name}"
        constant = context.constant(name)
        if constant is not None:
            context.declare(made, context.type(name), np.abs(constant))
        else:
            context.declare(made, context.type(name))
            tensor = context.tensor(name)
            size = apply(context, "MAXIMUM", tensor, apply(context, "NEG", tensor))
            context.bind(made, size, context.order(name))
        sizes.append(made)
    rest = f"{output}^rest"
    context.declare(rest, context.type(output))
    binary(context, rest, "FLOOR_MOD", sizes[0], sizes[1])
    order = context.order(rest) or layout.identity(len(context.shape(output)))
    tensor = context.arrange(rest, order)
    shape = context.shape(left)
    dividend = context.arrange(left, order, (1,) * (len(order) - len(shape)) + shape)
    below = apply(context, "LESS", dividend, 0, dtype="bool")
    context.produce(output, "SELECT_V2", [below, apply(context, "NEG", tensor), tensor], order)


@lowers("Max", "Min", "Sum", "Mean", dtypes=NUMBERS, through=SMALL)
def variadic(context: Context, node: Node) -> None:
    """`Max`, `Min` and `Sum` of any number of operands: a chain; `Mean` is divided at its end."""
    builtin = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD", "Mean": "ADD"}[node.type]
    names = [node.input(place) for place in range(len(node.inputs))]
    output, dtype = node.output(), context.dtype(node.output())
    if node.type == "Mean" and dtype not in FLOAT:
        raise Refused("its mean must be float32", got=dtype, limit="float32")
    divided = node.type == "Mean" and len(names) > 1
    result = names[0]
    for place, name in enumerate(names[1:], 2):
        last = place == len(names) and not divided
        made = output if last else f"{output}^{place}"
        if not last:
            shape = np.broadcast_shapes(context.shape(result), context.shape(name))
            context.declare(made, ValueType(dtype, shape))
        binary(context, made, builtin, result, name)
        result = made
    if divided:
        part = f"{output}^part"
        context.declare(part, ValueType(dtype, ()), np.array(1 / len(names), dtype))
        binary(context, output, "MUL", result, part)
    elif len(names) == 1:
        context.bind(output, context.tensor(result), context.order(result))


def binary(
    context: Context, output: str, builtin: str, left: str, right: str, constant: np.ndarray | None = None
) -> None:
    """Lower to one operator of two operands; `constant` stands for the right one's value where given."""
    rank = len(context.shape(output))
    if rank > _MAX_BROADCAST_RANK and context.shape(left) != context.shape(right):
        raise Refused("it broadcasts over too many axes", got=rank, limit=_MAX_BROADCAST_RANK)
    order = agree(context, [left, right], rank)
    inputs: list[str | None] = []
    for name, value in ((left, None), (right, constant)):
        known = context.constant(name)
        if known is not None:
            other = right if name == left else left
            inputs.append(_constant(context, known if value is None else value, name, other, order))
        else:
            inputs.append(_operand(context, name, order))
    context.produce(output, builtin, inputs, order)


def agree(context: Context, names: list[str], rank: int) -> Order:
    """The order of axes in which these operands meet: the one that makes the fewest elements move.

    Of two that are as good, the one that is not ONNX's own: it comes from an operator that needs it.
    """
    lying = {layout.padded(order, rank): None for name in names if (order := context.order(name)) is not None}
    orders = sorted(lying, key=lambda order: order == layout.identity(rank))
    return min(orders, key=lambda order: _cost(context, names, order), default=layout.identity(rank))


def _cost(context: Context, names: list[str], target: Order) -> int:
    cost = 0
    for name in names:
        order = context.order(name)
        if order is None:
            continue
        shape = _widened(context, name, len(target))
        if layout.moved(shape, layout.padded(order, len(target))) != layout.moved(shape, target):
            cost += elements(shape)
    return cost


def _widened(context: Context, name: str, rank: int) -> layout.Shape:
    shape = context.shape(name)
    return (1,) * (rank - len(shape)) + shape


def _operand(context: Context, name: str, order: Order) -> str:
    """A computed operand; one of lower rank that lies right already is left to TFLite's broadcasting."""
    held = context.order(name)
    if held is not None and layout.padded(held, len(order)) == order:
        return context.tensor(name)
    return context.arrange(name, order, _widened(context, name, len(order)))


def widened_operand(context: Context, name: str, order: Order) -> str:
    """An operand, computed or not, with axes of size 1 in front where others have more axes."""
    if context.constant(name) is None:
        return _operand(context, name, order)
    shape = context.shape(name)
    if all(size == 1 for size in shape):
        return context.arrange(name, (), ())
    return context.arrange(name, order, _widened(context, name, len(order)))


def _constant(context: Context, value: np.ndarray, name: str, other: str, order: Order) -> str:
    """A constant operand in `order`, without the leading axes of size 1 that `other` brings anyway."""
    array = np.transpose(value.reshape((1,) * (len(order) - value.ndim) + value.shape), order)
    if len(context.shape(other)) == len(order):
        while array.ndim and array.shape[0] == 1:
            array = array[0]
    return context.add_constant(array, name)
