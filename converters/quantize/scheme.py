"""`Scheme`: what every operator of a model computes in; a search chooses it, an engine carries it out."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from device_agent import codec

# what a user may ask for and an operator may compute in
#   int8         integer operators: activations int8 per tensor, weights int8 per channel, biases int32
#   int16x8      integer operators: activations int16 (zero-point 0), weights int8 per channel, biases int64
#   dynamic      weights int8, activations quantised as the model runs (hybrid kernels)
#   weight-int8  weights int8, dequantised before they are used; everything computes in float32
#   weight-int4  the same with int4 where the weights' operator can hold it, int8 elsewhere
#   float16      weights float16, dequantised before they are used
#   float32      as it is
PRECISIONS = ("int8", "int16x8", "dynamic", "weight-int8", "weight-int4", "float16", "float32")
STATIC = ("int8", "int16x8")  # those that need the ranges of activations, so calibration samples
AUTO = "auto"  # the ladder chooses
IO_KINDS = ("integer", "float")  # what a model's own inputs and outputs are
MIXED = "mixed"  # what a model is called whose operators differ


@frozen
class Scheme:
    """How a model is quantised.

    `precision` holds for every operator that `exceptions` does not name. An exception maps an operator, by
    the name of its first output tensor in the float graph, to a precision; only schemes of a `STATIC`
    precision have exceptions, and they are `STATIC` or `float32`. `io` is `integer` (the model's inputs and
    outputs are as its first and last operators have them) or `float`. `ranges` is how the ranges of
    activations come from calibration: one of `ranges.METHODS`. `repairs` are applied in this order before
    anything is rounded.
    """

    precision: str = "int8"
    io: str = "integer"
    exceptions: Mapping[str, str] = field(factory=dict)
    ranges: str = "minmax"
    repairs: tuple[str, ...] = ()

    def precision_of(self, operator: str) -> str:
        """What the operator with this first output tensor is meant to compute in."""
        return self.exceptions.get(operator, self.precision)

    @property
    def key(self) -> str:
        """The same text for equal schemes, whatever the order of their exceptions."""
        return codec.dumps({**codec.to_json(self), "exceptions": dict(sorted(self.exceptions.items()))})
