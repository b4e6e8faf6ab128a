"""What a rule's expansion is given: one float operator, quantised around, to be made of integer operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from converters.graph.ir import GraphOperator
from converters.quantize.integer.building import Building
from converters.quantize.integer.prepared import Range
from device_agent.bundle import Quantization


@frozen
class Expansion:
    """An operator in a precision that no kernel of its own computes in.

    `inputs` and `outputs` are tensors of the integer graph, in the places of the operator's own: those that
    were float have the precision's dtype and parameters (constants too). The outputs must be made. `ranges`
    are what calibration saw of the float graph's activations, which the parameters hold and may exceed.
    """

    building: Building
    operator: GraphOperator  # of the float graph
    precision: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    ranges: Mapping[str, Range] = field(factory=dict, repr=False)

    def quantization(self, name: str) -> Quantization:
        """The parameters of a quantised tensor; ValueError where it has none."""
        found = self.building.tensors[name].quantization
        if found is None:
            raise ValueError(f"{name!r} is not quantised")
        return found

    def dtype(self, name: str) -> str:
        """A tensor's dtype."""
        return self.building.tensors[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.building.tensors[name].shape

    def constant(self, what: str, data: np.ndarray, quantization: Quantization | None = None) -> str:
        """A new constant, named after the operator and `what`; gives its name."""
        return self.building.constant(f"{self.operator.outputs[0]}/{what}", data, quantization)

    def tensor(
        self, what: str, shape: Sequence[int], dtype: str, quantization: Quantization | None = None
    ) -> str:
        """A new tensor between two of the operators; gives its name."""
        return self.building.activation(f"{self.operator.outputs[0]}/{what}", shape, dtype, quantization)

    def add(self, kind: str, inputs: Sequence[str | None], outputs: Sequence[str], **options: Any) -> None:
        """Append an operator that stands for the same source operators."""
        self.building.operator(kind, inputs, outputs, options, self.operator.sources)

    def requantize(self, source: str, made: str) -> None:
        """One quantised tensor in the dtype and the parameters of another."""
        self.building.requantized(source, made, self.operator.sources)
