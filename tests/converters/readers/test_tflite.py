"""Reading TFLite files: what they say, what is refused by name, and what broken ones do."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.graph.ir import GraphTensor
from converters.graph.write import write
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Recipe
from converters.preflight import preflight
from converters.readers.litert_process import LitertProcess
from converters.readers.tflite import reader
from converters.shaping import Shaping
from device_agent.bundle import Quantization, TensorSpec
from device_agent.errors import EdgeError, InvalidModel, InvalidRequest
from targets.schema import load_target
from tests.converters.readers import networks
from tests.converters.readers.mutation import mutants

MUTANTS = int(os.environ.get("EDGE_FUZZ", "150"))  # more for a long run


def read(tmp_path: Path, data: bytes, shaping: Shaping | None = None) -> Model:
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    return reader.read(path, shaping or Shaping())


def test_description(tmp_path):
    """Ends with their layout where a convolution reads them, operators in order, parameters."""
    model = read(tmp_path, write(networks.convolutional()))
    assert (TensorSpec("image", "float32", (1, 8, 8, 2), "NHWC"),) == model.inputs
    assert (TensorSpec("scores", "float32", (1, 3)),) == model.outputs
    assert ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"] == [one.type for one in model.operators]
    assert 54 + 3 + 2 + 324 == model.parameters
    assert model.quantized is None
    assert () == model.notes


def test_names_of_a_signature(tmp_path):
    """Public names are those of the signature, whatever it is called, in the subgraph's order."""

    def rename(model):
        signature = model.signatureDefs[0]
        signature.signatureKey = "predict"
        signature.inputs[0].name, signature.outputs[0].name = "picture", "classes"

    model = read(tmp_path, networks.edited(write(networks.convolutional()), rename))
    assert (["picture"], ["classes"]) == ([s.name for s in model.inputs], [s.name for s in model.outputs])
    _, run = reader.reference(model)
    assert (1, 3) == run({"picture": np.ones((1, 8, 8, 2), np.float32)})["classes"].shape


def test_several_inputs_and_outputs(tmp_path):
    """Each keeps its name and place, also a tensor that is an output twice."""
    tensors = [GraphTensor(name, (1, 4), "float32") for name in ("b", "a", "s", "d")]
    operators = [
        networks.operator("ADD", ["b", "a"], ["s"]),
        networks.operator("SUB", ["b", "a"], ["d"]),
    ]
    made = networks.graph(tensors, operators, ["b", "a"], ["s", "d"])
    made.outputs["again"] = "s"
    model = read(tmp_path, write(made))
    assert ["b", "a"] == [spec.name for spec in model.inputs]
    assert {"s", "d", "again"} == {spec.name for spec in model.outputs}
    _, run = reader.reference(model)
    got = run({"b": np.full((1, 4), 3, np.float32), "a": np.ones((1, 4), np.float32)})
    assert (4, 2, 4) == (got["s"][0, 0], got["d"][0, 0], got["again"][0, 0])


@pytest.mark.parametrize(
    ("data", "operator", "reason"),
    [
        (networks.custom("Mine"), "CUSTOM:Mine", "a custom operator, for which the runtime has no kernel"),
        (
            networks.custom("edgetpu-custom-op"),
            "CUSTOM:edgetpu-custom-op",
            "compiled for the Edge TPU already",
        ),
        (networks.custom("FlexErf"), "CUSTOM:FlexErf", "an operator of TensorFlow"),
        (networks.builtin("CALL_ONCE"), "CALL_ONCE", "calls another subgraph"),
        (networks.builtin("READ_VARIABLE"), "READ_VARIABLE", "keeps a state outside of the graph"),
        (networks.builtin("DELEGATE"), "DELEGATE", "stands for what was not written"),
    ],
)
def test_refused_operators(tmp_path, data, operator, reason):
    """What cannot be compiled again is a no with its name, a reason and a way out."""
    graph, (verdict,) = reader.lower(read(tmp_path, data))
    assert graph is None
    assert (False, operator, "y") == (verdict.ok, verdict.operator, verdict.place)
    assert reason in verdict.reason
    assert verdict.help


