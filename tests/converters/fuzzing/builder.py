"""A small ONNX graph under construction: the values it has so far, and what random draws need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from attrs import frozen
from onnx import helper, numpy_helper, shape_inference

OPSET = 21
MAX_ELEMENTS = 4096


@frozen
class Drawn:
    """A value of the graph that operators may read."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


class Builder:
    """A graph that grows node by node; a node that shape inference refuses is left out again."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.inputs: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[Drawn] = []
        self._types: dict[str, onnx.TypeProto] = {}
        self._count = 0

    # --- draws

    def below(self, high: int) -> int:
        """An integer, at least 0 and below `high`."""
        return int(self.generator.integers(high))

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.generator.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return bool(self.generator.random() < share)

    def choice(self, items: Sequence[Any]) -> Any:
        """One of these."""
        return items[self.below(len(items))]

    def normal(self, *shape: int) -> np.ndarray:
        """float32, normal."""
        return self.generator.normal(size=shape).astype(np.float32)

    def positive(self, *shape: int) -> np.ndarray:
        """float32 from 0.5 to 2."""
        return self.generator.uniform(0.5, 2.0, size=shape).astype(np.float32)

    def axis(self, rank: int) -> int:
        """An axis, counted from the end in a third of the cases."""
        axis = self.below(rank)
        return axis - rank if self.chance(0.3) else axis

    # --- what grows

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        self._count += 1
        return f"{hint}{self._count}"

    def input(self, array: np.ndarray) -> None:
        """A graph input and the value that it is run with."""
        name = self.fresh("input")
        self.inputs[name] = array
        self._note(name, array)

    def constant(self, array: Any) -> str:
        """An initializer."""
        name = self.fresh("constant")
        self.constants[name] = np.asarray(array)
        element = helper.np_dtype_to_tensor_dtype(self.constants[name].dtype)
        self._types[name] = helper.make_tensor_type_proto(element, self.constants[name].shape)
        return name

    def _note(self, name: str, array: np.ndarray) -> None:
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._types[name] = helper.make_tensor_type_proto(element, array.shape)
        self.values.append(Drawn(name, array.dtype.name, array.shape))

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Drawn | None:
        """Add a node; its first output, None where the node is not valid, too large or empty."""
        names = [self.fresh("value") for _ in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=self.fresh(operator), **attributes)
        schema = onnx.defs.get_schema(operator, OPSET, "")
        try:
            made = shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self._types[name] for name in inputs if name},
                {n: numpy_helper.from_array(self.constants[n], n) for n in inputs if n in self.constants},
                opset_imports=[helper.make_opsetid("", OPSET)],
            )
        except Exception:  # noqa: BLE001 - a draw that makes no sense; C++ throws several kinds
            return None
        drawn = []
        for name in names:
            tensor = made[name].tensor_type if name in made else onnx.TypeProto.Tensor()
            shape = tuple(d.dim_value for d in tensor.shape.dim)
            if not tensor.HasField("shape") or not 0 < int(np.prod(shape, dtype=np.int64)) <= MAX_ELEMENTS:
                return None
            if len(shape) > 6:
                return None
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            drawn.append(Drawn(name, dtype, shape))
        self.nodes.append(node)
        self._types.update({name: made[name] for name in names})
        self.values.extend(drawn)
        return drawn[0]

    def pick(self, dtype: str = "float32", ranks: Sequence[int] = range(7)) -> Drawn | None:
        """One of the values of that dtype and rank, the later ones rather; None if there is none."""
        fitting = [value for value in self.values if value.dtype == dtype and value.rank in ranks]
        if not fitting:
            return None
        recent = fitting[-4:] if self.chance(0.8) else fitting
        found: Drawn = self.choice(recent)
        return found

    def proto(self) -> onnx.ModelProto:
        """The model: its outputs are the values nothing reads, and now and then others."""
        read = {name for node in self.nodes for name in node.input}
        made = {name for node in self.nodes for name in node.output}
        ends = [v for v in self.values if v.name in made and (v.name not in read or self.chance(0.1))]
        used = {name for name in self.inputs if name in read} or set(list(self.inputs)[:1])

        def info(name: str, dtype: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
            )

        graph = helper.make_graph(
            self.nodes,
            "random",
            [info(name, a.dtype.name, a.shape) for name, a in self.inputs.items() if name in used],
            [info(value.name, value.dtype, value.shape) for value in ends],
            [numpy_helper.from_array(a, name) for name, a in self.constants.items() if name in read],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
