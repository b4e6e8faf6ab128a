"""Small ONNX files with inputs of open sizes, for tests of readers and of what follows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Dimensions = Sequence[int | str | None]


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Dimensions],
    outputs: Mapping[str, int],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    integers: Sequence[str] = (),
    ir_version: int = 8,
    opset: int = 17,
) -> Path:
    """Write a model; `outputs` are names with their ranks, `integers` the ends that are int64."""

    def info(name: str, dimensions: Dimensions) -> onnx.ValueInfoProto:
        element = TensorProto.INT64 if name in integers else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, element, dimensions)

    graph = helper.make_graph(
        list(nodes),
        "test",
        [info(name, dimensions) for name, dimensions in inputs.items()],
        [info(name, [None] * rank) for name, rank in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=ir_version).SerializeToString()
    )
    return path


def weights(*shape: int) -> np.ndarray:
    """Seeded weights: float32[shape]."""
    return np.random.default_rng(3).normal(size=shape).astype(np.float32) / 4


def convolutions(path: Path, *, stride: int = 2, tail: Sequence[NodeProto] = ()) -> Path:
    """x[n, 3, h, w] -> Conv, Relu, depthwise Conv (3x3, padding 1, this stride) -> `tail`, or y."""
    pads, strides = [1] * 4, [stride] * 2
    last = "c" if tail else "y"
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=pads, strides=strides, name="stem"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], [last], pads=pads, strides=strides, group=8, name="depthwise"),
        *tail,
    ]
    constants = {"w1": weights(8, 3, 3, 3), "w2": weights(8, 1, 3, 3), "w3": weights(8, 5)}
    used = {name for node in nodes for name in node.input}
    constants = {name: value for name, value in constants.items() if name in used}
    return save(path, nodes, {"x": ["n", 3, "h", "w"]}, {"y": 2 if tail else 4}, constants)
