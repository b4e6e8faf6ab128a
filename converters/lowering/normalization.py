"""BatchNormalization and Softmax."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.formula import Formula
from converters.lowering.registry import Node, Refused, lowers


@lowers("BatchNormalization")
def batch_normalization(context: Context, node: Node) -> None:
    """`(x - mean) / sqrt(var + epsilon) * scale + bias` with constants is MUL and ADD per channel.

    Both fold into the convolution before them, where there is one (see `graph.passes`).
    """
    if node.integer("training_mode", 0) or not node.integer("spatial", 1):
        raise Refused("only its inference form can be lowered", help="Export the model in evaluation mode.")
    if any(context.constant(node.input(place)) is None for place in range(1, 5)):
        _computed(context, node)
        return
    scale, bias, mean, variance = (
        context.need_constant(node.input(place), what).astype(np.float64)
        for place, what in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance"))
    )
    channels = context.shape(node.input(0))[1]
    if any(array.shape != (channels,) for array in (scale, bias, mean, variance)):
        raise Refused(
            "its constants do not fit its input", got=list(scale.shape), limit=f"{channels} channels"
        )
    with np.errstate(all="ignore"):  # a negative variance gives NaN here as it does in the source
        factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
        offset = bias - mean * factor
    name, output = node.input(0), node.output()
    order = context.order(name) or layout.identity(len(context.shape(name)))
    tensor = context.arrange(name, order)
    made = ValueType("float32", context.graph.tensors[tensor].shape)
    after = len(order) - 1 - order.index(1)  # axes that lie behind the channels
    constants = [
        context.add_constant(array.astype(np.float32).reshape(-1, *(1,) * after), f"{output}_{what}")
        for array, what in ((factor, "scale"), (offset, "offset"))
    ]
    scaled = context.emit("MUL", [tensor, constants[0]], made, f"{output}_scaled")
    context.produce(output, "ADD", [scaled, constants[1]], order)


def _computed(context: Context, node: Node) -> None:
    """The same with parameters that are computed: `(x - mean) * (scale * RSQRT(var + epsilon)) + bias`."""
    name, output = node.input(0), node.output()
    order = context.order(name) or layout.identity(len(context.shape(name)))
    after = len(order) - 1 - order.index(1)
    formula = Formula(context, output)
    scale, bias, mean, variance = (
        formula.reshape(formula.value(node.input(place)), (*context.shape(node.input(place)), *(1,) * after))
        for place in range(1, 5)
    )
    root = formula.add(variance, node.number("epsilon", 1e-5))
    factor = formula.mul(scale, formula.unary("RSQRT", root))
    y = formula.mul(formula.sub(context.arrange(name, order), mean), factor)
    formula.give(output, formula.add(y, bias), order)


@lowers("Softmax", "LogSoftmax")
def softmax(context: Context, node: Node) -> None:
    """`Softmax` over one axis; before operator set 13, over all axes from `axis` on as if they were one."""
    name, output = node.input(0), node.output()
    shape = context.shape(name)
    builtin = {"Softmax": "SOFTMAX", "LogSoftmax": "LOG_SOFTMAX"}[node.type]
    options = {"beta": 1.0} if builtin == "SOFTMAX" else {}
    axis = node.integer("axis", -1 if node.opset >= 13 else 1) % max(len(shape), 1)
    if node.opset < 13 and math.prod(shape[axis + 1 :]) > 1:
        flat = ValueType("float32", (math.prod(shape[:axis]), math.prod(shape[axis:])))
        tensor = context.reshape_tensor(context.logical(name), flat.shape)
        tensor = context.emit(builtin, [tensor], flat, f"{output}_flat", **options)
        context.bind(output, context.reshape_tensor(tensor, shape, output))
        return
    order = context.order(name) or layout.identity(len(shape))
    if order and order[-1] != axis:
        order = (*(a for a in order if a != axis), axis)
    context.produce(output, builtin, [context.arrange(name, order)], order, **options)
