"""Products of quantised tensors: int8 operators where the scales are constant, else exact in float32."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.convolution import convolve
from converters.lowering.formula import Formula, Operand
from converters.lowering.quantized import INTEGERS, adopt, saturate
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import window_of
from device_agent.bundle import Quantization

_EXACT = 256  # products of two bytes whose sum float32 holds exactly: 256 * 255 * 255 < 2^24
_BYTES = ("int8", "uint8")


@lowers("ConvInteger", dtypes=_BYTES)
def conv_integer(context: Context, node: Node) -> None:
    """`ConvInteger` is a convolution in float32, over so few channels at once that its sums are exact."""
    formula = Formula(context, node.output())
    total = _exact_convolution(formula, node, (0, 2), (1, 3))
    formula.give(node.output(), total, layout.channels_last(len(context.shape(node.output()))))


@lowers("MatMulInteger", dtypes=_BYTES)
def matmul_integer(context: Context, node: Node) -> None:
    """`MatMulInteger` is products in float32, over so few terms at once that their sums are exact."""
    formula = Formula(context, node.output())
    a = _centred(formula, node, 0, 2, axis=-2)
    b = _centred(formula, node, 1, 3, axis=-1)
    formula.give(node.output(), _exact_product(formula, a, b))


@lowers("QLinearMatMul", dtypes=_BYTES)
def qlinear_matmul(context: Context, node: Node) -> None:
    """`QLinearMatMul` by constant int8 weights is FULLY_CONNECTED in int8; else it is exact arithmetic."""
    formula, output = Formula(context, node.output()), node.output()
    x, y = _scale(context, node, 1, 2), _scale(context, node, 6, 7)
    weights = _weights(context, node, 3, channel=-1)
    if x is not None and y is not None and weights is not None and weights.values.ndim == 2:
        source = _as_int8(formula, context.logical(node.input(0)), x)
        if source is not None and len(weights.scale) == 1:
            filters = context.add_constant(weights.values.T, node.input(3))
            context.graph.tensors[filters].quantization = Quantization(weights.scale, (0,), 0)
            shape = context.shape(output)
            keep = len(shape) > 2
            made = formula.emit("FULLY_CONNECTED", [source, filters, None], "int8", shape, keepNumDims=keep)
            formula.give(output, _from_int8(formula, made, context.dtype(output), y))
            return
    a = _centred(formula, node, 0, 2, axis=-2)
    b = _centred(formula, node, 3, 5, axis=-1)
    product = formula.cast(_exact_product(formula, a, b), "float32")
    scales = [formula.cast(formula.value(node.input(place)), "float32") for place in (1, 4, 6)]
    factor = formula.binary("DIV", formula.mul(scales[0], scales[1]), scales[2])
    zero = formula.cast(formula.value(node.input(7)), "float32")
    formula.give(output, saturate(formula, formula.mul(product, factor), zero, context.dtype(output)))


@lowers("QLinearConv", dtypes=_BYTES)
def qlinear_conv(context: Context, node: Node) -> None:
    """`QLinearConv` by constant int8 weights is CONV_2D or DEPTHWISE_CONV_2D in int8; else it is exact."""
    formula, output = Formula(context, node.output()), node.output()
    order = layout.channels_last(len(context.shape(output)))
    x, y = _scale(context, node, 1, 2), _scale(context, node, 6, 7)
    weights = _weights(context, node, 3, channel=0)
    bias = context.constant(node.optional(8))
    simple = len(order) < 5 and (bias is not None or node.optional(8) is None)
    if x is not None and y is not None and weights is not None and simple:
        source = _as_int8(formula, context.arrange(node.input(0), order), x)
        if source is not None:
            made = _int8_convolution(formula, node, source, weights, bias, x, y)
            formula.give(output, _from_int8(formula, made, context.dtype(output), y), order)
            return
    total = _exact_convolution(formula, node, (0, 2), (3, 5))
    if node.optional(8) is not None:
        total = formula.add(total, formula.value(node.input(8)))
    scales = [formula.cast(formula.value(node.input(place)), "float32") for place in (1, 4, 6)]
    scales = [formula.reshape(s, ()) if formula.shape(s) == (1,) else s for s in scales]
    factor = formula.binary("DIV", formula.mul(scales[0], scales[1]), scales[2])
    zero = formula.cast(formula.value(node.input(7)), "float32")
    scaled = formula.mul(formula.cast(total, "float32"), factor)
    formula.give(output, saturate(formula, scaled, zero, context.dtype(output)), order)


@frozen
class _Weights:
    """Constant int8 weights whose zero point is 0, with their scales per output channel or one for all."""

    values: np.ndarray
    scale: tuple[float, ...]


def _scale(context: Context, node: Node, scale: int, zero: int) -> Quantization | None:
    """A scale and a zero point for a whole tensor, None where they are not that or are computed."""
    values, points = context.constant(node.input(scale)), context.constant(node.input(zero))
    if (
        values is None
        or points is None
        or values.size != 1
        or points.size != 1
        or points.dtype.name not in INTEGERS
    ):
        return None
    number = float(values.astype(np.float32).reshape(()))
    return Quantization((number,), (int(points.reshape(())),)) if number > 0 else None


def _weights(context: Context, node: Node, place: int, channel: int) -> _Weights | None:
    values, scale, zero = (context.constant(node.input(place + i)) for i in range(3))
    if values is None or scale is None or zero is None:
        return None
    middle = 128 if values.dtype == np.uint8 else 0
    if not (zero == middle).all() or scale.ndim > 1 or scale.size not in (1, values.shape[channel]):
        return None
    if not (scale > 0).all():
        return None
    shifted = (values.astype(np.int16) - middle).astype(np.int8)
    return _Weights(shifted, tuple(map(float, scale.astype(np.float32).reshape(-1))))


def _as_int8(formula: Formula, tensor: str, known: Quantization) -> str | None:
    """The tensor in int8 with this scale; one in uint8 is moved by 128. None where it has another scale."""
    if not adopt(formula.context, tensor, known):
        return None
    if formula.dtype(tensor) == "int8":
        return tensor
    graph = formula.context.graph
    maker = graph.producer(tensor)
    if maker is not None and maker.type == "QUANTIZE" and maker.inputs[0] is not None:
        source = graph.tensors[maker.inputs[0]]
        if source.dtype == "int8":  # it was moved from there just before
            return source.name
    made = formula.emit("QUANTIZE", [tensor], "int8", formula.shape(tensor))
    graph.tensors[made].quantization = _moved(known)
    return made


def _from_int8(formula: Formula, tensor: Operand, dtype: str, known: Quantization) -> Operand:
    """A result in int8 that gets this scale, as int8 or uint8."""
    tensors = formula.context.graph.tensors
    held = tensors[formula.tensor(tensor)]
    if dtype == "int8":
        held.quantization = known
        return held.name
    held.quantization = _moved(known)
    made = formula.emit("QUANTIZE", [held.name], dtype, held.shape)
    tensors[made].quantization = known
    return made


def _moved(known: Quantization) -> Quantization:
    return Quantization(known.scale, tuple(point - 128 for point in known.zero_point))


def _int8_convolution(
    formula: Formula,
    node: Node,
    source: str,
    weights: _Weights,
    bias: np.ndarray | None,
    x: Quantization,
    y: Quantization,
) -> Operand:
    context = formula.context
    channels = weights.values.shape[0]
    scale = np.broadcast_to(np.array(weights.scale, np.float32), channels)
    added = np.zeros(channels, np.int32) if bias is None else bias.astype(np.int32)
    shape, output = context.shape(node.input(0)), context.shape(node.output())
    window = window_of(node, shape[2:], weights.values.shape[2:], output[2:])
    before = len(context.graph.operators)
    made = convolve(formula, source, weights.values, added, window, node.integer("group", 1))
    per_channel = tuple(map(float, scale))
    product = tuple(float(value) for value in scale * np.float32(x.scale[0]))
    tensors, zeros = context.graph.tensors, (0,) * channels
    for operator in context.graph.operators[before:]:
        if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            axis = 0 if operator.type == "CONV_2D" else 3
            tensors[operator.inputs[1] or ""].quantization = Quantization(per_channel, zeros, axis)
            tensors[operator.inputs[2] or ""].quantization = Quantization(product, zeros, 0)
        held = tensors[operator.outputs[0]]
        held.quantization = held.quantization or (
            y if formula.dtype(made) == context.dtype(node.output()) else _moved(y)
        )
    return made


def _centred(formula: Formula, node: Node, place: int, zero: int, axis: int) -> Operand:
    """An integer operand less its zero point, in float32; a zero point per row or column is along `axis`."""
    x = formula.cast(formula.value(node.input(place)), "float32")
    if node.optional(zero) is None:
        return x
    point = formula.cast(formula.value(node.input(zero)), "float32")
    if isinstance(point, np.ndarray) and not point.any():
        return x
    if formula.shape(point) == (1,):
        point = formula.reshape(point, ())
    if len(formula.shape(point)) == 1 and axis != -1:
        point = formula.reshape(point, (*formula.shape(point), *(1,) * (-axis - 1)))
    return formula.sub(x, point)


def _exact_product(formula: Formula, a: Operand, b: Operand) -> Operand:
    """The product of integers held in float32, as int32."""
    terms = formula.shape(a)[-1]
    if len(formula.shape(a)) < 2 or len(formula.shape(b)) < 2:
        raise Refused("it multiplies vectors", got=formula.shape(a), limit="matrices")
    total: Operand | None = None
    for begin in range(0, terms, _EXACT):
        size = min(_EXACT, terms - begin)
        part = formula.matmul(formula.part(a, -1, begin, size), formula.part(b, -2, begin, size))
        whole = formula.cast(part, "int32")
        total = whole if total is None else formula.add(total, whole)
    if total is None:
        raise Refused("it multiplies nothing")
    return total


def _exact_convolution(
    formula: Formula, node: Node, data: tuple[int, int], weight: tuple[int, int]
) -> Operand:
    """The convolution of integers as int32, channels last; the places are those of tensor and zero point."""
    context = formula.context
    shape, output = context.shape(node.input(data[0])), context.shape(node.output())
    order = layout.channels_last(len(shape))
    x = _centred(formula, node, *data, axis=-1)
    x = formula.transpose(x, order)
    w = _centred(formula, node, *weight, axis=-len(shape))
    window = window_of(node, shape[2:], formula.shape(w)[2:], output[2:])
    groups = node.integer("group", 1)
    depth, step = formula.shape(w)[1], max(_EXACT // int(np.prod(window.kernel)), 1)
    if int(np.prod(window.kernel)) > _EXACT or (groups > 1 and depth > step):
        raise Refused("its sums are too long to be exact", got=formula.shape(w), limit=f"{_EXACT} terms")
    total: Operand | None = None
    for begin in range(0, depth, step):
        size = min(step, depth - begin)
        taken = x if groups > 1 else formula.part(x, -1, begin, size)
        part = convolve(formula, taken, formula.part(w, 1, begin, size), None, window, groups)
        whole = formula.cast(part, "int32")
        total = whole if total is None else formula.add(total, whole)
    if total is None:
        raise Refused("it multiplies nothing")
    return total
