"""Whole graphs: verdicts, names, dead ends, outputs, and the zoo."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper

from converters.graph.passes import run
from converters.graph.write import write
from converters.lowering import registry
from converters.readers.onnx import reader
from converters.shaping import Shaping


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_every_refusal_is_told(judge):
    """A refusal does not stop the rest from being judged."""
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="determinant"),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("IsInf", ["r"], ["e"], detect_positive=0, detect_negative=0),
        helper.make_node("Not", ["e"], ["y"]),
    ]
    verdicts = judge(nodes, {"x": (4, 5, 5)}, output_dtype="bool")
    assert [False, True, False, True] == [verdict.ok for verdict in verdicts]
    assert ("Det", "determinant") == (verdicts[0].operator, verdicts[0].place)
    assert "no lowering" in verdicts[0].reason
    assert verdicts[0].help is not None
    assert "Relu_1" == verdicts[1].place
    assert "becomes RELU" == verdicts[1].reason


def test_foreign_operator_set(judge):
    """Operators of other sets are refused, and what follows them as far as it is unknown."""
    nodes = [
        helper.make_node("FusedMatMul", ["x", "x"], ["m"], domain="com.microsoft"),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Abs", ["x"], ["z"]),
    ]
    first, second, third = judge(nodes, {"x": (3, 3)}, outputs=("r", "z"))
    assert ("com.microsoft.FusedMatMul", "com.microsoft") == (first.operator, first.got)
    assert not first.ok
    assert "shape of 'm' is not known" in second.reason
    assert third.ok


def test_unused_operators_are_left_out(convert):
    """What nothing reads need not be lowered."""
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Relu", ["x"], ["y"])]
    made = convert(nodes, {"x": (4, 3, 3)})
    assert ["left out: nothing reads it", "becomes RELU"] == [v.reason for v in made.verdicts]


def test_folding_is_general(convert):
    """Any operator of constants is computed, whether it has a lowering or not."""
    nodes = [
        helper.make_node("Einsum", ["a", "a"], ["e"], equation="ij,ij->i"),
        helper.make_node("Erf", ["e"], ["f"]),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    made = convert(nodes, {"x": (2, 3)}, constants={"a": _normal(3, 4)})
    assert registry.entry("Einsum") is None
    assert ["ADD"] == made.types


def test_folding_is_bounded(judge):
    """A file of some bytes cannot ask for a constant of some terabytes."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["k"]),
        helper.make_node("ReduceSum", ["k"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    huge = np.array([1 << 20, 1 << 20], np.int64)
    assert not judge(nodes, {"x": (2, 3)}, constants={"s": huge})[0].ok


def test_random_numbers_are_not_folded(judge):
    """An operator without inputs is a constant only if it gives the same every time."""
    nodes = [
        helper.make_node("RandomNormal", [], ["r"], shape=(2, 3)),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    assert not judge(nodes, {"x": (2, 3)})[0].ok


def test_dtypes(judge):
    """A dtype that cannot be computed in is refused with what to do."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    (verdict,) = judge(nodes, {"x": (2, 3)}, dtype="float64")
    assert "float64" == verdict.got
    assert "Export the model in float32." == verdict.help


def test_inputs_and_outputs_keep_their_places(convert):
    """Several inputs and outputs, an output that is an input, one that is a constant, one that is read on."""
    nodes = [
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Identity", ["b"], ["copy"]),
        helper.make_node("Identity", ["k"], ["constant"]),
        helper.make_node("Abs", ["r"], ["last"]),
    ]
    made = convert(
        nodes,
        {"a": (2, 3), "b": (3, 2)},
        outputs=("last", "copy", "r", "constant"),
        constants={"k": _normal(2, 2)},
    )
    assert ["a", "b"] == list(made.graph.inputs)


def test_same_transpose_is_made_once(convert):
    """Two operators that need an input in NHWC share its transpose."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["x", "v"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["y"], axes=(2, 3), keepdims=0),
    ]
    constants = {"w": _normal(4, 3, 3, 3), "v": _normal(4, 3, 3, 3) + 1}
    made = convert(nodes, {"x": (1, 3, 8, 8)}, constants=constants)
    assert ["TRANSPOSE", "CONV_2D", "CONV_2D", "ADD", "MEAN"] == made.types


def _channel_first_network() -> tuple[list, dict]:
    """What a PyTorch exporter makes of a small CNN: NCHW, flattened after a feature map of 4 x 4."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], strides=(2, 2), pads=(1, 1, 1, 1)),
        helper.make_node("BatchNormalization", ["c1", "s", "b1", "m", "v"], ["n1"]),
        helper.make_node("Clip", ["n1", "zero", "six"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], group=8, pads=(1, 1, 1, 1)),
        helper.make_node("HardSigmoid", ["c2"], ["g"], alpha=1 / 6),
        helper.make_node("Mul", ["c2", "g"], ["h"]),
        helper.make_node("Conv", ["h", "w3", "b1"], ["c3"]),
        helper.make_node("Add", ["c3", "r1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=(2, 2), strides=(2, 2)),
        helper.make_node("Dropout", ["p"], ["d"]),
        helper.make_node("Flatten", ["d"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["l"], transB=1),
        helper.make_node("Softmax", ["l"], ["y"], axis=-1),
    ]
    constants = {
        "w1": _normal(8, 3, 3, 3),
        "b1": _normal(8),
        "s": _normal(8),
        "m": _normal(8),
        "v": np.abs(_normal(8)) + 1,
        "w2": _normal(8, 1, 3, 3),
        "w3": _normal(8, 8, 1, 1),
        "w4": _normal(10, 128) / 10,
        "b4": _normal(10),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
    }
    return nodes, constants


def test_channel_first_network(convert):
    """Only the input is transposed: the weights behind the flattening take the layout of the feature map."""
    nodes, constants = _channel_first_network()
    made = convert(nodes, {"x": (1, 3, 16, 16)}, constants=constants)
    assert ["TRANSPOSE"] == [name for name in made.types if name == "TRANSPOSE"]
    assert "TRANSPOSE" == made.types[0]
    assert 1 == made.counts["fold_transpose_fully_connected"]
    assert set(range(len(nodes))) - {10} == {s for operator in made.graph.operators for s in operator.sources}


def test_verdicts_are_true_of_the_graph(convert):
    """Every operator of the lowered graph is told in a verdict."""
    nodes, constants = _channel_first_network()
    made = convert(nodes, {"x": (1, 3, 16, 16)}, constants=constants)
    told = [name for v in made.verdicts for name in v.reason.removeprefix("becomes ").split(", ")]
    assert made.lowered == [name for name in told if name != "needs no operator"]


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "operators", "data"),
    [
        ("resnet8", 16, "cifar10"),
        ("kws_dscnn", 13, "kws"),
        ("vww_mobilenetv1_025", 31, "vww"),
        ("ad01_autoencoder", 10, None),
        ("streaming_wakeword", 11, "sww"),
    ],
)
def test_zoo(zoo: Path, tmp_path: Path, name: str, operators: int, data: str | None):
    """As many operators as the native route has, no transpose, and ONNX Runtime's results."""
    model = reader.read(zoo / "models/onnx" / f"{name}.onnx", Shaping())
    graph, verdicts = reader.lower(model)
    assert [] == [str(verdict) for verdict in verdicts if not verdict.ok]
    run(graph)
    types = [operator.type for operator in graph.operators]
    assert operators == len(types)
    assert "TRANSPOSE" not in types
    interpreter = Interpreter(model_content=write(graph), num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    _, reference = reader.reference(model)
    (spec,) = model.inputs
    for sample in [*_random(spec.shape), *_real(zoo, tmp_path, data)]:
        expected, actual = reference({spec.name: sample}), runner(**{spec.name: sample})
        for output, value in expected.items():
            scale = max(np.ptp(value), 1e-3)
            np.testing.assert_allclose(actual[output], value, rtol=0, atol=1e-4 * scale)


def _random(shape: tuple[int, ...]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random(shape).astype(np.float32) for _ in range(10)]


def _real(zoo: Path, folder: Path, data: str | None) -> list[np.ndarray]:
    """Twenty samples of a data set, by the zoo's own loader."""
    if data is None:
        return []
    file = folder / "data.npz"
    command = [sys.executable, str(zoo / "load.py"), data, "--split", "train", "--out", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    x = np.load(file)["x"]
    return [sample[np.newaxis] for sample in x[:: max(1, len(x) // 20)]]


@pytest.mark.zoo
def test_batch(zoo: Path):
    """An open batch dimension may be any size."""
    model = reader.read(zoo / "models/onnx/resnet8.onnx", Shaping(3))
    graph, _ = reader.lower(model)
    run(graph)
    assert (3, 32, 32, 3) == model.inputs[0].shape
    assert (3, 10) == model.outputs[0].shape
    x = np.random.default_rng(0).random((3, 32, 32, 3)).astype(np.float32) * 255
    interpreter = Interpreter(model_content=write(graph), num_threads=1)
    interpreter.allocate_tensors()
    actual = interpreter.get_signature_runner("serving_default")(input_1=x)["dense"]
    np.testing.assert_allclose(actual, reader.reference(model)[1]({"input_1": x})["dense"], atol=1e-5)


def test_every_lowering_is_of_a_known_operator():
    """What is registered are operators that ONNX has."""
    assert [] == [name for name in registry.known() if not onnx.defs.has(name)]
