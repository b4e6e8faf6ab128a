"""Activations: operators that work on each element, so in whatever order it lies."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import FLOAT, NUMBERS, Node, lowers

_SAME = {
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "HardSwish": "HARD_SWISH",
    "Log": "LOG",
    "Relu": "RELU",
    "Sigmoid": "LOGISTIC",
    "Sin": "SIN",
    "Sqrt": "SQRT",
    "Tanh": "TANH",
}
# lower and upper bound -> the operator that clips to them
_RELUS: dict[tuple[float | None, float | None], str] = {
    (0, 6): "RELU6",
    (-1, 1): "RELU_N1_TO_1",
    (0, 1): "RELU_0_TO_1",
    (0, None): "RELU",
}


def unary(context: Context, node: Node, builtin: str, **options: float) -> None:
    """Lower a node to one operator of one input that keeps its order."""
    name = node.input(0)
    order = context.order(name) or layout.identity(len(context.shape(name)))
    context.produce(node.output(), builtin, [context.arrange(name, order)], order, **options)


@lowers(*_SAME)
def elementwise_function(context: Context, node: Node) -> None:
    """The functions TFLite has under another name."""
    unary(context, node, _SAME[node.type])


@lowers("LeakyRelu")
def leaky_relu(context: Context, node: Node) -> None:
    """`LeakyRelu` is LEAKY_RELU."""
    alpha = np.float32(node.number("alpha", 0.01))  # as the file will hold it
    unary(context, node, "LEAKY_RELU", alpha=float(alpha))


@lowers("HardSigmoid")
def hard_sigmoid(context: Context, node: Node) -> None:
    """`clip(alpha x + beta, 0, 1) = relu6(6 alpha x + 6 beta) / 6`: RELU6 fuses into the addition."""
    name, output = node.input(0), node.output()
    order = context.order(name) or layout.identity(len(context.shape(name)))
    tensor = context.arrange(name, order)
    made = ValueType("float32", context.graph.tensors[tensor].shape)
    slope = np.float32(6 * node.number("alpha", 0.2))
    if slope != 1:
        factor = context.add_constant(np.array(slope, np.float32), "slope")
        tensor = context.emit("MUL", [tensor, factor], made, f"{output}_scaled")
    offset = context.add_constant(np.array(6 * node.number("beta", 0.5), np.float32), "offset")
    tensor = context.emit("ADD", [tensor, offset], made, f"{output}_shifted", fusedActivationFunction="RELU6")
    sixth = context.add_constant(np.array(1 / 6, np.float32), "sixth")
    context.produce(output, "MUL", [tensor, sixth], order)


@lowers("Clip", dtypes=(*NUMBERS, "int8", "uint8", "int16"))
def clip(context: Context, node: Node) -> None:
    """`Clip` is one of the RELUs where its bounds are theirs, else MAXIMUM and MINIMUM."""
    low, high = (_bound(context, node, place, name) for place, name in ((1, "min"), (2, "max")))
    name, output = node.input(0), node.output()
    dtype = context.dtype(name)
    if dtype in FLOAT:
        low = None if low == -np.inf or low == np.finfo(np.float32).min else low
        high = None if high == np.inf or high == np.finfo(np.float32).max else high
        if not isinstance(low, str) and not isinstance(high, str) and (low, high) in _RELUS:
            unary(context, node, _RELUS[low, high])
            return
    if low is None and high is None:
        context.bind(output, context.tensor(name), context.order(name))
        return
    order = context.order(name) or layout.identity(len(context.shape(name)))
    tensor = context.arrange(name, order)
    made = ValueType(dtype, context.graph.tensors[tensor].shape)
    if low == 0 and dtype in FLOAT:
        tensor = context.emit("RELU", [tensor], made, f"{output}_raised")
    elif low is not None:
        bound = low if isinstance(low, str) else context.add_constant(np.array(low, dtype), "min")
        tensor = context.emit("MAXIMUM", [tensor, bound], made, f"{output}_raised")
    if high is not None:
        bound = high if isinstance(high, str) else context.add_constant(np.array(high, dtype), "max")
        tensor = context.emit("MINIMUM", [tensor, bound], made, f"{output}_lowered")
    context.bind(output, tensor, order)


def _bound(context: Context, node: Node, place: int, name: str) -> float | str | None:
    """A bound of Clip: an attribute before operator set 11, an input since; its tensor if it is computed."""
    if node.opset < 11:
        value = node.attributes.get(name)
        return None if value is None else float(value)
    given = node.optional(place)
    if given is None:
        return None
    constant = context.constant(given)
    if constant is None:
        return context.reshape_tensor(context.tensor(given), ())
    number: float = constant.reshape(()).item()  # an int where it is one: a float has not all of int64
    return number
