"""QuantizeLinear and its kin: scales stay scales of the tensors; what TFLite has not is arithmetic."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.layout import Order
from converters.lowering.registry import Node, Refused, lowers
from device_agent.bundle import Quantization

INTEGERS = ("int8", "uint8", "int16")
_BLIND = ("CAST", "RESHAPE", "TRANSPOSE")  # what reads elements whatever they mean
_UNTOUCHED = (None, "RESHAPE", "TRANSPOSE")  # makers whose result means what the scale says


@lowers("QuantizeLinear")
def quantize_linear(context: Context, node: Node) -> None:
    """`QuantizeLinear` is QUANTIZE to a tensor with this scale; a computed scale is DIV, ROUND and CAST."""
    name, output = node.input(0), node.output()
    dtype = context.dtype(output)
    if dtype not in INTEGERS:
        raise Refused("it quantises to a dtype that cannot be computed", got=dtype, limit=", ".join(INTEGERS))
    formula = Formula(context, output)
    order = context.order(name) or layout.identity(len(context.shape(name)))
    known = constant_quantization(context, node, dtype, order)
    if known is not None:
        lying = context.arrange(name, order)
        made = formula.emit("QUANTIZE", [lying], dtype, formula.shape(lying))
        context.graph.tensors[made].quantization = known
        formula.give(output, made, order)
        return
    x, scale, zero, shape = _operands(formula, node)
    y = formula.binary("DIV", x, scale)
    formula.give(output, formula.reshape(saturate(formula, y, zero, dtype), shape))


@lowers("DequantizeLinear", dtypes=(*INTEGERS, "int32"))
def dequantize_linear(context: Context, node: Node) -> None:
    """`DequantizeLinear` is DEQUANTIZE of a tensor with this scale; a computed scale is CAST, SUB and MUL."""
    name, output = node.input(0), node.output()
    dtype = context.dtype(name)
    formula = Formula(context, output)
    order = context.order(name) or layout.identity(len(context.shape(name)))
    known = constant_quantization(context, node, dtype, order)
    tensor = context.arrange(name, order)
    if known is not None and adopt(context, tensor, known):
        formula.give(output, formula.emit("DEQUANTIZE", [tensor], "float32", formula.shape(tensor)), order)
        return
    x, scale, zero, shape = _operands(formula, node)
    y = formula.cast(x, "float32")
    if zero is not None:
        y = formula.sub(y, zero)
    formula.give(output, formula.reshape(formula.mul(y, scale), shape))


@lowers("DynamicQuantizeLinear")
def dynamic_quantize_linear(context: Context, node: Node) -> None:
    """`DynamicQuantizeLinear` is the range by REDUCE_MIN and REDUCE_MAX, and arithmetic with it."""
    formula = Formula(context, node.name)
    x = formula.value(node.input(0))
    axes = list(range(len(formula.shape(x))))
    low = formula.binary("MINIMUM", formula.reduce("REDUCE_MIN", x, axes, keep=False), 0.0)
    high = formula.binary("MAXIMUM", formula.reduce("REDUCE_MAX", x, axes, keep=False), 0.0)
    scale = formula.binary("DIV", formula.sub(high, low), 255.0)
    # zeros only: any scale that is not 0 gives the zeros that there are
    scale = formula.binary("MAXIMUM", scale, float(np.finfo(np.float32).tiny))
    exact = formula.unary("ROUND", formula.binary("DIV", formula.unary("NEG", low), scale))
    zero = clamp(formula, exact, "uint8")
    y = saturate(formula, formula.binary("DIV", x, scale), zero, "uint8")
    for name, operand in zip(node.outputs, (y, scale, formula.cast(zero, "uint8")), strict=False):
        if name is not None:
            formula.give(name, operand)


def constant_quantization(context: Context, node: Node, dtype: str, order: Order) -> Quantization | None:
    """The scale and zero point of a node as those of a tensor in `order`; None where that cannot be.

    They are its inputs 1 and 2: one number, or one for each place along attribute `axis`.
    """
    scale, zero = context.constant(node.input(1)), node.optional(2)
    points = context.constant(zero)
    if dtype not in INTEGERS or scale is None or node.integer("block_size", 0):
        return None
    if zero is None:
        points = np.zeros(scale.shape, np.int64)
    if points is None or points.size != scale.size or (dtype == "int16" and points.any()):
        return None
    axis = node.integer("axis", 1)
    if scale.size > 1:
        shape = context.shape(node.input(0))
        if scale.ndim != 1 or not -len(shape) <= axis < len(shape) or scale.size != shape[axis]:
            return None
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    place = order.index(axis % len(order)) if scale.size > 1 else 0
    values = scale.astype(np.float32).reshape(-1)
    return Quantization(tuple(map(float, values)), tuple(map(int, points.reshape(-1))), place)


def adopt(context: Context, tensor: str, known: Quantization) -> bool:
    """Let a tensor have this scale, where it has no other and nothing but its elements' meaning changes."""
    held = context.graph.tensors[tensor]
    if held.quantization is None and context.made_by(tensor) in _UNTOUCHED:
        if any(reader.type not in _BLIND for reader in context.graph.consumers(tensor)):
            return False  # it was made for elements without a scale
        held.quantization = known
    return held.quantization == known


def saturate(formula: Formula, y: Operand, zero: Operand | None, dtype: str) -> Operand:
    """`y` rounded to even, with the zero point (in float32) added, clipped to what `dtype` holds."""
    y = formula.unary("ROUND", y)
    if zero is not None:
        y = formula.add(y, zero)
    return formula.cast(clamp(formula, y, dtype), dtype)


def clamp(formula: Formula, y: Operand, dtype: str) -> Operand:
    """`y` in float32 clipped to what `dtype` holds."""
    limits = np.iinfo(dtype)
    return formula.binary("MINIMUM", formula.binary("MAXIMUM", y, float(limits.min)), float(limits.max))


def _operands(formula: Formula, node: Node) -> tuple[Operand, Operand, Operand | None, tuple[int, ...]]:
    """The input, and scale and zero point that broadcast against it; the shape that it has in truth.

    Of blocks, an axis of the input is cut in two, blocks and places in a block.
    """
    x, scale = formula.value(node.input(0)), formula.value(node.input(1))
    zero = formula.cast(formula.value(node.input(2)), "float32") if node.optional(2) is not None else None
    shape = formula.shape(x)
    block = node.integer("block_size", 0)
    axis = node.integer("axis", 1)
    if block:
        axis %= len(shape)
        blocks = formula.shape(scale)[axis]
        if blocks * block != shape[axis]:
            raise Refused("its blocks do not divide the axis", got=block, limit=shape[axis])
        x = formula.reshape(x, (*shape[:axis], blocks, block, *shape[axis + 1 :]))
        widened = (*shape[:axis], blocks, 1, *shape[axis + 1 :])
    elif len(formula.shape(scale)) == 1 and formula.shape(scale) != (1,):
        axis %= len(shape)
        widened = (formula.shape(scale)[0], *(1,) * (len(shape) - 1 - axis))
    else:
        widened = ()
    scale = formula.reshape(formula.cast(scale, "float32"), widened)
    return x, scale, None if zero is None else formula.reshape(zero, widened), shape
