"""Operators of two and more operands that broadcast."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context, elements
from converters.lowering.facts import ValueType
from converters.lowering.layout import Order
from converters.lowering.registry import FLOAT, NUMBERS, Node, Refused, lowers

_MAX_BROADCAST_RANK = 5


@lowers("Add", "Mul", dtypes=NUMBERS)
def add_mul(context: Context, node: Node) -> None:
    """`Add` is ADD and `Mul` is MUL."""
    binary(context, node, node.type.upper(), node.input(0), node.input(1))


@lowers("Sub", dtypes=NUMBERS)
def sub(context: Context, node: Node) -> None:
    """`Sub` is SUB; of a constant it is ADD of its negative, which may fold into a bias."""
    subtrahend = context.constant(node.input(1))
    if subtrahend is not None and subtrahend.dtype == np.float32:
        binary(context, node, "ADD", node.input(0), node.input(1), constant=-subtrahend)
    else:
        binary(context, node, "SUB", node.input(0), node.input(1))


@lowers("Div", dtypes=("float32", "int32"))
def div(context: Context, node: Node) -> None:
    """`Div` is DIV; by a constant it is MUL by its reciprocal, which may fold into weights."""
    divisor = context.constant(node.input(1))
    if divisor is not None and divisor.dtype == np.float32:
        with np.errstate(all="ignore"):
            reciprocal = (1 / divisor.astype(np.float64)).astype(np.float32)
        if np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(np.float32).tiny).all():
            binary(context, node, "MUL", node.input(0), node.input(1), constant=reciprocal)
            return
    binary(context, node, "DIV", node.input(0), node.input(1))


@lowers("Pow")
def power(context: Context, node: Node) -> None:
    """`Pow` is POW."""
    if context.dtype(node.input(1)) not in FLOAT:
        raise Refused("its exponent must be float32", got=context.dtype(node.input(1)), limit="float32")
    binary(context, node, "POW", node.input(0), node.input(1))


@lowers("Max", "Min", "Sum", dtypes=NUMBERS)
def variadic(context: Context, node: Node) -> None:
    """`Max`, `Min` and `Sum` of any number of operands: a chain of MAXIMUM, MINIMUM or ADD."""
    builtin = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}[node.type]
    names = [node.input(place) for place in range(len(node.inputs))]
    if len(names) == 1:
        context.bind(node.output(), context.tensor(names[0]), context.order(names[0]))
        return
    if len(names) > 2 and any(context.shape(name) != context.shape(node.output()) for name in names):
        raise Refused("more than two operands must have one shape", got=[context.shape(n) for n in names])
    if len(names) == 2:
        binary(context, node, builtin, names[0], names[1])
        return
    order = agree(context, names, len(context.shape(node.output())))
    tensor = context.arrange(names[0], order)
    for name in names[1:-1]:
        held = context.graph.tensors[tensor]
        made = ValueType(held.dtype, held.shape)
        tensor = context.emit(builtin, [tensor, context.arrange(name, order)], made, f"{name}_joined")
    context.produce(node.output(), builtin, [tensor, context.arrange(names[-1], order)], order)


def binary(
    context: Context, node: Node, builtin: str, left: str, right: str, constant: np.ndarray | None = None
) -> None:
    """Lower to one operator of two operands; `constant` stands for the right one's value where given."""
    output = node.output()
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


def _constant(context: Context, value: np.ndarray, name: str, other: str, order: Order) -> str:
    """A constant operand in `order`, without the leading axes of size 1 that `other` brings anyway."""
    array = np.transpose(value.reshape((1,) * (len(order) - value.ndim) + value.shape), order)
    if len(context.shape(other)) == len(order):
        while array.ndim and array.shape[0] == 1:
            array = array[0]
    return context.add_constant(array, name)
