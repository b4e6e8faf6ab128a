"""Operators that no integer kernel computes, made of others that one does, with the same values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from converters.quantize.integer import parameters
from converters.quantize.integer.prepared import Range
from converters.quantize.integer.rules import functions, lookup, making
from device_agent.bundle import Quantization

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.expansion import Expansion
    from converters.quantize.integer.rules.base import Check, Expand


def product(expansion: Expansion) -> None:
    """a * b, broadcast before where the kernel cannot."""
    making.multiply(
        expansion, making.operand(expansion, 0), making.operand(expansion, 1), expansion.outputs[0]
    )


def square(expansion: Expansion) -> None:
    """x^2 = x * x."""
    source = making.operand(expansion, 0)
    expansion.add("MUL", [source, source], [expansion.outputs[0]])


def negative(expansion: Expansion) -> None:
    """-x = 0 - x."""
    source = making.operand(expansion, 0)
    quantization = expansion.quantization(source)
    zero = making.scalar(expansion, "zero", quantization.zero_point[0], quantization)
    making.subtract(expansion, zero, source, expansion.outputs[0])


def squared_difference(expansion: Expansion) -> None:
    """(a - b)^2 = (a - b) * (a - b)."""
    a, b = making.operand(expansion, 0), making.operand(expansion, 1)
    first, second = making.span_of(expansion, a), making.span_of(expansion, b)
    between = Range(first.minimum - second.maximum, first.maximum - second.minimum)
    difference = making.between(expansion, "difference", expansion.shape(expansion.outputs[0]), between)
    making.subtract(expansion, a, b, difference)
    expansion.add("MUL", [difference, difference], [expansion.outputs[0]])


def add_n(expansion: Expansion) -> None:
    """a + b + c = (a + b) + c."""
    names = [name for name in expansion.inputs if name is not None]
    made = expansion.outputs[0]
    total, span = names[0], making.span_of(expansion, names[0])
    for place, name in enumerate(names[1:], 2):
        other = making.span_of(expansion, name)
        span = Range(span.minimum + other.minimum, span.maximum + other.maximum)
        last = place == len(names)
        target = made if last else making.between(expansion, f"sum{place}", expansion.shape(made), span)
        making.add(expansion, total, name, target)
        total = target
    if len(names) == 1:
        expansion.requantize(total, made)


def divided(expansion: Expansion) -> None:
    """x / y = x * (1 / y), the inverse a constant or looked up."""
    numerator, divisor, made = (
        making.operand(expansion, 0),
        making.operand(expansion, 1),
        expansion.outputs[0],
    )
    held = expansion.building.source.constant(expansion.operator.inputs[1])
    if held is not None:
        inverse = 1.0 / held.astype(np.float64)
        quantization = parameters.of_range(parameters.spanned(inverse), expansion.precision)
        steps = parameters.rounded(inverse, quantization, expansion.dtype(made))
        inverted = expansion.constant("inverse", steps, quantization)
    else:
        seen = expansion.ranges.get(divisor, making.span_of(expansion, divisor))
        step = expansion.quantization(divisor).scale[0]
        ends = [1.0 / seen.minimum] if abs(seen.minimum) > step else [-1.0 / step, 1.0 / step]
        ends += [1.0 / seen.maximum] if abs(seen.maximum) > step else [-1.0 / step, 1.0 / step]
        if seen.minimum < 0 < seen.maximum:
            ends += [-1.0 / step, 1.0 / step]
        span = Range(min(ends), max(ends))
        inverted = making.between(expansion, "inverse", expansion.shape(divisor), span)
        lookup.look_up(expansion, divisor, inverted, functions.inverse)
    making.multiply(expansion, numerator, inverted, made)


def clamped(low: float, high: float) -> Expand:
    """min(max(x, low), high) in the output's own steps; what these cannot say needs no MAXIMUM or MINIMUM."""

    def expand(expansion: Expansion) -> None:
        made = expansion.outputs[0]
        quantization, held = expansion.quantization(made), making.span_of(expansion, made)
        bounds = [("MAXIMUM", low)] if held.minimum < low - quantization.scale[0] / 2 else []
        bounds += [("MINIMUM", high)] if held.maximum > high + quantization.scale[0] / 2 else []
        source = making.operand(expansion, 0)
        kinds = [("QUANTIZE", None), *bounds]
        for kind, bound in kinds:
            last = kind == kinds[-1][0]
            target = made if last else making.like(expansion, f"{kind.lower()}", made)
            inputs = [source]
            if bound is not None:
                steps = round(bound / quantization.scale[0]) + quantization.zero_point[0]
                inputs.append(making.scalar(expansion, f"{kind.lower()}_bound", steps, quantization))
            expansion.add(kind, inputs, [target])
            source = target

    return expand


