"""A transformer's block as ONNX, with the outlier channels behind a normalisation that large ones have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH, HIDDEN, CLASSES = 8, 32, 64, 4
OUTLIERS, FACTOR = (3, 17), 60.0  # channels of what the second normalisation gives, and how much larger


def write(path: Path) -> Path:
    """Tokens float32[1, 8, 32] `tokens` -> attention -> two layers with GELU -> `scores` float32[1, 4].

    The weights behind the outlier channels are as much smaller, so the function is that of a plain block.
    """
    random = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants[name] = value
        return name

    def weights(name: str, *shape: int) -> str:
        return constant(name, (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32))

    def add(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=f"node/{output}", **attributes))
        return output

    ones = np.ones(WIDTH, np.float32)
    gain = ones.copy()
    gain[list(OUTLIERS)] = FACTOR
    shift = constant("shift", np.zeros(WIDTH, np.float32))
    first = add("LayerNormalization", ["tokens", constant("gain1", ones), shift], "normal1")
    for name in ("query", "key", "value"):
        add("MatMul", [first, weights(f"w_{name}", WIDTH, WIDTH)], name)
    turned = add("Transpose", ["key"], "turned", perm=[0, 2, 1])
    scaled = add(
        "Mul",
        [add("MatMul", ["query", turned], "dots"), constant("scale", np.float32(WIDTH**-0.5))],
        "scaled",
    )
    mixed = add("MatMul", [add("Softmax", [scaled], "attention", axis=-1), "value"], "mixed")
    joined = add(
        "Add", ["tokens", add("MatMul", [mixed, weights("w_out", WIDTH, WIDTH)], "projected")], "joined"
    )
    second = add("LayerNormalization", [joined, constant("gain2", gain), shift], "normal2")
    weights("w_up", WIDTH, HIDDEN)
    constants["w_up"][list(OUTLIERS)] /= FACTOR
    up = add(
        "Add",
        [
            add("MatMul", [second, "w_up"], "up"),
            constant("b_up", random.normal(size=HIDDEN).astype(np.float32)),
        ],
        "up_b",
    )
    active = add(
        "Mul",
        [
            add("Mul", [up, constant("half", np.float32(0.5))], "halved"),
            add(
                "Add",
                [
                    add("Erf", [add("Mul", [up, constant("root", np.float32(0.5**0.5))], "rooted")], "erf"),
                    constant("one", np.float32(1)),
                ],
                "risen",
            ),
        ],
        "active",
    )
    down = add("MatMul", [active, weights("w_down", HIDDEN, WIDTH)], "down")
    voted = add(
        "MatMul", [add("Add", [joined, down], "rejoined"), weights("w_head", WIDTH, CLASSES)], "voted"
    )
    add("ReduceMean", [voted], "scores", axes=[1], keepdims=0)
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def samples(count: int, seed: int = 0) -> np.ndarray:
    """Tokens float32[N, 8, 32], normal."""
    return np.random.default_rng((1, seed)).normal(size=(count, TOKENS, WIDTH)).astype(np.float32)
