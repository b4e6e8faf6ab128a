"""Scales and zero-points, and values rounded to them."""

from __future__ import annotations

import numpy as np

from converters.quantize.integer.prepared import Range, Rounded
from device_agent.bundle import Quantization

UNBOUNDED = 1e8  # a value past this stands for infinity: a mask, what a maximum is padded with
LEAST_SPAN = 1e-9  # of a range
DEAD_SPAN = 1.0  # of a range that has less: a tensor that is always 0 has a scale too
GREATEST_BIAS = 2.0**30  # in steps: half of int32, so that the sums of products have room beside it
LEAST_CHANNEL = (
    2.0**-20
)  # of the greatest scale of the weights: below, nothing of a channel shows in the output
WEIGHT_STEPS = 127  # -128 is left out: kernels multiply two of them at once


def of_range(found: Range, precision: str) -> Quantization:
    """Parameters that hold the range and 0, which is exact.

    int8: scale (max - min) / 255, asymmetric; int16: scale max|x| / 32767, zero-point 0.
    https://ai.google.dev/edge/litert/models/quantization_spec
    """
    low, high = min(found.minimum, 0.0), max(found.maximum, 0.0)
    if high - low < LEAST_SPAN:
        high = low + DEAD_SPAN
    if precision == "int16x8":
        return Quantization((float(np.float32(max(-low, high) / 32767)),), (0,))
    scale = float(np.float32((high - low) / 255))
    return Quantization((scale,), (int(np.clip(round(-128 - low / scale), -128, 127)),))


def range_of(quantization: Quantization, dtype: str) -> Range:
    """The least and greatest values that integers with these parameters stand for."""
    limits = np.iinfo(dtype)
    scale, zero = quantization.scale[0], quantization.zero_point[0]
    return Range((int(limits.min) - zero) * scale, (int(limits.max) - zero) * scale)


def union(ranges: list[Range]) -> Range:
    """The least range that holds all of these."""
    return Range(min(one.minimum for one in ranges), max(one.maximum for one in ranges))


def spanned(values: np.ndarray) -> Range:
    """The range of a constant."""
    return Range(float(values.min(initial=0.0)), float(values.max(initial=0.0)))


def rounded(values: np.ndarray, quantization: Quantization, dtype: str) -> np.ndarray:
    """Values as integers, clipped to what the dtype holds."""
    limits = np.iinfo(dtype)
    steps = np.rint(values / np.float64(quantization.scale[0])) + quantization.zero_point[0]
    found: np.ndarray = np.clip(steps, limits.min, limits.max).astype(dtype)
    return found


def weights(
    values: np.ndarray, axis: int | None, *, least: np.ndarray, chosen: Rounded | None
) -> tuple[np.ndarray, Quantization, int]:
    """Weights as int8, symmetric, with a scale per channel of `axis` or one in all.

    Args:
        values: float32.
        axis: of the channels, None for one scale.
        least: float64[C] or [1], the least scale that each may have (see `least_scale`).
        chosen: integers that take the place of the nearest ones.

    Returns:
        The integers, their parameters, and in how many channels the least scale was the greater.
    """
    rows = values.reshape(1, -1) if axis is None else _rows(values, axis)
    if chosen is not None and len(chosen.scale) == len(rows):
        scale = chosen.scale.astype(np.float64)
    else:
        chosen = None
        scale = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64) / WEIGHT_STEPS
    narrow = scale < least
    floor = max(float(scale.max(initial=0.0)) * LEAST_CHANNEL, LEAST_SPAN / WEIGHT_STEPS)
    stored = np.maximum(np.maximum(scale, least), floor).astype(np.float32)
    steps = np.rint(rows / stored.astype(np.float64)[:, None])
    if chosen is not None:
        as_chosen = chosen.integers.reshape(1, -1) if axis is None else _rows(chosen.integers, axis)
        kept = stored == scale.astype(np.float32)
        steps = np.where(kept[:, None], as_chosen, steps)
    integers = np.clip(steps, -WEIGHT_STEPS, WEIGHT_STEPS).astype(np.int8)
    if axis is None:
        shaped = integers.reshape(values.shape)
    else:
        moved = np.moveaxis(values, axis, 0).shape
        shaped = np.ascontiguousarray(np.moveaxis(integers.reshape(moved), 0, axis))
    quantization = Quantization(tuple(map(float, stored)), (0,) * len(stored), axis or 0)
    return shaped, quantization, int(narrow.sum())


def least_scale(bias: np.ndarray | None, input_scale: float, channels: int) -> np.ndarray:
    """The least scale of each channel's weights with which its bias fits: float64[channels].

    A bias has the scale `input_scale * weight_scale`. Training leaves channels with weights of (almost) zero
    and a bias that matters: their bias would saturate, and the channel answer with about 0. With
    `|bias| / (input_scale * 2**30)` it fits int32 with room for the products beside it. (TensorFlow Lite's
    own quantiser widens scales to the same end, `AdjustWeightsForBiasScale` in its
    tools/optimize/quantization_utils.cc.)
    """
    if bias is None:
        return np.zeros(channels)
    needed = np.abs(bias.astype(np.float64).ravel()) / (input_scale * GREATEST_BIAS)
    return needed if len(needed) == channels else np.full(channels, needed.max(initial=0.0))


def bias(
    values: np.ndarray, input_scale: float, scale: tuple[float, ...], dtype: str
) -> tuple[np.ndarray, Quantization]:
    """A bias with the scale `input_scale * weight_scale` of each channel, zero-point 0."""
    steps = np.float64(np.float32(input_scale)) * np.array(scale, np.float64)
    integers = np.rint(values.astype(np.float64) / (steps if len(steps) == values.size else steps[0]))
    limits = np.iinfo(dtype)
    held = np.clip(integers, float(limits.min), float(limits.max) if dtype == "int32" else 2.0**62).astype(
        dtype
    )
    return held, Quantization(tuple(map(float, steps.astype(np.float32))), (0,) * len(steps), 0)


def _rows(values: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