def prelu(expansion: Expansion) -> None:
    """max(x, 0) + alpha * min(x, 0)."""
    source, alpha, made = making.operand(expansion, 0), making.operand(expansion, 1), expansion.outputs[0]
    quantization, held = expansion.quantization(source), making.span_of(expansion, source)
    zero = making.scalar(expansion, "zero", quantization.zero_point[0], quantization)
    above, below = (making.like(expansion, what, source) for what in ("above", "below"))
    expansion.add("MAXIMUM", [source, zero], [above])
    expansion.add("MINIMUM", [source, zero], [below])
    slopes = making.span_of(expansion, alpha)
    ends = (held.minimum * slopes.minimum, held.minimum * slopes.maximum)
    sloped = making.between(
        expansion, "sloped", expansion.shape(made), Range(min(0.0, *ends), max(0.0, *ends))
    )
    making.multiply(expansion, below, alpha, sloped)
    making.add(expansion, above, sloped, made)


def cumulative_sum(expansion: Expansion) -> None:
    """A product with a triangle of ones, along the last axis; another axis is brought there and back.

    The ones are exact in int8, and the sum is rounded once.
    """
    operator, source, made = expansion.operator, making.operand(expansion, 0), expansion.outputs[0]
    axis_given = expansion.building.source.constant(operator.inputs[1])
    shape = expansion.shape(source)
    axis = int(np.asarray(axis_given).reshape(-1)[0]) % len(shape)
    size = shape[axis]
    ones = np.tril(np.ones((size, size), np.int8), -1 if operator.options.get("exclusive") else 0)
    ones = ones.T if operator.options.get("reverse") else ones
    weights = expansion.constant("triangle", ones * np.int8(127), Quantization((1 / 127,), (0,)))
    order = [place for place in range(len(shape)) if place != axis] + [axis]
    turned = order != sorted(order)
    moved = making.transposed(expansion, source, order, "last") if turned else source
    held = expansion.shape(moved)
    total = making.placed(expansion, "total", held, made) if turned else made
    expansion.add("FULLY_CONNECTED", [moved, weights], [total], keepNumDims=True)
    if turned:
        back = expansion.constant("back", np.argsort(order).astype(np.int32))
        expansion.add("TRANSPOSE", [total, back], [made])


def sum_by_mean(expansion: Expansion) -> None:
    """The mean, times how many there are."""
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    count = int(np.prod(expansion.shape(source))) // max(1, int(np.prod(expansion.shape(made))))
    found = making.span_of(expansion, made)
    span = Range(found.minimum / count, found.maximum / count)
    mean = making.between(expansion, "mean", expansion.shape(made), span)
    expansion.add("MEAN", [source, expansion.inputs[1]], [mean], **expansion.operator.options)
    factor = parameters.of_range(Range(0.0, float(count)), expansion.precision)
    steps = parameters.rounded(np.array(float(count)), factor, expansion.dtype(made))
    making.multiply(expansion, mean, expansion.constant("count", steps, factor), made)


def argument(expansion: Expansion) -> None:
    """The place of the greatest or least among int32, which keep the order of the steps."""
    wide = making.widened(expansion, 0, None)
    operator = expansion.operator
    expansion.add(operator.type, [wide, expansion.inputs[1]], [expansion.outputs[0]], **operator.options)


def compared(expansion: Expansion) -> None:
    """Both brought to one scale, and compared as int32."""
    a, b = making.operand(expansion, 0), making.operand(expansion, 1)
    scale = max(expansion.quantization(a).scale[0], expansion.quantization(b).scale[0])
    common = Quantization((scale,), (0,))
    sides = [making.widened(expansion, place, common) for place in (0, 1)]
    expansion.add(expansion.operator.type, sides, [expansion.outputs[0]])


def cast(expansion: Expansion) -> None:
    """From bool a choice between the steps of 1 and of 0; to integers or bool a table of them."""
    source, made = making.operand(expansion, 0), expansion.outputs[0]
    if expansion.dtype(source) != "bool":
        lookup.look_up(expansion, source, made, functions.identity)
        return
    quantization = expansion.quantization(made)
    steps = parameters.rounded(np.array([0.0, 1.0]), quantization, expansion.dtype(made)).tolist()
    zero, one = (
        making.scalar(expansion, f"of{place}", step, quantization) for place, step in enumerate(steps)
    )
    expansion.add("SELECT_V2", [source, one, zero], [made])


def castable(graph: Graph, operator: GraphOperator, _: str) -> str | None:
    """Why a CAST has no integer form: it has one of floats to int32, int64 or bool, and of bool."""
    source, made = (graph.tensors[name or ""].dtype for name in (operator.inputs[0], operator.outputs[0]))
    known = source == "bool" or (source == "float32" and made in ("int32", "int64", "bool"))
    return None if known else f"a CAST of {source} to {made} has no integer form"


def has_constant(place: int, what: str) -> Check:
    """A check that an input is a constant."""

    def check(graph: Graph, operator: GraphOperator, _: str) -> str | None:
        known = place < len(operator.inputs) and graph.constant(operator.inputs[place]) is not None
        return None if known else f"its {what} must be constant"

    return check
