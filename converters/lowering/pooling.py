"""Pools: MAX_POOL_2D, AVERAGE_POOL_2D, L2_POOL_2D and MEAN, with the channels last.

Over one axis a pool is one over two, of which the first has size 1. Over three it is one over the last two
and then one over the first. What TFLite's windows cannot do (dilation, padding that would be counted) is
done axis by axis: elements of each window gathered for the maximum, a constant matrix for sums.
"""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.convolution import pad_explicitly
from converters.lowering.formula import Formula, Operand
from converters.lowering.reduction import reduce
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window, window_of

_NEVER_NEGATIVE = frozenset(("ABS", "EXP", "LOGISTIC", "RELU", "RELU6", "RELU_0_TO_1", "SOFTMAX", "SQRT"))
_LOWEST = float(np.finfo(np.float32).min)


@lowers("MaxPool", dtypes=("float32", "uint8"))
def max_pool(context: Context, node: Node) -> None:
    """`MaxPool` is MAX_POOL_2D; padding that is not SAME's is filled with what changes no maximum.

    That is zero behind an operator that gives nothing negative; else each window's own elements,
    mirrored, as long as it has enough of them; else the lowest float. The last would ruin the range of
    an integer tensor, so it is the last. Indices of the maxima come from ARG_MAX over gathered windows.
    """
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        _with_indices(context, node, node.outputs[1])
        return
    formula, x, window, order = _operand(context, node)
    if any(step != 1 for step in window.dilations):
        for axis in range(len(window.size)):
            x = _gathered_maximum(formula, x, window, axis)
        formula.give(node.output(), x, order)
        return
    positive = formula.dtype(x) == "uint8" or context.made_by(formula.tensor(x)) in _NEVER_NEGATIVE
    for part in _planes(window):
        flat, sub = _plane(formula, x, window, part), window.taken(part).planar()
        padding = sub.padding()
        if padding is None:
            padding = "VALID"
            filler = 0.0 if positive else None if _mirrors(sub) else _LOWEST
            flat = pad_explicitly(formula, flat, sub, filler)
        flat = _pool(formula, "MAX_POOL_2D", flat, sub, padding)
        x, window = _solid(formula, x, flat, window, part)
    formula.give(node.output(), x, order)


@lowers("AveragePool")
def average_pool(context: Context, node: Node) -> None:
    """`AveragePool` is AVERAGE_POOL_2D; where the two count otherwise, MUL by a constant puts it right.

    TFLite leaves SAME's padding out of the count. `count_include_pad` counts explicit padding, but never
    what `ceil_mode` adds.
    """
    formula, x, window, order = _operand(context, node)
    counts = [_counted(node, window, axis) for axis in range(len(window.size))]
    if any(step != 1 for step in window.dilations):
        for axis, counted in enumerate(counts):
            x = formula.along(x, axis + 1, _sums(window, axis) / counted[:, None].astype(np.float32))
        formula.give(node.output(), x, order)
        return
    inside = [_inside(window, axis) for axis in range(len(window.size))]
    for part in _planes(window):
        sub = window.taken(part).planar()
        padding = sub.padding()
        native = padding is not None and all(np.array_equal(counts[axis], inside[axis]) for axis in part)
        flat = _plane(formula, x, window, part)
        if not native:
            flat, padding = pad_explicitly(formula, flat, sub, 0.0), "VALID"
        flat = _pool(formula, "AVERAGE_POOL_2D", flat, sub, padding or "VALID")
        factors = [np.ones(1)] * (2 - len(part)) + [window.kernel[axis] / counts[axis] for axis in part]
        factor = np.multiply.outer(*factors).astype(np.float32)[:, :, None]
        if not native and not (factor == 1).all():
            flat = formula.mul(flat, factor)
        x, window = _solid(formula, x, flat, window, part)
    formula.give(node.output(), x, order)


@lowers("LpPool")
def lp_pool(context: Context, node: Node) -> None:
    """`LpPool` of degree 2 is L2_POOL_2D and MUL; of another, powers around AVERAGE_POOL_2D and MUL."""
    formula, x, window, order = _operand(context, node)
    degree, output = node.integer("p", 2), node.output()
    if degree < 1:
        raise Refused("there is no such norm", got=f"p = {degree}", limit="1 or more")
    flat = window.taken((0, 1) if len(window.size) == 2 else (0,)).planar()
    if degree == 2 and len(window.size) < 3 and all(step == 1 for step in window.dilations):
        x = _plane(formula, x, window, tuple(range(len(window.size))))
        x = _pool(formula, "L2_POOL_2D", pad_explicitly(formula, x, flat, 0.0), flat, "VALID")
        x = formula.mul(x, np.array(np.sqrt(np.prod(window.kernel)), np.float32))
        formula.give(output, formula.reshape(x, layout.physical(context.shape(output), order)), order)
        return
    x = formula.mul(x, x) if degree == 2 else formula.unary("ABS", x)
    if degree > 2:
        x = formula.binary("POW", x, float(degree))
    for axis in range(len(window.size)):
        x = formula.along(x, axis + 1, _sums(window, axis))
    if degree == 2:
        x = formula.unary("SQRT", x)
    elif degree > 2:
        x = formula.binary("POW", x, 1 / degree)
    formula.give(output, x, order)


