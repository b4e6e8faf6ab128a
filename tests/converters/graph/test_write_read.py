"""Graph -> bytes -> graph."""

import struct
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.read import read
from converters.graph.write import write
from device_agent.bundle import Quantization
from device_agent.errors import EdgeError, InvalidModel


def _graph() -> Graph:
    """x: float32[2, 3] -> FULLY_CONNECTED -> ADD of itself -> y."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    tensors = [
        GraphTensor("x", (2, 3), "float32"),
        GraphTensor("w", (4, 3), "float32", weights, Quantization((0.5,) * 4, (0,) * 4, 0)),
        GraphTensor("w2", (4, 3), "float32", weights.copy()),
        GraphTensor("k", (), "float32", np.array(-0.0, np.float32)),
        GraphTensor("h", (2, 4), "float32", None, Quantization((0.25,), (-3,))),
        GraphTensor("h2", (2, 4), "float32"),
        GraphTensor("s", (2, 4), "float32"),
        GraphTensor("y", (2, 4), "float32"),
    ]
    operators = [
        GraphOperator("FULLY_CONNECTED", ["x", "w", None], ["h"], complete("FULLY_CONNECTED", {}), (0,)),
        GraphOperator("FULLY_CONNECTED", ["x", "w2", None], ["h2"], complete("FULLY_CONNECTED", {})),
        GraphOperator("ADD", ["h", "h2"], ["s"], complete("ADD", {"fusedActivationFunction": "RELU"})),
        GraphOperator("ADD", ["s", "k"], ["y"], complete("ADD", {})),
    ]
    return Graph({tensor.name: tensor for tensor in tensors}, operators, {"in put": "x"}, {"out": "y"})


def _model(data: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def test_round_trip():
    """What is written is read back as it was: shapes, options, absent inputs, constants, quantisation."""
    assert _graph() == read(write(_graph()), where="test")


def test_open_sizes_survive():
    """The signature of a tensor whose sizes may change is kept; one that opens nothing is as none."""
    graph = _graph()
    for name in ("x", "h", "h2", "s", "y"):
        graph.tensors[name].signature = (-1, graph.tensors[name].shape[1])
    assert graph == read(write(graph), where="test")
    graph.tensors["x"].signature = graph.tensors["x"].shape
    assert None is read(write(graph), where="test").tensors["x"].signature


def test_deterministic():
    """The same graph is the same bytes."""
    assert write(_graph()) == write(_graph())


def test_it_runs_by_its_public_names():
    """The runtime knows the signature's names."""
    interpreter = Interpreter(model_content=write(_graph()), num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    x = np.array([[1, 2, 3], [0, 1, 0]], np.float32)
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(np.maximum(2 * x @ weights.T, 0), runner(**{"in put": x})["out"])


def test_equal_constants_are_stored_once():
    """Two constants with the same bytes share a buffer."""
    model = _model(write(_graph()))
    tensors = {tensor.name: tensor.buffer for tensor in model.subgraphs[0].tensors}
    assert tensors[b"w"] == tensors[b"w2"]
    assert 0 == tensors[b"x"]


def test_constants_are_aligned():
    """Every buffer lies at a multiple of 16 bytes, as the schema asks."""
    data = write(_graph())
    root = schema.Model.GetRootAs(data, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if buffer.DataLength():
            assert 0 == buffer._tab.Vector(buffer._tab.Offset(4)) % 16


def test_versions():
    """Operators have the version they need, and the file says which runtime has them all."""
    model = _model(write(_graph()))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    assert {"FULLY_CONNECTED": 6, "ADD": 1} == {
        names[code.builtinCode]: code.version for code in model.operatorCodes
    }
    assert b"min_runtime_version" == model.metadata[0].name
    assert b"2.1.0" == bytes(model.buffers[model.metadata[0].buffer].data).rstrip(b"\0")


def test_custom_operator():
    """A custom operator keeps its code and its bytes."""
    graph = _graph()
    graph.operators[0].type = "CUSTOM"
    graph.operators[0].options = {"customCode": "Mine", "customOptions": b"\x01\x02"}
    assert graph == read(write(graph), where="test")


def test_unknown_option():
    """An option that the builtin's table has not is a mistake of ours."""
    with pytest.raises(KeyError, match="SoftmaxOptions has no field axis"):
        complete("SOFTMAX", {"axis": 1})


@pytest.mark.parametrize("data", [b"", b"TFL3", b"not a flatbuffer", b"\0" * 64])
def test_another_format(data):
    """Another format is refused with its identifier."""
    with pytest.raises(InvalidModel, match="not a TFLite file"):
        read(data, where="file")


def test_truncated_and_corrupt():
    """Truncated and corrupt files are refused or read, and never anything else."""
    data = write(_graph())
    generator = np.random.default_rng(11)
    refused = 0
    for _ in range(300):
        broken = bytearray(data[: generator.integers(8, len(data))])
        for place in generator.integers(8, len(broken) + 1, 4):
            if place < len(broken):
                broken[place] = generator.integers(256)
        try:
            read(bytes(broken), where="file")
        except EdgeError:
            refused += 1
    assert refused > 150


def test_offset_out_of_the_file():
    """A root that lies outside is refused."""
    data = bytearray(write(_graph()))
    data[:4] = struct.pack("<I", 1 << 30)
    with pytest.raises(InvalidModel, match="truncated or corrupt"):
        read(bytes(data), where="file")


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name",
    [
        "mlperf-tiny/pretrainedResnet_quant",
        "mlperf-tiny/kws_ref_model",
        "mlperf-tiny/str_ww_ref_model",
        "coral/movenet_single_pose_lightning_ptq",
        "coral/keras_lstm_mnist_ptq",
        "coral/posenet_mobilenet_v1_075_353_481_16_quant_decoder",
        "tflm/audio_preprocessor_int8",
        "tflm/trained_lstm_int8",
    ],
)
def test_published_models(zoo: Path, name: str):
    """Quantised, recurrent and custom operators of published models survive a round trip."""
    data = (zoo / "models" / f"{name}.tflite").read_bytes()
    graph = read(data, where=name)
    assert graph == read(write(graph), where=name)


@pytest.mark.zoo
def test_rewritten_file_computes_the_same(zoo: Path):
    """A published int8 model computes the same after it was read and written."""
    data = (zoo / "models/mlperf-tiny/pretrainedResnet_quant.tflite").read_bytes()
    x = np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
    results = []
    for content in (data, write(read(data, where="resnet"))):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(results[0], results[1])
