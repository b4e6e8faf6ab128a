"""Normalisations over axes of one sample: LayerNormalization and its kin, in whatever order it lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.layout import Order
from converters.lowering.registry import Node, Refused, lowers


@lowers("LayerNormalization")
def layer_normalization(context: Context, node: Node) -> None:
    """`LayerNormalization` is `(x - MEAN) * RSQRT(MEAN of the squares + epsilon) * scale + bias`."""
    formula, order, x = _operand(context, node)
    axes = _trailing(node, order)
    mean = formula.reduce("MEAN", x, axes)
    centred, inverse = centre(formula, x, mean, axes, node.number("epsilon", 1e-5))
    y = formula.mul(centred, inverse)
    y = formula.mul(y, _parameter(formula, node.input(1), order))
    if node.optional(2) is not None:
        y = formula.add(y, _parameter(formula, node.input(2), order))
    for place, operand in ((0, y), (1, mean), (2, inverse)):
        if place < len(node.outputs) and (name := node.outputs[place]) is not None:
            formula.give(name, operand, order)


@lowers("RMSNormalization")
def rms_normalization(context: Context, node: Node) -> None:
    """`RMSNormalization` is `x * RSQRT(MEAN of the squares + epsilon) * scale`."""
    formula, order, x = _operand(context, node)
    inverse = _inverse_root(formula, x, _trailing(node, order), node.number("epsilon", 1e-5))
    y = formula.mul(formula.mul(x, inverse), _parameter(formula, node.input(1), order))
    formula.give(node.output(), y, order)


@lowers("InstanceNormalization")
def instance_normalization(context: Context, node: Node) -> None:
    """`InstanceNormalization` is LayerNormalization over the spatial axes, scaled per channel."""
    formula, order, x = _operand(context, node)
    rank = len(order)
    if rank < 3:
        raise Refused("it has no spatial axes", got=f"{rank} axes", limit="3 or more")
    axes = [order.index(axis) for axis in range(2, rank)]
    mean = formula.reduce("MEAN", x, axes)
    centred, inverse = centre(formula, x, mean, axes, node.number("epsilon", 1e-5))
    scale, bias = (_per_channel(formula, node.input(place), order) for place in (1, 2))
    formula.give(node.output(), formula.add(formula.mul(centred, formula.mul(inverse, scale)), bias), order)


@lowers("GroupNormalization")
def group_normalization(context: Context, node: Node) -> None:
    """`GroupNormalization` reshapes so that a group has an axis, and normalises over the rest of it."""
    name, output = node.input(0), node.output()
    shape, groups = context.shape(name), node.integer("num_groups", 1)
    channels = shape[1]
    if groups < 1 or channels % groups:
        raise Refused("its groups do not divide its channels", got=groups, limit=channels)
    order = context.order(name) or layout.identity(len(shape))
    if order != layout.channels_last(len(shape)):
        order = layout.identity(len(shape))
    formula = Formula(context, output)
    x: Operand = context.arrange(name, order)
    place, lying = order.index(1), formula.shape(x)
    grouped = (*lying[:place], groups, channels // groups, *lying[place + 1 :])
    x = formula.reshape(x, grouped)
    axes = [axis for axis in range(1, len(grouped)) if axis != place]
    mean = formula.reduce("MEAN", x, axes)
    centred, inverse = centre(formula, x, mean, axes, node.number("epsilon", 1e-5))
    scale, bias = (formula.value(node.input(i)) for i in (1, 2))
    trailing = (1,) * (len(grouped) - place - 2)
    y = formula.reshape(formula.mul(centred, inverse), lying)
    parts = [formula.reshape(part, (channels, *trailing)) for part in (scale, bias)]
    formula.give(output, formula.add(formula.mul(y, parts[0]), parts[1]), order)


@lowers("MeanVarianceNormalization")
def mean_variance_normalization(context: Context, node: Node) -> None:
    """`MeanVarianceNormalization` is `(x - MEAN) / (SQRT of the MEAN of the squares + 1e-9)`."""
    formula, order, x = _operand(context, node)
    axes = [order.index(axis % len(order)) for axis in node.integers("axes") or (0, 2, 3)]
    centred = formula.sub(x, formula.reduce("MEAN", x, axes))
    variance = formula.reduce("MEAN", formula.mul(centred, centred), axes)
    spread = formula.add(formula.unary("SQRT", variance), 1e-9)
    formula.give(node.output(), formula.binary("DIV", centred, spread), order)


@lowers("LpNormalization")
def lp_normalization(context: Context, node: Node) -> None:
    """`LpNormalization` divides by the norm along an axis; where that is 0 the result is 0."""
    formula, order, x = _operand(context, node)
    degree = node.integer("p", 2)
    axes = [order.index(node.integer("axis", -1) % len(order))]
    if degree == 1:
        norm = formula.reduce("SUM", formula.unary("ABS", x), axes)
    elif degree == 2:
        norm = formula.unary("SQRT", formula.reduce("SUM", formula.mul(x, x), axes))
    else:
        raise Refused("there is no such norm", got=f"p = {degree}", limit="1, 2")
    # all elements are 0 where the norm is, so any divisor that is not 0 gives the 0 it shall be
    norm = formula.binary("MAXIMUM", norm, float(np.finfo(np.float32).tiny))
    formula.give(node.output(), formula.binary("DIV", x, norm), order)


@lowers("LRN")
def local_response_normalization(context: Context, node: Node) -> None:
    """`LRN` of an odd size is LOCAL_RESPONSE_NORMALIZATION, in NHWC."""
    name, output = node.input(0), node.output()
    size = node.integer("size", 1)
    if len(context.shape(name)) != 4 or size < 1 or size % 2 == 0:
        raise Refused(
            "it works over an odd number of channels of an image",
            got=f"size {size}, {len(context.shape(name))} axes",
            limit="an odd size, 4 axes",
        )
    order = layout.channels_last(4)
    numbers = {
        "bias": node.number("bias", 1.0),
        "alpha": node.number("alpha", 1e-4) / size,
        "beta": node.number("beta", 0.75),
    }
    options = {key: float(np.float32(value)) for key, value in numbers.items()}  # as the file will hold it
    inputs: list[str | None] = [context.arrange(name, order)]
    context.produce(output, "LOCAL_RESPONSE_NORMALIZATION", inputs, order, radius=size // 2, **options)


def centre(
    formula: Formula, x: Operand, mean: Operand, axes: Sequence[int], epsilon: float
) -> tuple[Operand, Operand]:
    """`x - mean`, and one over its standard deviation with `epsilon` added to the variance."""
    centred = formula.sub(x, mean)
    return centred, _inverse_root(formula, centred, axes, epsilon)


def _inverse_root(formula: Formula, x: Operand, axes: Sequence[int], epsilon: float) -> Operand:
    squares = formula.reduce("MEAN", formula.mul(x, x), axes)
    return formula.unary("RSQRT", formula.add(squares, epsilon))


def _operand(context: Context, node: Node) -> tuple[Formula, Order, Operand]:
    """The first input as it lies, and its order."""
    name = node.input(0)
    order = context.order(name) or layout.identity(len(context.shape(name)))
    label = next((output for output in node.outputs if output is not None), node.name)
    return Formula(context, label), order, context.arrange(name, order)


def _trailing(node: Node, order: Order) -> list[int]:
    """Where the axes from attribute `axis` on lie."""
    rank = len(order)
    axis = node.integer("axis", -1)
    if not -rank <= axis < rank:
        raise Refused("it has no such axis", got=axis, limit=f"{rank} axes")
    return [order.index(a) for a in range(axis % rank, rank)]


def _parameter(formula: Formula, name: str, order: Order) -> Operand:
    """A scale or bias that broadcasts against an operand of this order."""
    context = formula.context
    shape = context.shape(name)
    widened = (1,) * (len(order) - len(shape)) + shape
    constant = context.constant(name)
    if constant is None:
        return context.arrange(name, order, widened)
    array = np.transpose(constant.reshape(widened), order)
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return array


def _per_channel(formula: Formula, name: str, order: Order) -> Operand:
    """A scale or bias of one number a channel, as axis 1 of an operand of this order."""
    after = len(order) - 1 - order.index(1)
    value = formula.value(name)
    return formula.reshape(value, (*formula.shape(value), *(1,) * after))
