"""ConvTranspose: TRANSPOSE_CONV and CONV_3D_TRANSPOSE, with the channels last."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Sizes

_MAX_SPLIT = 4  # groups; more become one convolution whose weights are zero between groups


@frozen
class Spread:
    """How far each input element is spread, per spatial axis; `begin` is what is cut off before."""

    size: Sizes  # of the input
    output: Sizes
    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    begin: Sizes

    def full(self) -> Sizes:
        """The output with nothing cut off or added."""
        return tuple(
            (n - 1) * stride + (k - 1) * dilation + 1
            for n, stride, k, dilation in zip(
                self.size, self.strides, self.kernel, self.dilations, strict=True
            )
        )

    def planar(self) -> Spread:
        """One over one axis as one over two, of which the first has size 1."""
        return Spread(
            (1, *self.size),
            (1, *self.output),
            (1, *self.kernel),
            (1, *self.strides),
            (1, *self.dilations),
            (0, *self.begin),
        )

    def same(self) -> bool:
        """Whether TFLite's SAME cuts off just this."""
        rest = [whole - out for whole, out in zip(self.full(), self.output, strict=True)]
        return all(
            out == size * stride and left >= 0 and cut == left // 2
            for out, size, stride, left, cut in zip(
                self.output, self.size, self.strides, rest, self.begin, strict=True
            )
        )


