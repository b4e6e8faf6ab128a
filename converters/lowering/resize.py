"""Resize and Upsample: RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR, else a product or GATHER per axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.interpolation import (
    Axis,
    Method,
    builtin_linear,
    builtin_nearest,
    nearest,
    places,
    weights,
)
from converters.lowering.registry import CARRIED, Node, Refused, lowers

_SAME = 1e-5  # weights that differ by less are the same: float32 computes them
_NEAREST_DTYPES = ("float32", "int8", "uint8", "int16")
_VARIANTS = ((False, True), (True, False), (False, False))  # align_corners, half_pixel_centers


@lowers("Resize", "Upsample", dtypes=CARRIED)
def resize(context: Context, node: Node) -> None:
    """`Resize` is RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR where they compute the same.

    Else nearest is GATHER along each axis, and anything else a product with a constant matrix along each.
    """
    name, output = node.input(0), node.output()
    method = _method(node)
    axes = _axes(context, node)
    formula = Formula(context, output)
    mapped = {}
    for place, axis in axes.items():
        x = places(axis, method.coordinates)
        if x is None:
            raise Refused("it maps places in an unknown way", got=method.coordinates)
        mapped[place] = x
    if method.mode == "nearest":
        _nearest(formula, node, axes, mapped, method)
        return
    if context.dtype(name) != "float32":
        raise Refused("it interpolates in a dtype that is no float", got=context.dtype(name), limit="float32")
    matrices = {}
    for place, axis in axes.items():
        matrix = weights(axis, mapped[place], method)
        if method.coordinates == "tf_crop_and_resize":
            matrix[(mapped[place] < 0) | (mapped[place] > axis.size - 1)] = 0
        matrices[place] = matrix.astype(np.float32)
    if _builtin(formula, node, axes, matrices, "RESIZE_BILINEAR", builtin_linear):
        return
    order = context.order(name) or layout.identity(len(context.shape(name)))
    y: Operand = context.arrange(name, order)
    for place in sorted(axes, key=lambda place: axes[place].output / axes[place].size):
        y = formula.along(y, order.index(place), matrices[place])
    y = _extrapolated(formula, node, y, order, axes, mapped)
    formula.give(output, y, order)


def _method(node: Node) -> Method:
    plain = node.type == "Upsample" or node.opset < 11
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic") or (node.integer("antialias", 0) and mode == "nearest"):
        raise Refused("it resizes in an unknown mode", got=mode, limit="nearest, linear, cubic")
    return Method(
        mode,
        "asymmetric" if plain else node.text("coordinate_transformation_mode", "half_pixel"),
        "floor" if plain else node.text("nearest_mode", "round_prefer_floor"),
        node.number("cubic_coeff_a", -0.75),
        bool(node.integer("exclude_outside", 0)),
        bool(node.integer("antialias", 0)),
    )


def _axes(context: Context, node: Node) -> dict[int, Axis]:
    """The axes that change, with their scales: from scales as they are, else from the sizes."""
    shape, target = context.shape(node.input(0)), context.shape(node.output())
    rank = len(shape)
    named = tuple(axis % rank for axis in node.integers("axes") or range(rank))
    place = 1 if node.type == "Upsample" or node.opset < 11 else 2
    scales: dict[int, float] = {}
    given: np.ndarray | None = None
    if "scales" in node.attributes:
        given = np.array(node.attributes["scales"], np.float32)
    elif node.optional(place) is not None:
        given = context.need_constant(node.input(place), "scales")
    if given is not None and given.size == len(named):
        scales = {axis: float(scale) for axis, scale in zip(named, given, strict=True)}
    else:
        scales = {axis: target[axis] / shape[axis] for axis in named}
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            wanted = context.need_constant(node.input(3), "sizes")
            ratios = [int(size) / shape[axis] for axis, size in zip(named, wanted, strict=True)]
            scales = dict.fromkeys(named, min(ratios) if policy == "not_larger" else max(ratios))
    windows = dict.fromkeys(named, (0.0, 1.0))
    if node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        roi = context.need_constant(node.input(1), "roi").astype(np.float64)
        windows = {axis: (roi[i], roi[i + len(named)]) for i, axis in enumerate(named)}
    return {
        axis: Axis(shape[axis], target[axis], scales[axis], *windows[axis])
        for axis in named
        if shape[axis] != target[axis] or abs(scales[axis] - 1) > 1e-6 or windows[axis] != (0.0, 1.0)
    }


def _nearest(
    formula: Formula, node: Node, axes: dict[int, Axis], mapped: dict[int, np.ndarray], method: Method
) -> None:
    context, name = formula.context, node.input(0)
    taken: dict[int, np.ndarray] = {}
    for place, axis in axes.items():
        found = nearest(axis, mapped[place], method.rounding)
        if found is None:
            raise Refused("it rounds in an unknown way", got=method.rounding)
        taken[place] = found
    if context.dtype(name) in _NEAREST_DTYPES and _builtin(
        formula, node, axes, taken, "RESIZE_NEAREST_NEIGHBOR", builtin_nearest
    ):
        return
    order = context.order(name) or layout.identity(len(context.shape(name)))
    y: Operand = context.arrange(name, order)
    for place in sorted(axes, key=lambda place: axes[place].output / axes[place].size):
        y = formula.gather(y, taken[place].astype(np.int32), order.index(place))
    formula.give(node.output(), _extrapolated(formula, node, y, order, axes, mapped), order)


def _builtin(
    formula: Formula,
    node: Node,
    axes: dict[int, Axis],
    wanted: dict[int, np.ndarray],
    builtin: str,
    computes: Callable[[Axis, bool, bool], np.ndarray],
) -> bool:
    """Lower to the builtin if one of its variants computes what is wanted along each axis."""
    context, name, output = formula.context, node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    held = context.order(name) or layout.identity(len(shape))
    crops = node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    # over the spatial axes of NCHW, or over the middle axes of what lies so already
    orders = {layout.channels_last(len(shape)), held, layout.identity(len(shape))}
    fitting = [o for o in orders if len(shape) == 4 and set(axes) <= set(o[1:3])]
    if crops or not axes or not fitting:
        return False
    order = held if held in fitting else fitting[0]
    for align, half in _VARIANTS:
        made = {}
        for place in order[1:3]:
            axis = axes.get(place, Axis(shape[place], shape[place], 1.0))
            made[place] = computes(axis, align, half)
        if all(np.allclose(made[place], wanted[place], 0, _SAME) for place in axes):
            size = np.array([target[place] for place in order[1:3]], np.int32)
            options = {"alignCorners": align, "halfPixelCenters": half}
            context.produce(
                output,
                builtin,
                [context.arrange(name, order), context.add_constant(size, "size")],
                order,
                **options,
            )
            return True
    return False


def _extrapolated(
    formula: Formula,
    node: Node,
    y: Operand,
    order: layout.Order,
    axes: dict[int, Axis],
    mapped: dict[int, np.ndarray],
) -> Operand:
    """`y` with the extrapolation value where tf_crop_and_resize reaches beyond the input."""
    if node.text("coordinate_transformation_mode", "") != "tf_crop_and_resize":
        return y
    outside = np.zeros((1,) * len(order), bool)
    for place, x in mapped.items():
        row = (x < 0) | (x > axes[place].size - 1)
        outside = outside | row.reshape([-1 if axis == place else 1 for axis in order])
    value = node.number("extrapolation_value", 0.0)
    if not outside.any() or (value == 0 and node.text("mode", "nearest") != "nearest"):
        return y
    return formula.select(outside, np.array(value, formula.dtype(y)), y)
