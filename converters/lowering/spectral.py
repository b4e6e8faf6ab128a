"""DFT and STFT: products with the constant matrix of the transform."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering.context import Context
from converters.lowering.convolution import convolve
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window

_MAX_LENGTH = 1 << 13  # the matrix has its square of elements


@lowers("DFT")
def dft(context: Context, node: Node) -> None:
    """`DFT` is FULLY_CONNECTED by the matrix of the transform, whatever its length, axis and direction."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    rank, parts = len(shape), shape[-1]
    axis = node.integer("axis", 1)
    if node.opset >= 20:
        given = node.optional(2)
        axis = -2 if given is None else int(context.need_constant(given, "axis").reshape(()))
    axis %= rank
    inverse, onesided = bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))
    if axis == rank - 1 or parts not in (1, 2) or (onesided and not inverse and parts == 2):
        raise Refused("it transforms what is no signal", got=f"{list(shape)}, axis {axis}")
    length = 2 * (shape[axis] - 1) if inverse and onesided else shape[axis]
    if node.optional(1) is not None:
        length = int(context.need_constant(node.input(1), "dft_length").reshape(()))
    if not 0 < length <= _MAX_LENGTH:
        raise Refused("it is too long for a matrix", got=length, limit=_MAX_LENGTH)
    matrix = _matrix(shape[axis], parts, length, inverse=inverse, onesided=onesided)
    formula = Formula(context, output)
    perm = (*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1)
    x = formula.transpose(formula.value(name), perm)
    rows = math.prod(shape) // (shape[axis] * parts)
    y = formula.matmul(formula.reshape(x, (rows, shape[axis] * parts)), matrix)
    y = formula.reshape(y, tuple(target[a] for a in perm))
    back = tuple(perm.index(a) for a in range(rank))
    formula.give(output, formula.transpose(y, back))


@lowers("STFT")
def stft(context: Context, node: Node) -> None:
    """`STFT` is one CONV_2D along the signal: its weights are the matrix of the transform and the window."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    batch, samples = shape[:2]
    parts = shape[2] if len(shape) == 3 else 1
    step = int(context.need_constant(node.input(1), "frame_step").reshape(()))
    window = formula_window = None
    formula = Formula(context, output)
    if node.optional(2) is not None:
        window = formula.value(node.input(2))
        formula_window = formula.shape(window)[0]
    if node.optional(3) is not None:
        length = int(context.need_constant(node.input(3), "frame_length").reshape(()))
    elif formula_window is not None:
        length = formula_window
    else:
        raise Refused("it has neither a window nor a frame_length")
    onesided = bool(node.integer("onesided", 1))
    if not 0 < length <= _MAX_LENGTH or step < 1 or parts not in (1, 2) or (onesided and parts == 2):
        raise Refused("its frames are impossible", got=f"{length} by {step}, {parts} parts")
    if formula_window is not None and formula_window != length:
        raise Refused("its window is not as long as a frame", got=formula_window, limit=length)
    matrix = _matrix(length, parts, length, inverse=False, onesided=onesided)
    frames, out = target[1], matrix.shape[1]
    # [length * parts, out] -> [out, parts, length]
    weights: Operand = np.ascontiguousarray(matrix.reshape(length, parts, out).transpose(2, 1, 0))
    if window is not None:
        weights = formula.mul(weights, formula.reshape(window, (1, 1, length)))
    x = formula.reshape(formula.value(name), (batch, samples, parts))
    slide = Window((samples,), (frames,), (length,), (step,), (1,), (0,), (0,))
    y = convolve(formula, x, weights, None, slide, 1)
    formula.give(output, formula.reshape(y, target))


def _matrix(size: int, parts: int, length: int, *, inverse: bool, onesided: bool) -> np.ndarray:
    """The transform as float32[size * parts, out * parts out]: real and imaginary parts interleaved."""
    rows = []
    for unit in (1, 1j)[:parts]:
        basis = np.eye(size) * unit
        made: np.ndarray
        if inverse and onesided:
            made = np.fft.irfft(basis, length, axis=-1)
        elif inverse:
            made = np.fft.ifft(basis, length, axis=-1)
        else:
            made = np.fft.fft(basis, length, axis=-1)
            made = made[:, : length // 2 + 1] if onesided else made
        pair = [made.real] if inverse and onesided else [made.real, made.imag]
        rows.append(np.stack(pair, -1).reshape(size, -1))
    return np.stack(rows, 1).reshape(size * parts, -1).astype(np.float32)
