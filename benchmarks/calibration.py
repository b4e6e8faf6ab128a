#!/usr/bin/env python3
"""Time and memory of calibration on a network of MobileNetV2's size: 7.0 million activation values.

    python benchmarks/calibration.py [--samples 100]

Statistics are collected in a process of its own for each number of samples, and the process's peak is read
from the kernel. The network has MobileNetV2's layers (https://arxiv.org/abs/1801.04381, table 2) and random
weights; what is measured does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize.samples.calibration import Calibration

SIZE = 224
# expansion, channels, repeats, stride of the first
BLOCKS = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
CONVOLUTION = {"padding": "SAME", "dilationWFactor": 1, "dilationHFactor": 1}


class Network:
    """Builds the graph, a layer at a time."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.graph = Graph({}, [], {}, {})

    def tensor(self, shape: tuple[int, ...], data: np.ndarray | None = None) -> str:
        name = f"t{len(self.graph.tensors)}"
        dtype = "float32" if data is None else str(data.dtype)
        self.graph.tensors[name] = GraphTensor(name, shape, dtype, data)
        return name

    def weights(self, *shape: int) -> str:
        drawn = self._random.normal(size=shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        return self.tensor(shape, drawn.astype(np.float32))

    def add(self, kind: str, inputs: list[str], shape: tuple[int, ...], **options: object) -> str:
        made = self.tensor(shape)
        self.graph.operators.append(GraphOperator(kind, list(inputs), [made], dict(options)))
        return made

    def convolution(self, x: str, out: int, size: int, stride: int, activation: str) -> str:
        """A convolution; depthwise where `out` is 0."""
        _, height, width, channels = self.graph.tensors[x].shape
        shape = (1, -(-height // stride), -(-width // stride), out or channels)
        options = {**CONVOLUTION, "strideW": stride, "strideH": stride}
        weights = self.weights(out, size, size, channels) if out else self.weights(1, size, size, channels)
        kind = "CONV_2D" if out else "DEPTHWISE_CONV_2D"
        more = {} if out else {"depthMultiplier": 1}
        inputs = [x, weights, self.weights(out or channels)]
        return self.add(kind, inputs, shape, **options, **more, fusedActivationFunction=activation)


def network() -> Graph:
    """The whole network: x float32[1, 224, 224, 3] -> probabilities float32[1, 1000]."""
    made = Network()
    shapes = made.graph.tensors
    x = entry = made.tensor((1, SIZE, SIZE, 3))
    x = made.convolution(x, 32, 3, 2, "RELU6")
    for expansion, channels, repeats, first in BLOCKS:
        for index in range(repeats):
            y = made.convolution(x, shapes[x].shape[3] * expansion, 1, 1, "RELU6") if expansion > 1 else x
            y = made.convolution(y, 0, 3, first if index == 0 else 1, "RELU6")
            y = made.convolution(y, channels, 1, 1, "NONE")
            x = made.add("ADD", [x, y], shapes[y].shape, fusedActivationFunction="NONE") if index else y
    x = made.convolution(x, 1280, 1, 1, "RELU6")
    axes = made.tensor((2,), np.array([1, 2], np.int32))
    x = made.add("MEAN", [x, axes], (1, 1280), keepDims=False)
    inputs = [x, made.weights(1000, 1280), made.weights(1000)]
    x = made.add("FULLY_CONNECTED", inputs, (1, 1000), fusedActivationFunction="NONE")
    made.graph.inputs, made.graph.outputs = {"x": entry}, {"y": made.add("SOFTMAX", [x], (1, 1000), beta=1.0)}
    return made.graph


def drawn(count: int) -> Calibration:
    """Random samples, each made when it is asked for."""

    def samples() -> Iterator[dict[str, np.ndarray]]:
        random = np.random.default_rng(0)
        for _ in range(count):
            yield {"x": random.random((1, SIZE, SIZE, 3), np.float32)}

    return Calibration("random", count, samples)


def child(count: int) -> None:
    """Collect statistics of so many samples; print what it took as JSON."""
    from converters.graph.write import write
    from converters.quantize.integer.statistics import collect
    from converters.quantize.integer.tracing import Tracing

    graph, data = network(), drawn(count)
    model = write(graph)
    traced = Tracing(graph, model)
    for sample in drawn(3).samples():
        traced.run(sample)
    start = time.perf_counter()
    for sample in data.samples():
        traced.run(sample)
    inference = time.perf_counter() - start
    del traced
    start = time.perf_counter()
    collect(graph, data, lambda *_: None)
    total = time.perf_counter() - start
    row = {
        "inference_ms": 1e3 * inference / count,
        "total_ms": 1e3 * total / count,
        "model_mb": len(model) / 1e6,
    }
    with open("/proc/self/status") as status:  # noqa: PTH123 - not a file of ours
        (peak,) = (line for line in status if line.startswith("VmHWM"))
    print(json.dumps({**row, "peak_mb": int(peak.split()[1]) / 1024}))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--child", type=int)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child)
        return
    print("| samples | inference, ms each | with statistics, ms each | peak memory, MB | model, MB |")
    print("|---|---|---|---|---|")
    for count in (arguments.samples // 10, arguments.samples):
        command = [sys.executable, __file__, "--child", str(count)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"| {count} | {row['inference_ms']:.1f} | {row['total_ms']:.1f} | {row['peak_mb']:.0f} | "
            f"{row['model_mb']:.1f} |"
        )


if __name__ == "__main__":
    main()
