"""`convert`: what it refuses before it makes anything."""

import numpy as np
import pytest
from onnx import helper

from converters.convert import convert
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Plan, Recipe
from converters.quantize.calibration import load_calibration
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent import codec
from device_agent.errors import InvalidRequest
from targets.schema import load_target
from tests.converters.onnx_files import save


def read(tmp_path, **asked) -> Model:
    nodes = [helper.make_node("Mul", ["x", "z"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"x": ["n", 3], "z": []}, {"y": 2})
    return reader.read(path, Shaping(**asked))


def planned(model: Model) -> Plan:
    return plan(model, load_target("local"), recipe=Recipe("float32", "float"))


def test_a_plan_records_what_was_fixed(tmp_path):
    """Shapes, bound values, open axes and layout stand in plan.json."""
    model = read(tmp_path, batch=2, bind={"z": np.array(1.5)}, dynamic={"x": (0,)})
    assert {
        "shapes": {"x": [2, 3]},
        "bound": {"z": "float32[] 1.5"},
        "dynamic": ["'x' axis 0 (n)"],
        "layout": "keep",
    } == codec.to_json(planned(model))["inputs"]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"batch": 3}, "shapes"),
        ({"bind": {"z": np.array(2.0)}}, "bound"),
        ({"dynamic": {"x": (0,)}}, "dynamic"),
        ({"layout": "nhwc"}, "layout"),
    ],
)
def test_a_plan_for_other_inputs(tmp_path, other, named):
    """A plan of the same file with its inputs fixed in another way is refused, with what differs."""
    asked = {"bind": {"z": np.array(1.0)}}
    model = read(tmp_path, **asked)
    elsewhere = planned(read(tmp_path, **{**asked, **other}))
    with pytest.raises(InvalidRequest, match="in another way") as caught:
        convert(model, elsewhere, calibration=None, progress=lambda *_: None)
    assert str(caught.value.expected).startswith(named)
    convert(model, planned(read(tmp_path, **asked)), calibration=None, progress=lambda *_: None)


def test_samples_out_of_the_models_range_are_noted(tmp_path):
    """Samples that the model answers the same to are a note of the conversion, and good ones none."""
    constants = {"w": np.eye(4, 3, dtype=np.float32), "b": np.float32([0, 1, 0])}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["l"]), helper.make_node("Softmax", ["l"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"x": [1, 4]}, {"y": 2}, constants)
    model = reader.read(path, Shaping())
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    for scale, expected in [(3, ()), (1e-3, ("the model answers class 1 to all 30 samples",))]:
        data = load_calibration(x * np.float32(scale), model)
        made = convert(model, planned(model), calibration=data, progress=lambda *_: None)
        assert len(expected) == len(made.notes)
        assert all(note.startswith(said) for note, said in zip(made.notes, expected, strict=True))