@lowers("GlobalAveragePool")
def global_average_pool(context: Context, node: Node) -> None:
    """`GlobalAveragePool` is MEAN over the spatial axes."""
    rank = len(context.shape(node.input(0)))
    reduce(context, node, "MEAN", tuple(range(2, rank)), keep=True)


@lowers("GlobalMaxPool")
def global_max_pool(context: Context, node: Node) -> None:
    """`GlobalMaxPool` over two axes is MAX_POOL_2D with a window as large as they are, else REDUCE_MAX."""
    shape = context.shape(node.input(0))
    if len(shape) != 4:
        reduce(context, node, "REDUCE_MAX", tuple(range(2, len(shape))), keep=True)
        return
    size = shape[2:]
    window = Window(size, (1, 1), size, (1, 1), (1, 1), (0, 0), (0, 0))
    formula, order = Formula(context, node.output()), layout.channels_last(4)
    x = context.arrange(node.input(0), order)
    formula.give(node.output(), _pool(formula, "MAX_POOL_2D", x, window, "VALID"), order)


@lowers("GlobalLpPool")
def global_lp_pool(context: Context, node: Node) -> None:
    """`GlobalLpPool` is SUM of the powers over the spatial axes, and the root of it."""
    name, degree = node.input(0), node.integer("p", 2)
    if degree not in (1, 2):
        raise Refused("there is no such norm", got=f"p = {degree}", limit="1, 2")
    order = context.order(name) or layout.identity(len(context.shape(name)))
    formula = Formula(context, node.output())
    x: Operand = context.arrange(name, order)
    axes = [order.index(axis) for axis in range(2, len(order))]
    total = formula.reduce("SUM", formula.mul(x, x) if degree == 2 else formula.unary("ABS", x), axes)
    formula.give(node.output(), formula.unary("SQRT", total) if degree == 2 else total, order)


def _operand(context: Context, node: Node) -> tuple[Formula, Operand, Window, layout.Order]:
    """The input with its channels last, and the window over it."""
    shape, output = context.shape(node.input(0)), node.outputs[0]
    if output is None:
        raise Refused("its first output is absent")
    kernel = node.integers("kernel_shape") or ()
    window = window_of(node, shape[2:], kernel, context.shape(output)[2:])
    order = layout.channels_last(len(shape))
    return Formula(context, output), context.arrange(node.input(0), order), window, order


def _planes(window: Window) -> list[tuple[int, ...]]:
    """The axes of the window, at most two at a time."""
    return [(1, 2), (0,)] if len(window.size) == 3 else [tuple(range(len(window.size)))]


def _plane(formula: Formula, x: Operand, window: Window, part: tuple[int, ...]) -> Operand:
    """`x` with only these axes of the window as height and width."""
    held, sizes = formula.shape(x), window.taken(part).planar().size
    before, after = held[: part[0] + 1], held[part[-1] + 2 :]
    return formula.reshape(x, (int(np.prod(before)), *sizes, int(np.prod(after))))


def _solid(
    formula: Formula, x: Operand, flat: Operand, window: Window, part: tuple[int, ...]
) -> tuple[Operand, Window]:
    """What `_plane` took apart, after the pool, and the window that is left to do."""
    done = [window.output[axis] if axis in part else size for axis, size in enumerate(window.size)]
    held = formula.shape(x)
    return formula.reshape(flat, (held[0], *done, held[-1])), window.over(tuple(done))


def _mirrors(window: Window) -> bool:
    """Whether every window that reaches into the padding holds the elements that are mirrored there."""
    return all(
        2 * amount <= window.kernel[axis] and amount <= window.size[axis]
        for axis in range(len(window.size))
        for amount in (window.begin[axis], window.end[axis])
    )


def _inside(window: Window, axis: int) -> np.ndarray:
    """How many elements of each window are no padding, along one axis."""
    return np.array([sum(0 <= i < window.size[axis] for i in row) for row in window.reached(axis)])


