"""Inputs of ONNX files, fixed as asked: what is left of them in the model and in its reference."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel, InvalidRequest
from tests.converters.onnx_files import save


def rated(tmp_path: Path, ir_version: int = 8) -> Path:
    """y = x * sr, both inputs; sr is an int64 scalar."""
    nodes = [helper.make_node("Cast", ["sr"], ["f"], to=1), helper.make_node("Mul", ["x", "f"], ["y"])]
    inputs = {"x": ["n", "t"], "sr": []}
    return save(tmp_path / "net.onnx", nodes, inputs, {"y": 2}, integers=["sr"], ir_version=ir_version)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_a_bound_input_is_a_constant(tmp_path, ir_version):
    """It is no input of the model, of its graph or of its reference, in old files and new ones."""
    path = rated(tmp_path, ir_version)
    model = reader.read(path, Shaping(input_shapes={"x": (1, 4)}, bind={"sr": np.array(3)}))
    assert [("x", (1, 4))] == [(spec.name, spec.shape) for spec in model.inputs]
    graph, _ = reader.lower(model)
    assert graph is not None
    assert ["x"] == list(graph.inputs)
    _, reference = reader.reference(model)
    np.testing.assert_array_equal(
        np.full((1, 4), 6, np.float32), reference({"x": np.full((1, 4), 2, "f")})["y"]
    )


def test_a_condition_that_is_bound(tmp_path):
    """An If whose condition follows from a bound input becomes its branch; unbound it is refused."""
    kind = helper.make_tensor_value_info("t", 1, None)
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node(op, ["x"], ["t"])], name, [], [kind])
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("Constant", [], ["rate"], value_int=16000),
        helper.make_node("Equal", ["sr", "rate"], ["is"]),
        helper.make_node("If", ["is"], ["y"], **branches),
    ]
    path = save(tmp_path / "net.onnx", nodes, {"x": [1, 4], "sr": []}, {"y": 2}, integers=["sr"])
    for rate, operators in ((16000, ["NEG"]), (8000, ["ABS"])):
        graph, _ = reader.lower(reader.read(path, Shaping(bind={"sr": np.array(rate)})))
        assert graph is not None
        assert operators == [operator.type for operator in graph.operators]
    graph, verdicts = reader.lower(reader.read(path, Shaping()))
    assert graph is None
    assert "Bind the input" in str(verdicts[-1])


def test_the_reference_of_an_open_axis_takes_any_size(tmp_path):
    """ONNX Runtime gets the axes that stay open as such; the others stay fixed."""
    asked = Shaping(input_shapes={"x": (1, 4)}, bind={"sr": np.array(2)}, dynamic={"x": (0,)})
    _, reference = reader.reference(reader.read(rated(tmp_path), asked))
    assert (3, 4) == reference({"x": np.ones((3, 4), np.float32)})["y"].shape
    with pytest.raises(InvalidModel, match="cannot run"):
        reference({"x": np.ones((3, 5), np.float32)})


@pytest.mark.parametrize(("start", "end"), [(0, 5000), (-5000, 1 << 62)])
def test_a_slice_past_the_axis_keeps_it_fixed(tmp_path, start, end):
    """A Slice that would cut a greater size than any that is tried is named; to the very end it may go."""
    nodes = [helper.make_node("Slice", ["x", "from", "to"], ["y"], name="cut")]

    def read(start: int, end: int) -> None:
        constants = {"from": np.array([start]), "to": np.array([end])}
        path = save(tmp_path / "net.onnx", nodes, {"x": ["n", 4]}, {"y": 2}, constants)
        reader.read(path, Shaping(dynamic={"x": (0,)}))

    with pytest.raises(InvalidRequest, match="cut: a Slice ends past its axis"):
        read(start, end)
    read(0, 1 << 62)
