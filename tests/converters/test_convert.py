"""`convert`: what it refuses before it makes anything."""

from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from onnx import helper

from converters.convert import convert
from converters.graph.ir import GraphTensor
from converters.graph.write import write
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Plan, Recipe
from converters.quantize.samples.calibration import load_calibration
from converters.readers.onnx import reader
from converters.readers.tflite import reader as tflite
from converters.shaping import Shaping
from device_agent import codec
from device_agent.errors import CalibrationError, InvalidRequest, QuantizationError
from targets.schema import load_target
from tests.converters.onnx_files import save
from tests.converters.readers import networks

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/digits.onnx"


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


@pytest.fixture
def partly(tmp_path) -> Model:
    """x: float32[1, 4] -> RELU -> ZEROS_LIKE, which has no integer form."""
    tensors = [GraphTensor(name, (1, 4), "float32") for name in ("x", "y", "z")]
    operators = [networks.operator("RELU", ["x"], ["y"]), networks.operator("ZEROS_LIKE", ["y"], ["z"])]
    path = tmp_path / "net.tflite"
    path.write_bytes(write(networks.graph(tensors, operators, ["x"], ["z"])))
    return tflite.read(path, Shaping())


def test_what_stays_in_float_is_named(partly):
    """A plain int8 conversion notes each operator that is not, and why."""
    made = plan(partly, load_target("local"), recipe=Recipe("int8", "integer"))
    samples = load_calibration(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), partly)
    conversion = convert(partly, made, calibration=samples, progress=lambda *_: None)
    (note,) = (note for note in conversion.notes if "ZEROS_LIKE" in note)
    assert note == "ZEROS_LIKE 'z' is in float32, not in int8: it has no integer form"
    assert "ZEROS_LIKE" in conversion.artifact.float_operators


def test_what_an_npu_cannot_is_refused(partly):
    """On a processor without float the same model is refused, with the operators."""
    board = load_target("local")
    npu = evolve(board, processors=(evolve(board.processors[0], dtypes=("int8",)),))
    made = plan(partly, npu, recipe=Recipe("int8", "integer"))
    samples = load_calibration(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), partly)
    with pytest.raises(QuantizationError, match=r"no integer form.*ZEROS_LIKE 'z'"):
        convert(partly, made, calibration=samples, progress=lambda *_: None)


@pytest.mark.parametrize("precision", ["dynamic", "weight-int8", "weight-int4", "float16"])
def test_weights_alone_need_no_samples(precision):
    """Precisions of weights are made without samples; what was not worth it is told, up to five operators."""
    model = reader.read(DIGITS, Shaping())
    made = plan(model, load_target("local"), recipe=Recipe(precision, "float"))
    conversion = convert(model, made, calibration=None, progress=lambda *_: None)
    assert precision == conversion.artifact.precision
    assert len(conversion.artifact.data) < len(conversion.baseline.data)
    notes = [note for note in conversion.notes if f"not in {precision}" in note]
    assert len(notes) <= 5
    assert all("below 1024" in note for note in notes)


def test_samples_are_asked_for_first(tmp_path):
    """Where activations are quantised or accuracy is judged, samples are missed before anything is made."""
    model = read(tmp_path, bind={"z": np.array(1.0)})
    for recipe in (Recipe("auto", "integer"), Recipe("int8", "integer"), Recipe("int16x8", "integer")):
        with pytest.raises(CalibrationError, match=f"{recipe.precision} needs calibration data"):
            convert(
                model,
                plan(model, load_target("local"), recipe=recipe),
                calibration=None,
                progress=lambda *_: None,
            )
