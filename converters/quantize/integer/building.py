"""The integer graph as it grows: tensors, constants, and conversions that are made once and shared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from attrs import define, evolve, field

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize.integer import parameters
from converters.quantize.integer.assignment import FLOAT
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
            if dtype == FLOAT:
                self.operator("DEQUANTIZE", [name], [made])
            else:
                self.requantized(name, made)
            self._copies[key] = made
        return self._copies[key]

    def requantized(self, name: str, made: str, sources: tuple[int, ...] = ()) -> None:
        """Give a tensor's values in the dtype and the parameters of another that was made for it.

        QUANTIZE does it, but from int8 to int16 on tflite-runtime 2.14: there they are looked up.
        """
        held, wanted = self.tensors[name], self.tensors[made]
        known, asked = held.quantization, wanted.quantization
        if (self.runtime, held.dtype, wanted.dtype) != ("tflite", "int8", "int16") or not (known and asked):
            self.operator("QUANTIZE", [name], [made], sources=sources)
            return
        values = (np.arange(-128, 128) - known.zero_point[0]) * known.scale[0]
        table = self.constant(f"{made}/table", parameters.rounded(values, asked, "int16"), asked)
        half = self.constant(f"{made}/offset", np.array(128, np.int32), None)
        wide = self.activation(f"{made}/wide", held.shape, "int32", None)
        place = self.activation(f"{made}/place", held.shape, "int32", None)
        self.operator("CAST", [name], [wide], {"inDataType": "INT8", "outDataType": "INT32"}, sources)
        self.operator("ADD", [wide, half], [place], sources=sources)
        self.operator("GATHER", [table, place], [made], {"axis": 0}, sources)

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
