"""What the output positions of a layer read: the columns of its convolution as a matrix product."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from converters.graph.ir import Graph
    from converters.quantize.integer.repairs.weighted import Weighted

AT_ONCE = 1 << 20  # weights that are worked on in double precision
READABLE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@frozen
class Window:
    """Which inputs an output position reads, along height and width.

    `size`, `stride`, `dilation`, `before` (padding with zeros) and `positions` (outputs) are pairs.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    positions: tuple[int, int]

    def padded(self, array: np.ndarray) -> np.ndarray:
        """The input, float[N, H, W, C], with its padding."""
        sides = [(0, 0), *zip(self.before, self.after, strict=True), (0, 0)]
        return np.pad(array, sides) if any(map(any, sides)) else array


def window(graph: Graph, layer: Weighted) -> Window:
    """The window of a convolution; SAME padding as the TFLite runtime computes it (kernels/padding.h).

    With VALID no position reads past the end, so nothing is missing.
    """
    options, shape = layer.operator.options, graph.tensors[layer.weights].shape
    source, made = graph.tensors[layer.input].shape, graph.tensors[layer.output].shape
    stride = (int(options["strideH"]), int(options["strideW"]))
    dilation = (int(options.get("dilationHFactor", 1)), int(options.get("dilationWFactor", 1)))
    missing = [
        max(
            (made[axis + 1] - 1) * stride[axis]
            + (shape[axis + 1] - 1) * dilation[axis]
            + 1
            - source[axis + 1],
            0,
        )
        for axis in (0, 1)
    ]
    before = (missing[0] // 2, missing[1] // 2)
    after = (missing[0] - before[0], missing[1] - before[1])
    return Window((shape[1], shape[2]), stride, dilation, before, after, (made[1], made[2]))


def sampled(
    graph: Graph, layer: Weighted, array: np.ndarray, rows: int, generator: np.random.Generator
) -> np.ndarray:
    """What at most `rows` output positions read, drawn without repetition.

    Args:
        graph: of the layer.
        layer: one of `READABLE`.
        array: its input, float32.
        rows: how many positions.
        generator: which positions.

    Returns:
        float32[rows, taps, C]; a FULLY_CONNECTED has one tap, and as many channels as its weights.
    """
    if layer.type == "FULLY_CONNECTED":
        flat = array.reshape(-1, 1, graph.tensors[layer.weights].shape[1])
        return np.asarray(flat[_drawn(len(flat), rows, generator)])
    seen = window(graph, layer)
    padded = seen.padded(array)
    drawn = _drawn(len(array) * seen.positions[0] * seen.positions[1], rows, generator)
    batch, place = np.divmod(drawn, seen.positions[0] * seen.positions[1])
    top, left = np.divmod(place, seen.positions[1])
    down = top[:, None] * seen.stride[0] + np.arange(seen.size[0]) * seen.dilation[0]
    right = left[:, None] * seen.stride[1] + np.arange(seen.size[1]) * seen.dilation[1]
    found = padded[batch[:, None, None], down[:, :, None], right[:, None, :]]
    return found.reshape(len(drawn), -1, array.shape[-1])


def mean(graph: Graph, layer: Weighted, array: np.ndarray) -> np.ndarray:
    """What an output position reads on average, over all positions: float64[taps, C]; see `sampled`."""
    if layer.type == "FULLY_CONNECTED":
        columns = graph.tensors[layer.weights].shape[1]
        return np.asarray(array.reshape(-1, columns).mean(axis=0, dtype=np.float64)[None])
    seen = window(graph, layer)
    padded = seen.padded(array)
    taps = []
    for row in range(seen.size[0]):
        for column in range(seen.size[1]):
            top, left = row * seen.dilation[0], column * seen.dilation[1]
            bottom = top + (seen.positions[0] - 1) * seen.stride[0] + 1
            right = left + (seen.positions[1] - 1) * seen.stride[1] + 1
            part = padded[:, top : bottom : seen.stride[0], left : right : seen.stride[1]]
            taps.append(part.mean(axis=(0, 1, 2), dtype=np.float64))
    return np.stack(taps)


def product(layer: Weighted, weights: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """The output, without bias and activation, where `patch` (float64[taps, C]) is read: float64[O].

    `weights` may be float32 or int8, and are taken a part at a time.
    """
    if layer.type == "DEPTHWISE_CONV_2D":
        taps = weights.astype(np.float64).reshape(len(patch), -1)
        return np.asarray((taps * np.repeat(patch, taps.shape[1] // patch.shape[1], axis=1)).sum(axis=0))
    outputs, inputs = len(weights), weights.shape[-1]
    groups = patch.shape[1] // inputs
    made = np.empty(outputs)
    for rows in blocks(weights.shape):
        group = np.arange(outputs)[rows] * groups // outputs
        split = patch.reshape(len(patch), groups, inputs)[:, group].swapaxes(0, 1)
        part = weights[rows].reshape(len(split), len(patch), inputs)
        made[rows] = np.einsum("otc,otc->o", part, split)
    return made


def blocks(shape: tuple[int, ...]) -> list[slice]:
    """Rows of weights of this shape, so many at a time that few of them are copied at once."""
    step = max(1, AT_ONCE // max(1, math.prod(shape[1:])))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _drawn(count: int, rows: int, generator: np.random.Generator) -> np.ndarray:
    """Which positions: all, or `rows` of them."""
    if count <= rows:
        return np.arange(count)
    return np.sort(generator.choice(count, rows, replace=False))
