"""The integer graph as it grows: tensors, constants, and conversions that are made once and shared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from attrs import define, evolve, field

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize import parameters
from converters.quantize.assignment import FLOAT
from device_agent.bundle import Quantization


@define
class Building:
    """A graph made of another; every tensor of the float graph keeps its name.

    Of a tensor that is needed in another dtype or with other parameters than it has there is one copy for
    each, called by the tensor's name and its dtype (`x/int8`).
    """

    source: Graph
    runtime: str = "litert"
    tensors: dict[str, GraphTensor] = field(factory=dict)
    operators: list[GraphOperator] = field(factory=list)
    _copies: dict[tuple[str, str, Quantization | None], str] = field(factory=dict)

    def home(self, name: str, dtype: str, quantization: Quantization | None) -> str:
        """An activation of the float graph, held as this; gives its name."""
        tensor = self.source.tensors[name]
        self.tensors[name] = evolve(tensor, dtype=dtype, quantization=quantization)
        return name

    def kept(self, name: str) -> str:
        """A tensor of the float graph as it is; a constant by another name where its own is taken."""
        tensor = self.source.tensors[name]
        if self.tensors.get(name, tensor) is tensor:
            self.tensors[name] = tensor
            return name
        key = (name, tensor.dtype, tensor.quantization)
        if key not in self._copies:
            made = self._unused(f"{name}/{tensor.dtype}")
            self.tensors[made] = evolve(tensor, name=made)
            self._copies[key] = made
        return self._copies[key]

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None) -> str:
        """A constant that takes the place of one of the float graph, or of none; gives its name.

        The same constant with the same parameters is made once.
        """
        key = (name, str(data.dtype), quantization)
        known = self.tensors[self._copies[key]].data if key in self._copies else None
        if known is None or not np.array_equal(known, data):
            made = self._unused(name)
            self.tensors[made] = GraphTensor(made, data.shape, str(data.dtype), data, quantization)
            self._copies[key] = made
        return self._copies[key]

    def activation(
        self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None
    ) -> str:
        """A new activation, called `name` or like it."""
        made = self._unused(name)
        self.tensors[made] = GraphTensor(made, tuple(shape), dtype, None, quantization)
        return made

    def operator(
        self,
        kind: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str],
        options: dict[str, Any] | None = None,
        sources: tuple[int, ...] = (),
    ) -> None:
        """Append an operator."""
        self.operators.append(GraphOperator(kind, list(inputs), list(outputs), dict(options or {}), sources))

    def converted(self, name: str, dtype: str, quantization: Quantization | None) -> str:
        """A tensor of the float graph in this dtype with these parameters: itself, or its copy."""
        source = self.source.tensors[name]
        if source.data is not None:
            if dtype == FLOAT or quantization is None:
                return self.kept(name)
            return self._rounded(name, source.data, dtype, quantization)
        held = self.tensors[name]
        if (held.dtype, held.quantization) == (dtype, quantization):
            return name
        key = (name, dtype, quantization)
        if key not in self._copies:
            made = self._unused(f"{name}/{dtype}")
            self.tensors[made] = evolve(held, name=made, dtype=dtype, quantization=quantization)
            if self.runtime == "tflite" and (held.dtype, dtype) == ("int8", "int16"):
                self._widen(name, made)
            else:
                self.operator("DEQUANTIZE" if dtype == FLOAT else "QUANTIZE", [name], [made])
            self._copies[key] = made
        return self._copies[key]

    def read(self, outputs: Collection[str]) -> tuple[dict[str, GraphTensor], list[GraphOperator]]:
        """What these outputs need, and the public inputs: an expansion may leave operands unread."""
        used = set(outputs)
        operators = []
        for operator in reversed(self.operators):
            if not operator.outputs or not used.isdisjoint(operator.outputs):
                operators.append(operator)
                read = (*operator.inputs, *operator.outputs, *operator.intermediates)
                used.update(name for name in read if name is not None)
        used.update(self.source.inputs.values())
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in used}
        return tensors, operators[::-1]

    def _widen(self, name: str, made: str) -> None:
        """int8 to int16 for tflite-runtime 2.14, whose QUANTIZE cannot: `s (q - z) = s CAST(q) + (-s z)`."""
        held = self.tensors[name]
        if held.quantization is None:
            raise ValueError(f"{name!r} is not quantised")
        scale, zero = held.quantization.scale[0], held.quantization.zero_point[0]
        cast = self.activation(f"{made}/cast", held.shape, "int16", Quantization((scale,), (0,)))
        self.operator("CAST", [name], [cast], {"inDataType": "INT8", "outDataType": "INT16"})
        if zero == 0:
            self.operator("QUANTIZE", [cast], [made])
            return
        # its kernel broadcasts up to four dimensions
        steps = np.full(1 if len(held.shape) <= 4 else held.shape, -32767 if zero > 0 else 32767, np.int16)
        shift = self.constant(f"{made}/shift", steps, Quantization((abs(zero) * scale / 32767,), (0,)))
        self.operator("ADD", [cast, shift], [made], {"potScaleInt16": False})

    def _rounded(self, name: str, data: np.ndarray, dtype: str, quantization: Quantization) -> str:
        key = (name, dtype, quantization)
        if key not in self._copies:
            return self.constant(name, parameters.rounded(data, quantization, dtype), quantization)
        return self._copies[key]

    def _unused(self, name: str) -> str:
        taken = self.source.tensors.get(name)
        if name not in self.tensors and (taken is None or taken.data is not None):
            return name
        number = 2
        while f"{name}/{number}" in self.tensors or f"{name}/{number}" in self.source.tensors:
            number += 1
        return f"{name}/{number}"