def test_custom_operators_of_the_runtime(tmp_path):
    """Those that every TFLite runtime brings along are taken."""
    graph, (verdict,) = reader.lower(read(tmp_path, networks.custom("TFLite_Detection_PostProcess")))
    assert verdict.ok
    assert graph is not None


def test_a_builtin_of_the_future(tmp_path):
    """A builtin that the schema does not know is refused by its number; the rest of the file is read."""

    def number(model):
        model.operatorCodes[0].builtinCode = 999

    model = read(tmp_path, networks.edited(networks.builtin("RELU"), number))
    _, (verdict,) = reader.lower(model)
    assert ("BUILTIN_999", False) == (verdict.operator, verdict.ok)
    assert preflight(model).compiled is not None


def test_several_entry_points(tmp_path):
    """A file of several graphs that do not call each other is refused with its signatures."""

    def twice(model):
        model.subgraphs.append(model.subgraphs[0])
        model.signatureDefs.append(schema.SignatureDefT())
        model.signatureDefs[1].signatureKey, model.signatureDefs[1].subgraphIndex = "encode", 1

    with pytest.raises(InvalidModel, match=r"net\.tflite: only .* one entry point.*'encode'"):
        read(tmp_path, networks.edited(networks.builtin("RELU"), twice))


def test_subgraphs_that_are_called(tmp_path):
    """A graph that calls others is read; the caller is refused."""
    data = networks.edited(networks.builtin("CALL_ONCE"), lambda m: m.subgraphs.append(m.subgraphs[0]))
    assert [False] == [verdict.ok for verdict in reader.lower(read(tmp_path, data))[1]]


def test_sparse_weights(tmp_path):
    """Sparse weights are refused with the tensor's name."""

    def sparse(model):
        tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"matrix")
        tensor.sparsity = schema.SparsityParametersT()

    with pytest.raises(InvalidModel, match=r"'matrix'.*sparse"):
        read(tmp_path, networks.edited(write(networks.convolutional()), sparse))


def test_missing_operands(tmp_path):
    """An operator without the inputs that it needs is refused with its place."""

    def cut(model):
        model.subgraphs[0].operators[0].inputs = model.subgraphs[0].operators[0].inputs[:1]

    with pytest.raises(InvalidModel, match=r"operator 0 \(CONV_2D\).*no input 1"):
        read(tmp_path, networks.edited(write(networks.convolutional()), cut))


def test_metadata_are_noted(tmp_path):
    """Metadata that are not carried over are named."""

    def label(model):
        model.metadata.append(schema.MetadataT())
        model.metadata[-1].name, model.metadata[-1].buffer = "TFLITE_METADATA", 0

    model = read(tmp_path, networks.edited(networks.builtin("RELU"), label))
    assert ("metadata of the file are not carried over: TFLITE_METADATA",) == model.notes


def test_half_precision_weights(tmp_path):
    """`DEQUANTIZE(float16 constant)` is the float32 constant: a float model."""
    half = np.array([[1, 2], [3, 4.5]], np.float16)
    tensors = [
        GraphTensor("x", (1, 2), "float32"),
        GraphTensor("h", (2, 2), "float16", half),
        GraphTensor("w", (2, 2), "float32"),
        GraphTensor("y", (1, 2), "float32"),
    ]
    operators = [
        networks.operator("DEQUANTIZE", ["h"], ["w"]),
        networks.operator("FULLY_CONNECTED", ["x", "w", None], ["y"]),
    ]
    model = read(tmp_path, write(networks.graph(tensors, operators, ["x"], ["y"])))
    graph, _ = reader.lower(model)
    assert model.quantized is None
    assert ["FULLY_CONNECTED"] == [one.type for one in graph.operators]
    np.testing.assert_array_equal(half.astype(np.float32), graph.tensors["w"].data)