@lowers("ConvTranspose")
def conv_transpose(context: Context, node: Node) -> None:
    """`ConvTranspose` is TRANSPOSE_CONV, over three axes CONV_3D_TRANSPOSE; SLICE and PAD fit its edges.

    A dilated kernel is one with zeros in it. A group has a convolution of its own.
    """
    name, output = node.input(0), node.output()
    shape, out_shape = context.shape(name), context.shape(output)
    formula = Formula(context, output)
    weights = formula.value(node.input(1))  # [in, out / groups, kernel]
    groups = node.integer("group", 1)
    channels, out = formula.shape(weights)[:2]
    if channels != shape[1] or groups < 1 or channels % groups or out * groups != out_shape[1]:
        raise Refused("its weights do not fit its input", got=list(formula.shape(weights)), limit=list(shape))
    spread = _spread(node, shape[2:], out_shape[2:], formula.shape(weights)[2:])
    for axis, step in enumerate(spread.dilations):
        weights = dilated(formula, weights, axis + 2, step)
    bias = formula.value(node.input(2)) if node.optional(2) is not None else None
    order = layout.channels_last(len(shape))
    x: Operand = context.arrange(name, order)
    if groups > _MAX_SPLIT and isinstance(weights, np.ndarray):
        weights, groups = _dense(weights, groups), 1
    parts = [
        spread_out(
            formula,
            formula.part(x, -1, group * (channels // groups), channels // groups),
            formula.part(weights, 0, group * (channels // groups), channels // groups),
            bias if groups == 1 else None,
            spread,
        )
        for group in range(groups)
    ]
    y = formula.concat(parts, -1)
    if bias is not None and groups > 1:
        y = formula.add(y, bias)
    formula.give(output, y, order)


def _spread(node: Node, size: Sizes, output: Sizes, kernel: Sizes) -> Spread:
    """The attributes; what is cut off before follows from the sizes where the file does not say it.

    https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """
    axes = len(size)
    if not 1 <= axes <= 3:
        raise Refused("it spreads over too many axes", got=f"{axes}D", limit="1D, 2D, 3D")
    strides = node.integers("strides") or (1,) * axes
    dilations = node.integers("dilations") or (1,) * axes
    pads = node.integers("pads") or (0,) * (2 * axes)
    more = node.integers("output_padding") or (0,) * axes
    mode = node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == len(more) == axes:
        raise Refused(f"its attributes are not those of {axes} axes", got=f"kernel {kernel}")
    if mode not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise Refused("its auto_pad is none that ONNX has", got=repr(mode))
    if min(*strides, *dilations, *kernel) < 1 or (
        "kernel_shape" in node.attributes and (node.integers("kernel_shape") != kernel)
    ):
        raise Refused("its kernel is impossible", got=f"kernel {kernel}, strides {strides}")
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return Spread(size, output, kernel, strides, dilations, pads[:axes])
    begin = [0] * axes
    if mode != "VALID":
        whole = Spread(size, output, kernel, strides, dilations, (0,) * axes).full()
        for axis in range(axes):
            total = max(whole[axis] + more[axis] - output[axis], 0)
            begin[axis] = total // 2 if mode == "SAME_UPPER" else total - total // 2
    return Spread(size, output, kernel, strides, dilations, tuple(begin))


def spread_out(
    formula: Formula, x: Operand, weights: Operand, bias: Operand | None, spread: Spread
) -> Operand:
    """One group: `x` [batch, space, in] by weights [in, out, kernel], which are dilated already."""
    if len(spread.size) == 1:
        result = (formula.shape(x)[0], *spread.output, formula.shape(weights)[1])
        x = formula.reshape(x, (formula.shape(x)[0], 1, *formula.shape(x)[1:]))
        weights = formula.reshape(weights, (*formula.shape(weights)[:2], 1, formula.shape(weights)[2]))
        spread = spread.planar()
        return formula.reshape(spread_out(formula, x, weights, bias, spread), result)
    batch, out, solid = formula.shape(x)[0], formula.shape(weights)[1], len(spread.size) == 3
    same, full = spread.same(), spread.full()
    sizes = spread.output if same else full
    grows = any(
        begin < 0 or begin + size > whole
        for begin, size, whole in zip(spread.begin, spread.output, full, strict=True)
    )
    shape = (batch, *sizes, out)
    filters = formula.transpose(weights, (2, 3, 4, 1, 0) if solid else (1, 2, 3, 0))
    options: dict[str, object] = {"padding": "SAME" if same else "VALID"}
    for side, stride in zip("DHW" if solid else "HW", spread.strides, strict=True):
        options[f"stride{side}"] = stride
    inputs: list[Operand | None] = [np.array(shape, np.int32), filters, x]
    if bias is not None and not grows:
        inputs.append(bias)
    builtin = "CONV_3D_TRANSPOSE" if solid else "TRANSPOSE_CONV"
    y: Operand = formula.emit(builtin, inputs, "float32", shape, **options)
    if same:
        return y
    edges = list(zip(spread.begin, spread.output, full, strict=True))
    begin = [max(cut, 0) for cut, _, _ in edges]
    end = [min(cut + size, whole) for cut, size, whole in edges]
    kept = [after - before for before, after in zip(begin, end, strict=True)]
    y = formula.slice(y, (0, *begin, 0), (batch, *kept, out))
    amounts = [(max(-cut, 0), max(cut + size - whole, 0)) for cut, size, whole in edges]
    y = formula.pad(y, [(0, 0), *amounts, (0, 0)])
    return formula.add(y, bias) if bias is not None and grows else y


def dilated(formula: Formula, weights: Operand, axis: int, step: int) -> Operand:
    """The weights with `step - 1` zeros between elements along an axis."""
    size = formula.shape(weights)[axis]
    if step == 1 or size == 1:
        return weights
    amounts = [(0, int(a == axis)) for a in range(len(formula.shape(weights)))]
    places = [i // step if i % step == 0 else size for i in range((size - 1) * step + 1)]
    return formula.gather(formula.pad(weights, amounts), np.array(places, np.int32), axis)


def _dense(weights: np.ndarray, groups: int) -> np.ndarray:
    """The weights of groups as those of one convolution."""
    channels, out = weights.shape[:2]
    made = np.zeros((channels, groups * out, *weights.shape[2:]), weights.dtype)
    depth = channels // groups
    for group in range(groups):
        inside = slice(group * depth, (group + 1) * depth)
        made[inside, group * out : (group + 1) * out] = weights[inside]
    return made
