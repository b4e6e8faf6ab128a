"""The LiteRT backend: what it says of operators, and what it refuses."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters import registry
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Recipe
from converters.quantize.samples.calibration import load_calibration
from converters.shaping import Shaping
from device_agent.errors import CalibrationError, UnsupportedOperator
from targets.schema import load_target

BACKEND = registry.backend("litert")


def network(tmp_path, *nodes: onnx.NodeProto, shape: str = "nchw", **constants: np.ndarray) -> Model:
    """x: float32[1, 3, 8, 8] -> the nodes -> y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    file = tmp_path / "My net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return registry.reader("onnx").read(file, Shaping())


def conv_bn_relu(tmp_path) -> Model:
    ones = np.ones(4)
    return network(
        tmp_path,
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "b", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
        w=np.random.default_rng(0).normal(size=(4, 3, 3, 3)),
        scale=ones,
        b=ones,
        mean=ones,
        var=ones,
    )


def test_verdicts_say_what_became_of_each(tmp_path):
    """After the rewrites: an operator, folded into weights, or part of another."""
    conv, norm, relu = BACKEND.judge(conv_bn_relu(tmp_path))
    assert "CONV_2D" in conv.becomes
    assert ("folded into the weights of CONV_2D", ()) == (norm.reason, norm.becomes)
    assert relu.becomes
    assert relu.reason.startswith("Relu as ")


def test_the_plan_reads_as_sentences(tmp_path):
    """The plan's reasons name the processor, the operator and the precision."""
    made = plan(conv_bn_relu(tmp_path), load_target("local"), recipe=Recipe("int8", "integer"))
    assert "cpu runs Conv as " in made.operators[0].reason
    assert made.operators[0].reason.endswith(" in int8")
    assert [None] == [row.processor for row in made.operators if row.type == "BatchNormalization"]


def test_the_title_is_readable_and_safe(tmp_path):
    """The file's name comes from the model's, in characters that a bundle takes."""
    artifact = BACKEND.compile(conv_bn_relu(tmp_path), Recipe("float32", "float"), None, lambda *_: None)
    assert "My_net_float32.tflite" == artifact.title
    assert artifact.operators == artifact.float_operators


def test_an_operator_that_cannot_be_lowered_is_named(tmp_path):
    """`judge` refuses it as a value, `compile` raises with the node."""
    model = network(tmp_path, helper.make_node("Det", ["x"], ["y"], name="the_determinant"), shape="nc")
    verdict = BACKEND.judge(model)[0]
    assert (False, "Det") == (verdict.ok, verdict.operator)
    with pytest.raises(UnsupportedOperator, match=r"My net\.onnx.*Det.*the_determinant"):
        BACKEND.compile(model, Recipe("float32", "float"), None, lambda *_: None)


def test_int8_without_calibration_is_refused(tmp_path):
    """No data is made up."""
    with pytest.raises(CalibrationError, match=r"--calibration data\.npz"):
        BACKEND.compile(conv_bn_relu(tmp_path), Recipe("int8", "integer"), None, lambda *_: None)


def test_tolerances(tmp_path):
    """Steps for an integer output, the steps' value for a float end, an absolute bound for float32."""
    model = conv_bn_relu(tmp_path)
    x = np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32)
    calibration = load_calibration(x, model)
    integer, ends, exact = (
        BACKEND.compile(model, recipe, calibration, lambda *_: None)
        for recipe in (Recipe("int8", "integer"), Recipe("int8", "float"), Recipe("float32", "float"))
    )
    assert 4.0 == integer.tolerance["y"]
    assert ends.tolerance["y"] == pytest.approx(4 * integer.outputs[0].quantization.scale[0])
    assert 1e-3 == exact.tolerance["y"]