def _counted(node: Node, window: Window, axis: int) -> np.ndarray:
    """How many elements of each window ONNX counts, along one axis.

    Raises:
        Refused: a window has none.
    """
    counts = _inside(window, axis)
    if node.integer("count_include_pad", 0):
        end = window.end[axis]
        if node.text("auto_pad", "NOTSET") == "NOTSET":
            end = (node.integers("pads") or (0,) * (2 * len(window.size)))[axis + len(window.size)]
        low, high = -window.begin[axis], window.size[axis] + end
        counts = np.array([sum(low <= i < high for i in row) for row in window.reached(axis)])
    if not counts.all():
        raise Refused("it averages a window that holds only padding")
    return counts


def _sums(window: Window, axis: int) -> np.ndarray:
    """The matrix [output, input] that sums each window along one axis."""
    matrix = np.zeros((window.output[axis], window.size[axis]), np.float32)
    for place, row in enumerate(window.reached(axis)):
        for i in row:
            if 0 <= i < window.size[axis]:
                matrix[place, i] += 1
    return matrix


def _gathered_maximum(formula: Formula, x: Operand, window: Window, axis: int) -> Operand:
    """The maximum along one axis; instead of padding a window has one of its elements once more."""
    rows = []
    for row in window.reached(axis):
        real = [i for i in row if 0 <= i < window.size[axis]]
        if not real:
            raise Refused("a window holds only padding", help="Export it with ceil_mode=0.")
        rows.append([i if 0 <= i < window.size[axis] else real[0] for i in row])
    return formula.reduce(
        "REDUCE_MAX", formula.gather(x, np.array(rows, np.int32), axis + 1), [axis + 2], keep=False
    )


def _with_indices(context: Context, node: Node, indices: str) -> None:
    """The maxima and where they lie in the input, from windows that are gathered side by side."""
    output = node.outputs[0]
    if output is None:
        raise Refused("its first output is absent")
    shape = context.shape(node.input(0))
    window = window_of(node, shape[2:], node.integers("kernel_shape") or (), context.shape(output)[2:])
    strides = [int(np.prod(window.size[axis + 1 :])) for axis in range(len(window.size))]
    columns = strides
    if node.integer("storage_order", 0):
        columns = [int(np.prod(window.size[:axis])) for axis in range(len(window.size))]
    table, stored = _table(window, strides), _table(window, columns)
    places, reach = table.shape
    planes, area = shape[0] * shape[1], int(np.prod(window.size))
    formula = Formula(context, output)
    x = formula.reshape(context.logical(node.input(0)), (planes, area))
    windows = formula.gather(x, table.astype(np.int32), 1)
    maxima = formula.reduce("REDUCE_MAX", windows, [2], keep=False)
    formula.give(output, formula.reshape(maxima, context.shape(output)))
    axis = np.array(2, np.int32)
    best = formula.emit("ARG_MAX", [windows, axis], "int32", (planes, places), outputType="INT32")
    entry = formula.add(best, (np.arange(places, dtype=np.int32) * reach)[None])
    found = formula.gather(stored.reshape(-1).astype(np.int32), entry)
    found = formula.add(found, (np.arange(planes, dtype=np.int32) * area)[:, None])
    formula.give(indices, formula.cast(formula.reshape(found, context.shape(indices)), "int64"))


def _table(window: Window, strides: list[int]) -> np.ndarray:
    """Per place of the output the flat places of its window's elements: [places, elements].

    Instead of padding a window has its first element once more.
    """
    rows = []
    axes = [window.reached(axis) for axis in range(len(window.size))]
    for place in np.ndindex(window.output):
        real, row = [], []
        for step in np.ndindex(window.kernel):
            at = [axes[axis][place[axis]][step[axis]] for axis in range(len(place))]
            fits = all(0 <= i < size for i, size in zip(at, window.size, strict=True))
            flat = sum(i * stride for i, stride in zip(at, strides, strict=True))
            row.append(flat if fits else -1)
            real += [flat] * fits
        if not real:
            raise Refused("a window holds only padding", help="Export it with ceil_mode=0.")
        rows.append([flat if flat >= 0 else real[0] for flat in row])
    return np.array(rows, np.int64)


def _pool(formula: Formula, builtin: str, x: Operand, window: Window, padding: str) -> Operand:
    shape = (formula.shape(x)[0], *window.output, formula.shape(x)[3])
    return formula.emit(
        builtin,
        [x],
        formula.dtype(x),
        shape,
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )
