"""MobileNetV2 as tf2onnx spells what Keras made of it: 65 operators, and the numbers of ONNX Runtime.

The spelling is that of tf2onnx 1.17 and Keras 3 (operator set 17): one Transpose at the front, NCHW inside,
Relu6 as Clip, the batch norm of a depthwise convolution left as Mul and Add, an explicit Pad before its
strides, an open batch. benchmarks/onnx_conversion.py converts the exported file itself.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from converters.graph import write
from converters.graph.passes import run
from converters.readers.onnx import reader
from converters.shaping import Shaping

# (expansion, channels, repeats, first stride): Table 2 of https://arxiv.org/abs/1801.04381
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SIZE, CLASSES = 224, 1000


class Exporter:
    """Adds nodes one behind the other; the weights are seeded random numbers."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {"low": np.float32(0), "high": np.float32(6)}

    def add(self, kind: str, *inputs: str | np.ndarray, **attributes: object) -> str:
        """A node; arrays become initializers."""
        names = []
        for given in inputs:
            name = given if isinstance(given, str) else f"constant_{len(self.constants)}"
            if not isinstance(given, str):
                self.constants[name] = given
            names.append(name)
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def normal(self, *shape: int, scale: float) -> np.ndarray:
        return self.generator.normal(0, scale, shape).astype(np.float32)

    def conv(self, x: str, before: int, after: int, size: int = 1, stride: int = 1) -> str:
        """A convolution whose batch norm tf2onnx has folded."""
        weights = self.normal(after, before, size, size, scale=(2 / (before * size * size)) ** 0.5)
        pads = [0, 0, size // 2, size // 2] if stride == 2 else [0, 0, 0, 0]
        return self.add(
            "Conv", x, weights, self.normal(after, scale=0.1),
            kernel_shape=[size, size], strides=[stride] * 2, dilations=[1, 1], group=1, pads=pads,
        )  # fmt: skip

    def depthwise(self, x: str, channels: int, stride: int) -> str:
        """A depthwise convolution, its batch norm apart."""
        attributes = {"kernel_shape": [3, 3], "strides": [stride] * 2, "dilations": [1, 1], "group": channels}
        if stride == 2:
            x = self.add("Pad", x, np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64))
        else:
            attributes["pads"] = [1, 1, 1, 1]
        x = self.add("Conv", x, self.normal(channels, 1, 3, 3, scale=0.5), **attributes)
        scale = self.generator.uniform(0.5, 1.5, (1, channels, 1, 1)).astype(np.float32)
        x = self.add("Mul", x, scale)
        return self.add("Add", x, self.normal(1, channels, 1, 1, scale=0.1))

    def relu6(self, x: str) -> str:
        return self.add("Clip", x, "low", "high")

    def network(self) -> onnx.ModelProto:
        """The whole of it, its batch open."""
        x = self.add("Transpose", "image", perm=[0, 3, 1, 2])
        x, channels = self.relu6(self.conv(x, 3, 32, 3, 2)), 32
        for expansion, wanted, repeats, first in STAGES:
            for repeat in range(repeats):
                stride, inside, skip = first if repeat == 0 else 1, expansion * channels, x
                if expansion != 1:
                    x = self.relu6(self.conv(x, channels, inside))
                x = self.relu6(self.depthwise(x, inside, stride))
                x = self.conv(x, inside, wanted)
                if stride == 1 and channels == wanted:
                    x = self.add("Add", skip, x)
                channels = wanted
        x = self.add("GlobalAveragePool", self.relu6(self.conv(x, channels, 1280)))
        x = self.add("Squeeze", x, np.array([2, 3], np.int64))
        x = self.add("MatMul", x, self.normal(1280, CLASSES, scale=0.05))
        x = self.add("Softmax", self.add("Add", x, self.normal(CLASSES, scale=0.1)))
        graph = helper.make_graph(
            self.nodes,
            "mobilenet_v2",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", SIZE, SIZE, 3))],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, ("batch", CLASSES))],
            [numpy_helper.from_array(np.asarray(data), name) for name, data in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_mobilenet_v2(tmp_path: Path) -> None:
    """Nothing but its convolutions, sums, mean, product and softmax is left, and they compute the same."""
    file = tmp_path / "mobilenet_v2.onnx"
    onnx.save(Exporter().network(), file)
    model = reader.read(file, Shaping())
    graph, _ = reader.lower(model)
    assert graph is not None
    run(graph)
    expected = {
        "CONV_2D": 35,
        "DEPTHWISE_CONV_2D": 17,
        "ADD": 10,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
        "SOFTMAX": 1,
    }
    assert expected == Counter(operator.type for operator in graph.operators)
    assert 65 == len(graph.operators)

    image = np.random.default_rng(1).random((1, SIZE, SIZE, 3), np.float32)
    _, reference = reader.reference(model)
    (scores,) = reference({"image": image}).values()
    interpreter = Interpreter(model_content=write.write(graph), num_threads=1)
    (got,) = interpreter.get_signature_runner()(image=image).values()
    assert float(np.ptp(scores)) > 0.01  # not all the same, which would hide a difference
    assert 0 == np.count_nonzero(np.abs(got - scores) > 1e-4 * np.ptp(scores))