def test_integer_weights_are_widened_by_their_channels(tmp_path):
    """`DEQUANTIZE(int8 constant)` is scale * (q - zero point), each channel by its own."""
    steps = np.array([[10, -20], [30, 40]], np.int8)
    tensors = [
        GraphTensor("x", (1, 2), "float32"),
        GraphTensor("q", (2, 2), "int8", steps, Quantization((0.5, 0.25), (2, 0), 0)),
        GraphTensor("w", (2, 2), "float32"),
        GraphTensor("y", (1, 2), "float32"),
    ]
    operators = [
        networks.operator("DEQUANTIZE", ["q"], ["w"]),
        networks.operator("FULLY_CONNECTED", ["x", "w", None], ["y"]),
    ]
    graph, _ = reader.lower(read(tmp_path, write(networks.graph(tensors, operators, ["x"], ["y"]))))
    np.testing.assert_array_equal([[4, -11], [7.5, 10]], graph.tensors["w"].data)


def test_quantised_weights_only(tmp_path):
    """Weights that are quantised already leave float32 only, as the file computes."""
    made = networks.convolutional()
    matrix = made.tensors["matrix"]
    matrix.dtype, matrix.quantization = "int8", Quantization((0.1,), (0,))
    matrix.data = np.rint(matrix.data * 10).astype(np.int8)
    model = read(tmp_path, write(made))
    assert "weights" == model.quantized
    with pytest.raises(InvalidRequest, match=r"weights are quantised already.*float32"):
        planner.plan(model, load_target("rpi4"), recipe=Recipe("int8", "integer"))
    assert (
        "float32"
        == planner.plan(model, load_target("rpi4"), recipe=Recipe("auto", "integer")).recipe.precision
    )
    assert "float32" == preflight(model, load_target("rpi4")).target.precision


def test_the_reference_dies(tmp_path):
    """A crash of the runtime is an InvalidModel that names the file and the signal."""
    process = LitertProcess("net.tflite")
    process.load(networks.builtin("RELU"), {})
    os.kill(process.child._process.pid, signal.SIGSEGV)
    with pytest.raises(InvalidModel, match=r"net\.tflite: LiteRT died.*SIGSEGV"):
        process.shapes()


def test_a_file_that_the_runtime_refuses(tmp_path):
    """Eight bytes of a flatbuffer that is none are refused by the runtime's process, which lives on."""
    process = LitertProcess("eight.tflite")
    with pytest.raises(InvalidModel, match=r"eight\.tflite: LiteRT refuses"):
        process.load(b"\x08\0\0\0TFL3", {})
    process.load(networks.builtin("RELU"), {})
    assert {0: (1, 4), 1: (1, 4)} == process.shapes()


def test_broken_files(tmp_path):
    """A broken file gives a model that can be looked at, or an error of ours; nothing else, and no hang."""
    sources = [
        write(networks.convolutional()),
        networks.custom("Mine"),
        networks.edited(write(networks.convolutional()), lambda model: None),
    ]
    path = tmp_path / "net.tflite"
    target = load_target("rpi4-32bit")
    seen = {True: 0, False: 0}
    for data in mutants(sources, MUTANTS, seed=20):
        path.write_bytes(data)
        try:
            preflight(reader.read(path, Shaping()), target)
            seen[True] += 1
        except EdgeError:
            seen[False] += 1
    assert min(seen.values()) > MUTANTS // 10


def test_aliased_tables(tmp_path):
    """A vector that states more tables than the file has bytes for is refused before it is walked."""
    data = bytearray(networks.builtin("RELU"))
    subgraph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    place = subgraph._tab.Vector(subgraph._tab.Offset(4)) - 4
    data[place : place + 4] = (1 << 24).to_bytes(4, "little")
    with pytest.raises(InvalidModel, match="a vector of 16777216 tables"):
        read(tmp_path, bytes(data))
