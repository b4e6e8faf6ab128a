"""Axis orders: pure functions.

An order says how a tensor holds the axes of an ONNX value: `order[p]` is the value's axis at the tensor's
axis `p`. The tensor is `numpy.transpose(value, order)`; the identity is the ONNX layout, `(0, 2, 3, 1)`
is NHWC for an NCHW value.
"""

from __future__ import annotations

import math

Order = tuple[int, ...]
Shape = tuple[int, ...]


def identity(rank: int) -> Order:
    """The order that is the ONNX layout."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """The order of a feature map as TFLite wants it: batch, space, channels."""
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


def inverse(order: Order) -> Order:
    """Where each axis went: `inverse(order)[axis]` is the tensor's axis that holds it."""
    return tuple(order.index(axis) for axis in range(len(order)))


def physical(shape: Shape, order: Order) -> Shape:
    """The tensor's shape for a value of this shape."""
    return tuple(shape[axis] for axis in order)


def padded(order: Order, rank: int) -> Order:
    """The order after broadcasting has put axes of size 1 in front, up to `rank` axes."""
    extra = rank - len(order)
    return (*range(extra), *(axis + extra for axis in order))


def moved(shape: Shape, order: Order) -> Order:
    """The axes that hold more than one element, as they lie in the tensor."""
    return tuple(axis for axis in order if shape[axis] > 1)


def transposed(order: Order, perm: Order) -> Order:
    """The order of `transpose(value, perm)` held by the same tensor."""
    return tuple(inverse(perm)[axis] for axis in order)


def merged(shape: Shape, perm: Order) -> tuple[Shape, Order]:
    """A transposition of fewer axes that moves the same elements: axes that stay together are one."""
    runs: list[list[int]] = []
    for axis in (axis for axis in perm if shape[axis] > 1):
        skipped = range(runs[-1][-1] + 1, axis) if runs else range(0)
        if runs and runs[-1][-1] < axis and all(shape[between] == 1 for between in skipped):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    lying = sorted(runs)
    sizes = tuple(math.prod(shape[axis] for axis in run) for run in lying)
    return sizes, tuple(lying.index(run) for run in runs)


def together(shapes: list[Shape], target: Shape) -> list[Shape]:
    """The shapes with fewer axes that broadcast alike: neighbours that all repeat, or all hold, are one.

    The last one is the target's.
    """
    wide = [(1,) * (len(target) - len(shape)) + shape for shape in (*shapes, target)]
    groups: list[tuple[tuple[bool, ...], list[int]]] = []
    for axis in (axis for axis, size in enumerate(target) if size > 1):
        repeated = tuple(shape[axis] == 1 for shape in wide)
        if groups and groups[-1][0] == repeated:
            groups[-1][1].append(axis)
        else:
            groups.append((repeated, [axis]))
    return [tuple(math.prod(shape[axis] for axis in axes) for _, axes in groups) for shape in wide]


def reshaped(shape: Shape, order: Order, target: Shape) -> Order | None:
    """The order of `reshape(value, target)` if the same bytes can hold it, else None.

    Axes are matched in groups of equal size; a group keeps its bytes if the tensor holds its axes next
    to each other and in their own order. Axes of size 1 have no place of their own and are put where
    they make a familiar order.
    """
    groups = _groups([a for a, n in enumerate(shape) if n > 1], shape, target)
    lying = moved(shape, order)
    placed: list[tuple[int, list[int]]] = []
    for sources, targets in groups:
        start = lying.index(sources[0])
        if list(lying[start : start + len(sources)]) != sources:
            return None
        placed.append((start, targets))
    wanted = tuple(axis for _, targets in sorted(placed) for axis in targets)
    if target == shape:
        return order
    rank = len(target)
    fitting = [o for o in (identity(rank), channels_last(rank)) if moved(target, o) == wanted]
    held = physical(shape, order)
    for familiar in fitting:
        if physical(target, familiar) == held:  # not even a RESHAPE is needed
            return familiar
    ones = (axis for axis, size in enumerate(target) if size == 1)
    return fitting[0] if fitting else (*ones, *wanted)


def _groups(sources: list[int], shape: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of axes of `shape` and `target` with equal numbers of elements."""
    targets = [axis for axis, size in enumerate(target) if size > 1]
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(sources) and j < len(targets):
        left, right = [sources[i]], [targets[j]]
        elements, wanted = shape[sources[i]], target[targets[j]]
        i, j = i + 1, j + 1
        while elements != wanted:
            if elements < wanted:
                elements *= shape[sources[i]]
                left.append(sources[i])
                i += 1
            else:
                wanted *= target[targets[j]]
                right.append(targets[j])
                j += 1
        groups.append((left, right))
    return groups
