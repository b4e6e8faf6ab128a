"""Pad and CenterCropPad: PAD, PADV2, MIRROR_PAD, SLICE, or GATHER of the elements that stand there."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.layout import Order
from converters.lowering.registry import CARRIED, Node, Refused, lowers

_MAX_RANK = 5  # of PAD and MIRROR_PAD
_MODES = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}  # ONNX's -> NumPy's

Amounts = list[tuple[int, int]]


@lowers("Pad", dtypes=CARRIED)
def pad(context: Context, node: Node) -> None:
    """`Pad` is PAD, PADV2 or MIRROR_PAD, by edges or around GATHER; a negative amount is a SLICE."""
    name, output = node.input(0), node.output()
    rank = len(context.shape(name))
    mode = node.text("mode", "constant")
    if mode != "constant" and mode not in _MODES:
        raise Refused("it pads in an unknown mode", got=mode, limit=f"constant, {', '.join(_MODES)}")
    amounts = _paddings(context, node, rank)
    order = context.order(name) or layout.identity(rank)
    formula = Formula(context, output)
    x: Operand = context.arrange(name, order)
    lying = [amounts[axis] for axis in order]
    if mode != "constant":
        formula.give(output, _repeated(formula, x, lying, mode), order)
        return
    x = _cropped(formula, x, lying)
    grown = [(max(before, 0), max(after, 0)) for before, after in lying]
    formula.give(output, _filled(formula, x, grown, _value(formula, node)), order)


@lowers("CenterCropPad", dtypes=CARRIED)
def center_crop_pad(context: Context, node: Node) -> None:
    """`CenterCropPad` is a SLICE and a PAD; the odd element goes after."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    amounts = []
    for size, wanted in zip(shape, target, strict=True):
        before = abs(wanted - size) // 2
        after = abs(wanted - size) - before
        amounts.append((before, after) if wanted > size else (-before, -after))
    order: Order = context.order(name) or layout.identity(len(shape))
    formula = Formula(context, output)
    lying = [amounts[axis] for axis in order]
    x = _cropped(formula, context.arrange(name, order), lying)
    grown = [(max(before, 0), max(after, 0)) for before, after in lying]
    formula.give(output, _filled(formula, x, grown, None), order)


def _paddings(context: Context, node: Node, rank: int) -> Amounts:
    """How much is padded before and after each axis: an attribute before operator set 11."""
    axes = tuple(range(rank))
    if node.opset < 11:
        pads = node.integers("pads") or node.integers("paddings") or ()
    else:
        pads = tuple(int(n) for n in context.need_constant(node.input(1), "pads").reshape(-1))
        named = node.optional(3)
        if named is not None:
            axes = tuple(int(axis) % rank for axis in context.need_constant(named, "axes").reshape(-1))
    amounts = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        amounts[axis] = (pads[place], pads[place + len(axes)])
    return amounts


def _value(formula: Formula, node: Node) -> Operand | None:
    """What is padded with; None for zero."""
    if node.opset < 11:
        value: Operand = np.array(node.number("value", 0.0), np.float32)
    elif node.optional(2) is None:
        return None
    else:
        value = formula.reshape(formula.value(node.input(2)), ())
    return None if isinstance(value, np.ndarray) and not value.any() else value


def _cropped(formula: Formula, x: Operand, amounts: Amounts) -> Operand:
    """`x` without what negative amounts cut off."""
    begin = [max(-before, 0) for before, _ in amounts]
    sizes = [
        size - first - max(-after, 0)
        for size, first, (_, after) in zip(formula.shape(x), begin, amounts, strict=True)
    ]
    return formula.slice(x, begin, sizes)


def _filled(formula: Formula, x: Operand, amounts: Amounts, value: Operand | None) -> Operand:
    if not any(map(any, amounts)):
        return x
    if len(amounts) > _MAX_RANK:
        raise Refused("it pads too many axes", got=len(amounts), limit=_MAX_RANK)
    known = formula.context.graph.tensors[formula.tensor(x)].quantization
    if value is None and (known is None or not any(known.zero_point)):
        return formula.pad(x, amounts)
    shape = tuple(size + sum(amount) for size, amount in zip(formula.shape(x), amounts, strict=True))
    filler = formula.tensor(np.zeros((), formula.dtype(x)) if value is None else value)
    held = formula.context.graph.tensors[filler]
    if known is not None and held.data is not None:  # PAD alone would fill with the zero point
        held.quantization = known
    return formula.emit("PADV2", [x, np.array(amounts, np.int32), filler], formula.dtype(x), shape)


def _repeated(formula: Formula, x: Operand, amounts: Amounts, mode: str) -> Operand:
    """`x` padded with its own elements."""
    shape = formula.shape(x)
    positive = all(0 <= n < size for size, pair in zip(shape, amounts, strict=True) for n in pair)
    if mode == "reflect" and positive and len(shape) <= _MAX_RANK:
        made = tuple(size + sum(amount) for size, amount in zip(shape, amounts, strict=True))
        paddings = np.array(amounts, np.int32)
        return formula.emit("MIRROR_PAD", [x, paddings], formula.dtype(x), made, mode="REFLECT")
    x = _cropped(formula, x, amounts)
    for axis, (before, after) in enumerate(amounts):
        grown = (max(before, 0), max(after, 0))
        if any(grown):
            places = np.pad(np.arange(formula.shape(x)[axis]), grown, mode=_MODES[mode])  # type: ignore[call-overload]  # the mode is a variable
            x = formula.gather(x, places.astype(np.int32), axis)
    return x
