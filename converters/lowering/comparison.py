"""Comparisons, logic and choice: what makes bools or reads them."""

from __future__ import annotations

import numpy as np

from converters.lowering.context import Context
from converters.lowering.elementwise import agree, binary, widened_operand
from converters.lowering.registry import CARRIED, NUMBERS, SMALL, Node, Refused, lowers
from converters.lowering.writing import apply, operand

_COMPARISONS = {
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}
_LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}
_MAX_SELECT_RANK = 5


@lowers(*_COMPARISONS, dtypes=NUMBERS, through=SMALL)
def comparison(context: Context, node: Node) -> None:
    """`Greater` and its kin are builtins of the same names."""
    binary(context, node.output(), _COMPARISONS[node.type], node.input(0), node.input(1))


@lowers("Equal", dtypes=(*NUMBERS, "bool"), through=SMALL)
def equal(context: Context, node: Node) -> None:
    """`Equal` is EQUAL."""
    binary(context, node.output(), "EQUAL", node.input(0), node.input(1))


@lowers(*_LOGIC, dtypes=("bool",))
def logic(context: Context, node: Node) -> None:
    """`And` and `Or` are LOGICAL_AND and LOGICAL_OR, `Xor` is NOT_EQUAL."""
    binary(context, node.output(), _LOGIC[node.type], node.input(0), node.input(1))


@lowers("Not", dtypes=("bool",))
def logical_not(context: Context, node: Node) -> None:
    """`Not` is LOGICAL_NOT."""
    tensor, order = operand(context, node.input(0))
    context.produce(node.output(), "LOGICAL_NOT", [tensor], order)


@lowers("IsNaN")
def is_nan(context: Context, node: Node) -> None:
    """What does not equal itself: NOT_EQUAL."""
    tensor, order = operand(context, node.input(0))
    context.produce(node.output(), "NOT_EQUAL", [tensor, tensor], order)


@lowers("IsInf")
def is_inf(context: Context, node: Node) -> None:
    """EQUAL to infinity, to its negative, or to either by ABS."""
    tensor, order = operand(context, node.input(0))
    up, down = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    if not up and not down:
        raise Refused("it detects neither infinity", got="detect_positive=0, detect_negative=0")
    if up and down:
        tensor = apply(context, "ABS", tensor)
    wanted = context.add_constant(np.array(np.inf if up else -np.inf, np.float32), "infinity")
    context.produce(node.output(), "EQUAL", [tensor, wanted], order)


@lowers("Where", dtypes=("bool",))
def where(context: Context, node: Node) -> None:
    """`Where` is SELECT_V2."""
    names = [node.input(place) for place in range(3)]
    output = node.output()
    rank = len(context.shape(output))
    if context.dtype(output) not in CARRIED:
        raise Refused("it chooses between values of another dtype", got=context.dtype(output))
    if rank > _MAX_SELECT_RANK and any(context.shape(name) != context.shape(output) for name in names):
        raise Refused("it broadcasts over too many axes", got=rank, limit=_MAX_SELECT_RANK)
    order = agree(context, names, rank)
    inputs: list[str | None] = [widened_operand(context, name, order) for name in names]
    context.produce(output, "SELECT_V2", inputs, order)
