"""The TFLite-level graph that every source is lowered to and every rewrite works on."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field

from device_agent.bundle import Quantization


class _Bits:
    """Compares two constants bit for bit (NaN equals itself, -0.0 is not 0.0)."""

    def __init__(self, data: np.ndarray | None) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Bits) or self.data is None or other.data is None:
            return isinstance(other, _Bits) and self.data is other.data
        mine, others = self.data, other.data
        same = mine.dtype == others.dtype and mine.shape == others.shape
        return same and mine.tobytes() == others.tobytes()

    __hash__ = None  # type: ignore[assignment]  # arrays may change


@define
class GraphTensor:
    """A tensor of the graph. `data` is its value where it is a constant: dtype and shape as stated here.

    `signature` is the shape with -1 for each size that may change in the runtime, None where none may.

    Of dtypes that NumPy has not (int4, bfloat16, string) `data` holds the file's bytes as uint8.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str  # NumPy's name
    data: np.ndarray | None = field(default=None, eq=_Bits)
    quantization: Quantization | None = None
    variable: bool = False  # keeps its value between two runs (a recurrent state)
    signature: tuple[int, ...] | None = None


@define
class GraphOperator:
    """An operator: `type` is TFLite's builtin name (`CONV_2D`), inputs and outputs are tensor names.

    `inputs` may hold None for an optional input that is absent. `options` are the fields of the builtin's
    options table in the flatbuffer schema by their schema names, enums by name
    (`{"padding": "SAME", "strideH": 2, "fusedActivationFunction": "RELU"}`). `sources` are the indices of
    the source operators it stands for; a file does not hold them, so they take no part in comparisons.
    `stated_version` is the builtin's version in the file it was read from: never written with a lesser one.
    """

    type: str
    inputs: list[str | None]
    outputs: list[str]
    options: dict[str, Any] = field(factory=dict)
    sources: tuple[int, ...] = field(default=(), eq=False)
    intermediates: list[str] = field(factory=list)  # tensors that only hold quantisation (LSTM)
    stated_version: int = field(default=1, eq=False)


@define
class Graph:
    """A graph of one subgraph: tensors by name, operators in execution order, named inputs and outputs.

    `inputs` and `outputs` map the model's public names to tensor names, in order.
    """

    tensors: dict[str, GraphTensor]
    operators: list[GraphOperator]
    inputs: dict[str, str]
    outputs: dict[str, str]

    def constant(self, name: str | None) -> np.ndarray | None:
        """The value of a tensor if it is a constant, else None."""
        return self.tensors[name].data if name is not None else None

    def producer(self, name: str) -> GraphOperator | None:
        """The operator that makes a tensor, None for inputs and constants."""
        return next((op for op in self.operators if name in op.outputs), None)

    def consumers(self, name: str) -> list[GraphOperator]:
        """The operators that read a tensor."""
        return [op for op in self.operators if name in op.inputs]
