"""Small networks as TFLite files, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.write import write


def operator(kind: str, inputs: list[str | None], outputs: list[str], **options: Any) -> GraphOperator:
    return GraphOperator(kind, inputs, outputs, complete(kind, options))


def graph(
    tensors: list[GraphTensor], operators: list[GraphOperator], inputs: list[str], outputs: list[str]
) -> Graph:
    named = {tensor.name: tensor for tensor in tensors}
    return Graph(named, operators, {name: name for name in inputs}, {name: name for name in outputs})


def convolutional(*, batch_open: bool = True) -> Graph:
    """image[1, 8, 8, 2] -> CONV_2D -> RESHAPE [1, 108] -> FULLY_CONNECTED -> SOFTMAX -> scores[1, 3].

    The reshape holds the batch; that of the input is open.
    """
    generator = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> GraphTensor:
        return GraphTensor(name, shape, "float32", generator.normal(size=shape).astype(np.float32))

    tensors = [
        GraphTensor("image", (1, 8, 8, 2), "float32", signature=(-1, 8, 8, 2) if batch_open else None),
        weights("kernel", 3, 3, 3, 2),
        weights("bias", 3),
        GraphTensor("features", (1, 6, 6, 3), "float32"),
        GraphTensor("sizes", (2,), "int32", np.array([1, 108], np.int32)),
        GraphTensor("flat", (1, 108), "float32"),
        weights("matrix", 3, 108),
        GraphTensor("logits", (1, 3), "float32"),
        GraphTensor("scores", (1, 3), "float32"),
    ]
    valid = {"padding": "VALID", "strideH": 1, "strideW": 1}
    operators = [
        operator(
            "CONV_2D", ["image", "kernel", "bias"], ["features"], **valid, fusedActivationFunction="RELU"
        ),
        operator("RESHAPE", ["features", "sizes"], ["flat"], newShape=[1, 108]),
        operator("FULLY_CONNECTED", ["flat", "matrix", None], ["logits"]),
        operator("SOFTMAX", ["logits"], ["scores"], beta=1.0),
    ]
    return graph(tensors, operators, ["image"], ["scores"])


def edited(data: bytes, edit: Callable[[Any], None]) -> bytes:
    """A TFLite file after `edit` has changed it as the schema's object."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    edit(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def custom(code: str) -> bytes:
    """x[1, 4] -> a custom operator -> y[1, 4]."""
    tensors = [GraphTensor("x", (1, 4), "float32"), GraphTensor("y", (1, 4), "float32")]
    made = GraphOperator("CUSTOM", ["x"], ["y"], {"customCode": code, "customOptions": b"\1\2"})
    return write(graph(tensors, [made], ["x"], ["y"]))


def builtin(kind: str) -> bytes:
    """x[1, 4] -> a builtin without options -> y[1, 4]."""
    tensors = [GraphTensor("x", (1, 4), "float32"), GraphTensor("y", (1, 4), "float32")]
    return write(graph(tensors, [operator(kind, ["x"], ["y"])], ["x"], ["y"]))
