"""What expansions are made with: tensors between two operators, and operators that several of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from converters.quantize.integer import parameters
from converters.quantize.integer.prepared import Range
from converters.quantize.integer.rules.base import DTYPES
from device_agent.bundle import Quantization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from converters.quantize.integer.expansion import Expansion


MOST_AXES = 4


def fused(expansion: Expansion) -> dict[str, str]:
    """The activation that the operator has within, as an option."""
    return {"fusedActivationFunction": expansion.operator.options.get("fusedActivationFunction", "NONE")}


def operand(expansion: Expansion, place: int) -> str:
    """An input that must be there; ValueError where it is not."""
    name = expansion.inputs[place]
    if name is None:
        raise ValueError(f"{expansion.operator.type} without input {place}")
    return name


def span_of(expansion: Expansion, name: str) -> Range:
    """The values that a tensor can hold."""
    return parameters.range_of(expansion.quantization(name), expansion.dtype(name))


def between(
    expansion: Expansion, what: str, shape: Sequence[int], span: Range, precision: str | None = None
) -> str:
    """A tensor between two operators that holds a range, in the operator's precision if no other is given."""
    held = precision or expansion.precision
    return expansion.tensor(what, shape, DTYPES[held], parameters.of_range(span, held))


def placed(expansion: Expansion, what: str, shape: Sequence[int], model: str) -> str:
    """A tensor of another shape with the parameters of one that is there."""
    return expansion.tensor(what, shape, expansion.dtype(model), expansion.quantization(model))


def like(expansion: Expansion, what: str, model: str) -> str:
    """A tensor of the shape and the parameters of one that is there."""
    return placed(expansion, what, expansion.shape(model), model)


def scalar(expansion: Expansion, what: str, steps: int, quantization: Quantization) -> str:
    """A constant of one value, in the precision's dtype."""
    return expansion.constant(what, np.array(steps, DTYPES[expansion.precision]), quantization)


def integer(expansion: Expansion, what: str, *values: int) -> str:
    """A constant of int32."""
    return expansion.constant(what, np.array(values, np.int32))


def add(expansion: Expansion, a: str, b: str, made: str) -> None:
    """a + b."""
    expansion.add("ADD", [a, b], [made], potScaleInt16=False)


def subtract(expansion: Expansion, a: str, b: str, made: str) -> None:
    """a - b."""
    expansion.add("SUB", [a, b], [made], potScaleInt16=False)


def multiply(expansion: Expansion, a: str, b: str, made: str) -> None:
    """a * b; the int16 kernel of tflite-runtime 2.14 ends the process where it broadcasts over five axes."""
    shape = expansion.shape(made)
    factors = [a, b]
    if expansion.building.runtime == "tflite" and len(shape) > MOST_AXES and expansion.dtype(a) == "int16":
        for place, name in enumerate(factors):
            if expansion.shape(name) != shape:
                factors[place] = placed(expansion, f"whole{place}", shape, name)
                sizes = integer(expansion, "whole_shape", *shape)
                expansion.add("BROADCAST_TO", [name, sizes], [factors[place]])
    expansion.add("MUL", factors, [made], **fused(expansion))


def transposed(expansion: Expansion, source: str, order: Sequence[int], what: str) -> str:
    """The tensor with its axes in another order."""
    made = placed(expansion, what, [expansion.shape(source)[place] for place in order], source)
    expansion.add("TRANSPOSE", [source, integer(expansion, f"{what}_order", *order)], [made])
    return made


def reshape(expansion: Expansion, source: str, made: str, what: str) -> None:
    """A tensor as one of another shape."""
    shape = expansion.shape(made)
    expansion.add(
        "RESHAPE", [source, integer(expansion, f"{what}_shape", *shape)], [made], newShape=list(shape)
    )


def reshaped(expansion: Expansion, source: str, shape: Sequence[int], what: str) -> str:
    """The tensor in another shape."""
    made = placed(expansion, what, shape, source)
    reshape(expansion, source, made, what)
    return made


def widened(expansion: Expansion, place: int, common: Quantization | None) -> str:
    """An input's steps as int32, of another scale if one is given."""
    source = operand(expansion, place)
    if common is not None and common != expansion.quantization(source):
        scaled = expansion.tensor(f"scaled{place}", expansion.shape(source), expansion.dtype(source), common)
        expansion.requantize(source, scaled)
        source = scaled
    wide = expansion.tensor(f"wide{place}", expansion.shape(source), "int32")
    cast(expansion, source, wide)
    return wide


def cast(expansion: Expansion, source: str, made: str) -> None:
    """The steps in another dtype."""
    dtypes = {"inDataType": expansion.dtype(source).upper(), "outDataType": expansion.dtype(made).upper()}
    expansion.add("CAST", [source], [made], **dtypes)


def as_int16(expansion: Expansion, source: str) -> str:
    """The tensor in int16."""
    if expansion.dtype(source) == "int16":
        return source
    span = span_of(expansion, source)
    made = between(expansion, "int16", expansion.shape(source), span, "int16x8")
    expansion.requantize(source, made)
    return made
