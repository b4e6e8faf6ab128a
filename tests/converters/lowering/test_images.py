"""`--layout nhwc`: which ends of a channel-first network are images, and how they lie then."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from converters import registry
from converters.convert import convert
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.samples.calibration import load_calibration
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import CalibrationError
from device_agent.tensors import unpack
from targets.schema import load_target
from tests.converters.onnx_files import convolutions, save, weights

FLOAT, INT8 = Recipe("float32", "float"), Recipe("int8", "integer")


def read(path: Path, layout: str = "nhwc") -> Model:
    return reader.read(path, Shaping(layout=layout, input_shapes={"x": (1, 3, 12, 16)}))


def ends(model: Model) -> dict[str, tuple[tuple[int, ...], str | None]]:
    return {spec.name: (spec.shape, spec.layout) for spec in (*model.inputs, *model.outputs)}


@pytest.mark.parametrize("recipe", [FLOAT, INT8])
def test_no_transpose_is_left(tmp_path, recipe):
    """Input and output lie as NHWC in the compiled model, in golden samples and for the reference too."""
    model = read(convolutions(tmp_path / "net.onnx", stride=1))
    assert {"x": ((1, 12, 16, 3), "NHWC"), "y": ((1, 12, 16, 8), "NHWC")} == ends(model)
    samples = np.random.default_rng(0).random((20, 12, 16, 3), np.float32)
    made = convert(
        model,
        plan(model, load_target("local"), recipe=recipe),
        calibration=load_calibration(samples, model),
        progress=lambda *_: None,
    )
    assert ("CONV_2D", "DEPTHWISE_CONV_2D") == made.artifact.operators
    specs = (*made.artifact.inputs, *made.artifact.outputs)
    assert {"x": ((1, 12, 16, 3), "NHWC"), "y": ((1, 12, 16, 8), "NHWC")} == {
        spec.name: (spec.shape, spec.layout) for spec in specs
    }
    assert (1, 12, 16, 3) == unpack(made.golden_inputs)["0/x"].shape
    assert made.fidelity is not None
    assert (made.fidelity.outputs[0].snr_db or 999) > 20


def test_the_same_numbers_as_kept(tmp_path):
    """The model computes what it computes channel-first, only lying otherwise."""
    path = convolutions(tmp_path / "net.onnx")
    x = np.random.default_rng(0).random((1, 3, 12, 16), np.float32)
    found = {}
    for layout, fed in (("keep", x), ("nhwc", x.transpose(0, 2, 3, 1))):
        model = read(path, layout)
        made = registry.backend("litert").compile(model, FLOAT, None, lambda *_: None)
        assert (layout == "keep") == ("TRANSPOSE" in made.operators)
        got, wanted = runner(made)({"x": fed})["y"], reader.reference(model)[1]({"x": fed})["y"]
        np.testing.assert_allclose(wanted, got, atol=1e-5)
        found[layout] = got
    np.testing.assert_array_equal(found["keep"].transpose(0, 2, 3, 1), found["nhwc"])


def test_past_elementwise_operators(tmp_path):
    """An image is one too behind operators that leave the axes alone; what is rearranged is none."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["y"]),
        helper.make_node("Reshape", ["b", "shape"], ["z"]),
        helper.make_node("Abs", ["t"], ["u"]),
    ]
    constants = {"scale": weights(1, 3, 1, 1), "w": weights(8, 3, 1, 1), "shape": np.array([1, 4, 2, -1])}
    inputs = {"x": ["n", 3, "h", "w"], "t": [1, 2, 3, 4]}
    model = read(save(tmp_path / "net.onnx", nodes, inputs, {"y": 4, "z": 4, "u": 4}, constants))
    assert {
        "x": ((1, 12, 16, 3), "NHWC"),
        "t": ((1, 2, 3, 4), None),
        "y": ((1, 12, 16, 8), "NHWC"),
        "z": ((1, 4, 2, 192), None),
        "u": ((1, 2, 3, 4), None),
    } == ends(model)


def test_an_input_that_is_channel_last_already(tmp_path):
    """A network that transposes its own input keeps it as it is."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    path = save(tmp_path / "net.onnx", nodes, {"x": [1, 12, 16, 3]}, {"y": 4}, {"w": weights(8, 3, 1, 1)})
    model = reader.read(path, Shaping(layout="nhwc"))
    assert {"x": ((1, 12, 16, 3), "NHWC"), "y": ((1, 12, 16, 8), "NHWC")} == ends(model)
    x = np.ones((1, 12, 16, 3), np.float32)
    made = registry.backend("litert").compile(model, FLOAT, None, lambda *_: None)
    np.testing.assert_allclose(
        reader.reference(model)[1]({"x": x})["y"], runner(made)({"x": x})["y"], atol=1e-5
    )


def test_calibration_in_the_other_layout(tmp_path):
    """Arrays in the source's layout are refused, with the layout that is expected and how to get there."""
    model = read(convolutions(tmp_path / "net.onnx"))
    with pytest.raises(CalibrationError) as caught:
        load_calibration(np.ones((4, 3, 12, 16), np.float32), model)
    assert "[N, 12, 16, 3] (NHWC)" == caught.value.expected
    assert "transpose(0, 2, 3, 1)" in str(caught.value.next_step)
