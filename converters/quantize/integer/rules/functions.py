"""What elementwise operators compute, in float64, for tables of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Options = Mapping[str, Any]
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def activated(function: Callable[[Array, Options], Array]) -> Callable[[Array, Options], Array]:
    """The function and then the activation that the operator has within."""
    bounds = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}

    def whole(x: Array, options: Options) -> Array:
        low, high = bounds.get(options.get("fusedActivationFunction", "NONE"), (-np.inf, np.inf))
        return np.asarray(np.clip(function(x, options), low, high))

    return whole


def exp(x: Array, _: Options) -> Array:
    """e^x; what overflows saturates."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def log(x: Array, _: Options) -> Array:
    """The natural logarithm; of 0 and below the least value."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(x, 0.0)))


def sqrt(x: Array, _: Options) -> Array:
    """The square root, of what is below 0 it is 0."""
    return np.asarray(np.sqrt(np.maximum(x, 0.0)))


def rsqrt(x: Array, _: Options) -> Array:
    """1 / sqrt(x); of 0 and below the greatest value."""
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.sqrt(np.maximum(x, 0.0)))


def elu(x: Array, _: Options) -> Array:
    """x, below 0 e^x - 1."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0.0)), x)


def gelu(x: Array, options: Options) -> Array:
    """x times the normal distribution function (https://arxiv.org/abs/1606.08415), or its tanh formula."""
    if options.get("approximate"):
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(x * 0.5 * (1.0 + np.tanh(inner)))
    return np.asarray(x * 0.5 * (1.0 + _ERF(x / math.sqrt(2))))


def hard_swish(x: Array, _: Options) -> Array:
    """x * relu6(x + 3) / 6 (https://arxiv.org/abs/1905.02244)."""
    return np.asarray(x * np.clip(x + 3.0, 0.0, 6.0) / 6.0)


def leaky_relu(x: Array, options: Options) -> Array:
    """x, below 0 alpha x."""
    return np.where(x < 0, options.get("alpha", 0.0) * x, x)


def identity(x: Array, _: Options) -> Array:
    """x."""
    return x


def sin(x: Array, _: Options) -> Array:
    """The sine."""
    return np.asarray(np.sin(x))


def cos(x: Array, _: Options) -> Array:
    """The cosine."""
    return np.asarray(np.cos(x))


def floor(x: Array, _: Options) -> Array:
    """The greatest integer that is not above x."""
    return np.asarray(np.floor(x))


def ceil(x: Array, _: Options) -> Array:
    """The least integer that is not below x."""
    return np.asarray(np.ceil(x))


def nearest(x: Array, _: Options) -> Array:
    """The nearest integer, of two the even one."""
    return np.asarray(np.rint(x))


def sign(x: Array, _: Options) -> Array:
    """-1, 0 or 1."""
    return np.asarray(np.sign(x))


def square(x: Array, _: Options) -> Array:
    """x * x."""
    return np.asarray(np.square(x))


def power(x: Array, y: Array, _: Options) -> Array:
    """x^y; nothing where that is no real number."""
    with np.errstate(all="ignore"):
        return np.asarray(np.power(x, y))


def inverse(x: Array, _: Options) -> Array:
    """1 / x; of 0 the greatest value."""
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / x)


def floor_divide(x: Array, y: Array, _: Options) -> Array:
    """floor(x / y)."""
    with np.errstate(all="ignore"):
        return np.asarray(np.floor(x / y))


def floor_mod(x: Array, y: Array, _: Options) -> Array:
    """x - y floor(x / y)."""
    with np.errstate(all="ignore"):
        return np.asarray(x - y * np.floor(x / y))


def angle(y: Array, x: Array, _: Options) -> Array:
    """The angle of the point (x, y)."""
    return np.asarray(np.arctan2(y, x))
