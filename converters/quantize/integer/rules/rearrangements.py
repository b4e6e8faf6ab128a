"""Operators that only move values, and no integer kernel does: made of others that one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from converters.quantize.integer import parameters
from converters.quantize.integer.rules import making

if TYPE_CHECKING:
    from converters.quantize.integer.expansion import Expansion


def tiled(expansion: Expansion) -> None:
    """Joined copies, axis by axis."""
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    given = expansion.building.source.constant(expansion.operator.inputs[1])
    counts = [int(count) for count in np.asarray(given).reshape(-1)]
    axes = [axis for axis, count in enumerate(counts) if count != 1]
    for axis in axes:
        shape = list(expansion.shape(source))
        shape[axis] *= counts[axis]
        target = made if axis == axes[-1] else making.placed(expansion, f"axis{axis}", shape, made)
        expansion.add("CONCATENATION", [source] * counts[axis], [target], axis=axis)
        source = target
    if not axes:
        making.reshape(expansion, source, made, "made")


def space_to_depth(expansion: Expansion) -> None:
    """A TRANSPOSE of blocks: [N H/b, b, W/b, b C] -> [N H/b, W/b, b, b C]."""
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    block = int(expansion.operator.options["blockSize"])
    n, h, w, c = expansion.shape(source)
    groups = making.reshaped(expansion, source, (n * h // block, block, w // block, block * c), "groups")
    making.reshape(expansion, making.transposed(expansion, groups, (0, 2, 1, 3), "turned"), made, "made")


def depth_to_space(expansion: Expansion) -> None:
    """A TRANSPOSE of blocks: [N H, W, b, b C] -> [N H, b, W, b C]."""
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    block = int(expansion.operator.options["blockSize"])
    n, h, w, c = expansion.shape(source)
    groups = making.reshaped(expansion, source, (n * h, w, block, c // block), "groups")
    making.reshape(expansion, making.transposed(expansion, groups, (0, 2, 1, 3), "turned"), made, "made")


def embedding(expansion: Expansion) -> None:
    """EMBEDDING_LOOKUP is GATHER of rows."""
    indices, table = making.operand(expansion, 0), making.operand(expansion, 1)
    expansion.add("GATHER", [table, indices], [expansion.outputs[0]], axis=0)


def filled(expansion: Expansion) -> None:
    """A FILL with the steps of its value."""
    held = expansion.building.source.constant(expansion.operator.inputs[1])
    made = expansion.outputs[0]
    steps = parameters.rounded(np.asarray(held), expansion.quantization(made), expansion.dtype(made))
    value = expansion.constant("value", steps, expansion.quantization(made))
    expansion.add("FILL", [expansion.inputs[0], value], [made])


def scattered(expansion: Expansion) -> None:
    """SCATTER_ND of int32 without the zero-point, as it fills with 0 and adds what falls on one place."""
    indices, shape = expansion.inputs[0], expansion.inputs[2]
    updates, made = making.operand(expansion, 1), expansion.outputs[0]
    zero, limits = expansion.quantization(made).zero_point[0], np.iinfo(expansion.dtype(made))
    held = making.widened(expansion, 1, None)
    steps = [("SUB", zero), ("SCATTER_ND", None), ("ADD", zero)]
    steps += [("MAXIMUM", int(limits.min)), ("MINIMUM", int(limits.max))]
    for kind, value in steps:
        places = expansion.shape(updates if kind == "SUB" else made)
        target = expansion.tensor(kind.lower(), places, "int32")
        if value is None:
            expansion.add(kind, [indices, held, shape], [target])
        else:
            expansion.add(kind, [held, making.integer(expansion, f"{kind.lower()}_by", value)], [target])
        held = target
    making.cast(expansion, held, made)


def convolution_3d(expansion: Expansion) -> None:
    """A CONV_2D over the slices that each place in depth reads, joined along the channels.

    [N, D, H W C] -> the KD slices of each place [N, D', H W, KD C] -> [N D', H, W, KD C], weights
    [KD, KH, KW, C, O] -> [O, KH, KW, KD C]; the sums are the same, and rounded once.
    """
    options = expansion.operator.options
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    n, depth, h, w, c = expansion.shape(source)
    _, out_depth, out_h, out_w, out = expansion.shape(made)
    weights = expansion.building.tensors[making.operand(expansion, 1)]
    kernel = np.asarray(weights.data)
    reach = kernel.shape[0]
    stride, dilation = int(options.get("strideD", 1)), int(options.get("dilationDFactor", 1))
    lacking = max(0, (out_depth - 1) * stride + (reach - 1) * dilation + 1 - depth)
    flat = making.reshaped(expansion, source, (n, depth, h * w, c), "flat")
    if lacking:
        padded = making.placed(expansion, "padded", (n, depth + lacking, h * w, c), source)
        edges = np.array([[0, 0], [lacking // 2, lacking - lacking // 2], [0, 0], [0, 0]], np.int32)
        expansion.add("PAD", [flat, expansion.constant("edges", edges)], [padded])
        flat = padded
    slices = []
    for place in range(reach):
        first = place * dilation
        end = first + (out_depth - 1) * stride + 1
        part = making.placed(expansion, f"slice{place}", (n, out_depth, h * w, c), source)
        ends = [(0, first, 0, 0), (n, end, h * w, c), (1, stride, 1, 1)]
        given = [
            making.integer(expansion, f"slice{place}_{what}", *values)
            for what, values in zip(("begin", "end", "strides"), ends, strict=True)
        ]
        expansion.add("STRIDED_SLICE", [flat, *given], [part])
        slices.append(part)
    joined = making.placed(expansion, "joined", (n, out_depth, h * w, reach * c), source)
    expansion.add("CONCATENATION", slices, [joined], axis=3)
    image = making.reshaped(expansion, joined, (n * out_depth, h, w, reach * c), "image")
    rows = np.ascontiguousarray(kernel.transpose(4, 1, 2, 0, 3).reshape(out, *kernel.shape[1:3], reach * c))
    quantization = expansion.quantization(weights.name)
    filters = expansion.constant("filters", rows, evolve(quantization, axis=0))
    convolved = making.placed(expansion, "convolved", (n * out_depth, out_h, out_w, out), made)
    flat_options = {key: value for key, value in options.items() if key[-1] != "D" and "DF" not in key}
    bias = expansion.inputs[2] if len(expansion.inputs) > 2 else None
    expansion.add("CONV_2D", [image, filters, bias], [convolved], **flat_options)
    making.reshape(expansion, convolved, made, "made")
