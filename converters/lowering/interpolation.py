"""The weights of Resize along one axis: pure functions. https://onnx.ai/onnx/operators/onnx__Resize.html"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from attrs import frozen


@frozen
class Axis:
    """One axis that is resized: sizes, scale, and the part of the input that tf_crop_and_resize takes."""

    size: int
    output: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@frozen
class Method:
    """How places are mapped and elements weighed: the attributes of Resize."""

    mode: str
    coordinates: str
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def places(axis: Axis, coordinates: str) -> np.ndarray | None:
    """Where each element of the output lies in the input, float64[output]; None for an unknown mapping."""
    i = np.arange(axis.output, dtype=np.float64)
    length = axis.scale * axis.size  # of the output, before it is rounded down
    if coordinates == "align_corners":
        return i * (axis.size - 1) / (length - 1) if length != 1 else i * 0
    if coordinates == "asymmetric":
        return i / axis.scale
    if coordinates == "half_pixel":
        return (i + 0.5) / axis.scale - 0.5
    if coordinates == "pytorch_half_pixel":
        return (i + 0.5) / axis.scale - 0.5 if length != 1 else i * 0 - 0.5
    if coordinates == "half_pixel_symmetric":
        offset = axis.size / 2 * (1 - axis.output / length)
        return offset + (i + 0.5) / axis.scale - 0.5
    if coordinates == "tf_crop_and_resize":
        reach = (axis.end - axis.start) * (axis.size - 1)
        inside = i * reach / (length - 1) if length != 1 else i * 0 + reach / 2
        return axis.start * (axis.size - 1) + inside
    return None


def nearest(axis: Axis, x: np.ndarray, rounding: str) -> np.ndarray | None:
    """The element of the input that each of the output is, int64[output]; None for an unknown rounding."""
    rounded = {
        "round_prefer_floor": np.ceil(x - 0.5),
        "round_prefer_ceil": np.floor(x + 0.5),
        "floor": np.floor(x),
        "ceil": np.ceil(x),
    }.get(rounding)
    return None if rounded is None else np.clip(rounded.astype(np.int64), 0, axis.size - 1)


def weights(axis: Axis, x: np.ndarray, method: Method) -> np.ndarray:
    """The matrix float64[output, input] of linear or cubic interpolation at these places."""
    cubic = method.mode == "cubic"
    kernel = _cubic(method.cubic_a) if cubic else _linear
    shrink = min(axis.scale, 1.0) if method.antialias else 1.0
    reach = math.ceil((2 if cubic else 1) / shrink)
    matrix = np.zeros((axis.output, axis.size))
    for row, place in enumerate(x):
        near = np.arange(math.floor(place) - reach + 1, math.floor(place) + reach + 1)
        share = kernel(np.abs(place - near) * shrink)
        if method.exclude_outside:
            share = np.where((near >= 0) & (near < axis.size), share, 0)
        if method.exclude_outside or method.antialias:
            share = share / (share.sum() or 1.0)
        np.add.at(matrix[row], np.clip(near, 0, axis.size - 1), share)
    return matrix


def _linear(distance: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.maximum(1 - distance, 0)
    return share


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' kernel: https://doi.org/10.1109/TASSP.1981.1163711, equation 4 with a = -0.5."""

    def kernel(d: np.ndarray) -> np.ndarray:
        near: np.ndarray = ((a + 2) * d - (a + 3)) * d * d + 1
        far: np.ndarray = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        shares: np.ndarray = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
        return shares

    return kernel


def builtin_nearest(axis: Axis, align: bool, half: bool) -> np.ndarray:
    """What RESIZE_NEAREST_NEIGHBOR takes along an axis, computed in float32 as it does."""
    scale = _builtin_scale(axis, align)
    i = np.arange(axis.output, dtype=np.float32)
    x = (i + np.float32(0.5 if half else 0)) * scale
    # C's round goes away from zero, and nothing here is negative
    rounded = np.floor(x + np.float32(0.5)) if align else np.floor(x)
    taken: np.ndarray = np.clip(rounded.astype(np.int64), 0, axis.size - 1)
    return taken


def builtin_linear(axis: Axis, align: bool, half: bool) -> np.ndarray:
    """The weights of RESIZE_BILINEAR along an axis."""
    i = np.arange(axis.output, dtype=np.float64)
    scale = float(_builtin_scale(axis, align))
    x = (i + 0.5) * scale - 0.5 if half else i * scale
    return weights(axis, x, Method("linear", ""))


def _builtin_scale(axis: Axis, align: bool) -> np.float32:
    if align and axis.output > 1:
        return np.float32(np.float32(axis.size - 1) / np.float32(axis.output - 1))
    return np.float32(np.float32(axis.size) / np.float32(axis.output))
