"""Seeded random networks of windows, pads and slices with open sizes: right at every size, or refused."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from converters import registry, resizing
from converters.model import Model
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import runner
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel, InvalidRequest
from tests.converters.onnx_files import save, weights

NETWORKS = int(os.environ.get("EDGE_RANDOM_NETWORKS", "12"))  # two or so a second
SIZES = 6  # that each is run at


def window(generator: np.random.Generator) -> dict[str, object]:
    kernel, stride = int(generator.integers(1, 5)), int(generator.integers(1, 4))
    made: dict[str, object] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
    if generator.random() < 0.25:
        return {**made, "auto_pad": str(generator.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))}
    return {**made, "pads": [int(pad) for pad in generator.integers(0, kernel, 4)]}


def random_network(generator: np.random.Generator, path: Path) -> Path:
    """x[n, 3, h, w] through one to three operators to y."""
    count = int(generator.integers(1, 4))
    nodes: list[NodeProto] = []
    constants = {}
    for index in range(count):
        ends = ["x" if index == 0 else f"t{index}"], ["y" if index == count - 1 else f"t{index + 1}"]
        kind = str(generator.choice(["Conv", "Conv", "MaxPool", "AveragePool", "Pad", "Slice"]))
        if kind in ("Conv", "MaxPool", "AveragePool"):
            attributes = window(generator)
            if kind == "Conv":
                constants[f"w{index}"] = weights(3, 3, *attributes["kernel_shape"])
                ends[0].append(f"w{index}")
            nodes.append(helper.make_node(kind, *ends, **attributes))
        elif kind == "Pad":
            pads = [0, 0, *generator.integers(0, 3, 2), 0, 0, *generator.integers(0, 3, 2)]
            constants[f"p{index}"] = np.array(pads, np.int64)
            nodes.append(helper.make_node(kind, [*ends[0], f"p{index}"], ends[1]))
        else:
            numbers = (generator.integers(0, 3), generator.choice([1 << 40, -1]), generator.integers(2, 4), 2)
            names = [f"{key}{index}" for key in "beas"]
            constants.update({name: np.array([number]) for name, number in zip(names, numbers, strict=True)})
            nodes.append(helper.make_node(kind, [*ends[0], *names], ends[1]))
    return save(path, nodes, {"x": ["n", 3, "h", "w"]}, {"y": 4}, constants)


def differs(model: Model, generator: np.random.Generator) -> list[tuple[int, ...]]:
    """The shapes at which LiteRT and ONNX Runtime differ."""
    artifact = registry.backend("litert").compile(model, Recipe("float32", "float"), None, lambda *_: None)
    run, wrong = runner(artifact), []
    for _ in range(SIZES):
        shape = (int(generator.integers(1, 4)), 3, *(int(size) for size in generator.integers(12, 90, 2)))
        x = generator.normal(size=shape).astype(np.float32)
        try:
            expected = reader.reference(model)[1]({"x": x})["y"]
        except (
            InvalidModel
        ):  # ONNX Runtime refuses some padding of pools, and windows past what they slide over
            continue
        got = run({"x": x})["y"]
        if expected.shape != got.shape or not np.allclose(expected, got, rtol=1e-3, atol=1e-4):
            wrong.append(shape)
    return wrong


def test_right_at_every_size_or_refused(tmp_path):
    """No network that was opened computes something else at any size; enough of them are opened."""
    generator = np.random.default_rng(11)
    counts: Counter[str] = Counter()
    for _ in range(NETWORKS):
        path = random_network(generator, tmp_path / "net.onnx")
        height, width = (int(size) for size in generator.integers(12, 40, 2))
        asked = Shaping(input_shapes={"x": (1, 3, height, width)}, dynamic={"x": (0, 2, 3)})
        try:
            model = reader.read(path, asked)
            fits = resizing.opened(model).graph is not None
        except (InvalidModel, InvalidRequest):
            fits = False
        counts["opened" if fits else "refused"] += 1
        if fits:
            assert [] == differs(model, generator)
    print(counts)
    assert counts["opened"] >= NETWORKS // 3
