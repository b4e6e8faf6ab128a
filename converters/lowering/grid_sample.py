"""GridSample and AffineGrid: elements gathered at computed places, weighed by BATCH_MATMUL."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers

_A = -0.75  # of the cubic kernel
# taps around the element before a place, and their weights as polynomials of the rest, highest power first
_TAPS: dict[str, tuple[tuple[int, ...], np.ndarray]] = {
    "nearest": ((0,), np.ones((1, 1))),
    "linear": ((0, 1), np.array([[-1, 1], [1, 0]])),
    "cubic": (
        (-1, 0, 1, 2),
        np.array(
            [[_A, _A + 2, -_A - 2, -_A], [-2 * _A, -_A - 3, 2 * _A + 3, _A], [_A, 0, -_A, 0], [0, 1, 0, 0]]
        ),
    ),
}
_RENAMED = {"bilinear": "linear", "bicubic": "cubic"}  # before operator set 20


@lowers("GridSample")
def grid_sample(context: Context, node: Node) -> None:
    """`GridSample` is arithmetic on the grid, one GATHER of all the elements read, and BATCH_MATMUL."""
    name, output = node.input(0), node.output()
    mode = node.text("mode", "linear")
    mode = _RENAMED.get(mode, mode)
    padding = node.text("padding_mode", "zeros")
    if mode not in _TAPS or padding not in ("zeros", "border", "reflection"):
        raise Refused("it samples in an unknown mode", got=f"{mode}, {padding}")
    formula = Formula(context, output)
    grid = formula.value(node.input(1))
    batch, channels, *sizes = context.shape(name)
    axes, points = len(sizes), math.prod(context.shape(output)[2:])
    count = batch * points
    align = bool(node.integer("align_corners", 0))
    if axes != formula.shape(grid)[-1] or not 1 <= axes <= 3:
        raise Refused("its grid does not fit its input", got=formula.shape(grid), limit=f"{axes} axes")
    # [-1, 1] onto the elements; the grid names the last axis first
    lengths = np.array(sizes[::-1], np.float32)
    scale = ((lengths - 1) / 2 if align else lengths / 2).astype(np.float32)
    grid = formula.reshape(grid, (count, axes))
    places = formula.add(formula.mul(grid, scale), (lengths - 1) / 2)
    if mode == "nearest":
        places = formula.unary("ROUND", places)
    index: Operand | None = None
    weight: Operand | None = None
    for axis, size in enumerate(sizes):
        x = formula.part(places, 1, axes - 1 - axis, 1)
        taps, shares = taps_along(formula, x, size, mode, padding, align)
        stride = math.prod(sizes[axis + 1 :])
        taps = formula.cast(taps, "int32")
        taps = formula.mul(taps, np.array(stride, np.int32)) if stride > 1 else taps
        index = taps if index is None else outer(formula, "ADD", index, taps)
        if shares is not None:
            weight = shares if weight is None else outer(formula, "MUL", weight, shares)
    if index is None:
        raise Refused("it has no axes to sample over")
    if batch > 1:
        first = np.repeat(np.arange(batch, dtype=np.int32), points)[:, None] * np.int32(math.prod(sizes))
        index = formula.add(index, first.astype(np.int32))
    order = layout.channels_last(axes + 2)
    x = formula.reshape(context.arrange(name, order), (batch * math.prod(sizes), channels))
    y = formula.gather(x, index)
    if weight is not None:
        taken = formula.shape(index)[1]
        y = formula.matmul(formula.reshape(weight, (count, 1, taken)), y)
    formula.give(output, formula.reshape(y, layout.physical(context.shape(output), order)), order)


def taps_along(
    formula: Formula, x: Operand, size: int, mode: str, padding: str, align: bool
) -> tuple[Operand, Operand | None]:
    """The elements that are read along one axis and their weights, both [points, taps]."""
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    if padding == "reflection":
        x = _reflected(formula, x, low, high)
    elif padding == "border" and mode != "cubic":  # cubic keeps its place: only what it reads is clamped
        x = _clamped(formula, x, 0.0, size - 1.0)
    offsets, polynomials = _TAPS[mode]
    base = x if mode == "nearest" else formula.unary("FLOOR", x)
    taps = base if mode == "nearest" else formula.add(base, np.array(offsets, np.float32))
    shares: Operand | None = None
    if mode != "nearest":
        rest = formula.sub(x, base)
        shares = formula.mul(rest, polynomials[0].astype(np.float32))
        for power in polynomials[1:-1]:
            shares = formula.mul(formula.add(shares, power.astype(np.float32)), rest)
        shares = formula.add(shares, polynomials[-1].astype(np.float32))
    if padding == "reflection":
        taps = _reflected(formula, taps, low, high)
    real = _clamped(formula, taps, 0.0, size - 1.0)
    if padding == "zeros":
        seen = formula.cast(formula.binary("EQUAL", real, taps), "float32")
        shares = seen if shares is None else formula.mul(shares, seen)
    return real, shares


def _clamped(formula: Formula, x: Operand, low: float, high: float) -> Operand:
    return formula.binary("MAXIMUM", formula.binary("MINIMUM", x, high), low)


def _reflected(formula: Formula, x: Operand, low: float, high: float) -> Operand:
    """`x` folded back at both edges: a triangle wave of period `2 (high - low)`."""
    reach = high - low
    if reach == 0:
        return formula.mul(x, 0.0)
    turned = formula.emit(
        "FLOOR_MOD",
        [formula.sub(x, low), np.array(2 * reach, np.float32)],
        "float32",
        formula.shape(x),
    )
    away = formula.unary("ABS", formula.sub(turned, reach))
    return formula.sub(np.array(low + reach, np.float32), away)


def outer(formula: Formula, builtin: str, left: Operand, right: Operand) -> Operand:
    """All pairs of the columns of two matrices with the same rows."""
    rows, m = formula.shape(left)
    n = formula.shape(right)[1]
    made = formula.binary(builtin, formula.reshape(left, (rows, m, 1)), formula.reshape(right, (rows, 1, n)))
    return formula.reshape(made, (rows, m * n))


@lowers("AffineGrid")
def affine_grid(context: Context, node: Node) -> None:
    """`AffineGrid` is a product of the constant grid and theta."""
    formula, output = Formula(context, node.output()), node.output()
    sizes = [int(size) for size in context.need_constant(node.input(1), "size")[2:]]
    align = bool(node.integer("align_corners", 0))
    if align and 1 in sizes:
        raise Refused("corners of an axis of one element cannot be aligned", got=sizes)
    lines = [np.linspace(-1, 1, size) if align else (np.arange(size) * 2 + 1) / size - 1 for size in sizes]
    corners = np.meshgrid(*lines, indexing="ij")
    ones = np.ones(sizes)
    grid = np.stack([*reversed(corners), ones], -1).reshape(-1, len(sizes) + 1).astype(np.float32)
    made = formula.matmul(grid, formula.value(node.input(0)), adjoint_right=True)
    formula.give(output, formula.reshape(made, context.shape(output)))
