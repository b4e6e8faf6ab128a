"""The first tensor that deviates, of conversions that were broken on purpose."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from attrs import evolve
from onnx import TensorProto, helper, numpy_helper

import converters.lowering.driver  # noqa: F401 - registers the lowerings
from converters.convert import convert
from converters.graph.passes import manager
from converters.graph.write import write
from converters.lowering import registry as lowerings
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Recipe
from converters.quantize.accuracy import divergence
from converters.quantize.accuracy.divergence import Deviation, deviation
from converters.readers.onnx import reader
from converters.readers.tflite import reader as tflite
from converters.shaping import Shaping
from device_agent.errors import FidelityError
from targets.schema import load_target


def _network(tmp_path: Path) -> Path:
    """x -> Conv -> Relu -> MaxPool -> Tanh -> Softplus -> Flatten -> y, and a branch Sigmoid -> z of x."""
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Tanh", ["p"], ["t"], name="tanh"),
        helper.make_node("Softplus", ["t"], ["s"], name="softplus"),
        helper.make_node("Flatten", ["s"], ["y"], name="flatten"),
        helper.make_node("Sigmoid", ["x"], ["z"], name="branch"),
    ]
    ends = {"x": [1, 3, 8, 8], "y": [1, 36], "z": [1, 3, 8, 8]}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in ends.items()
    }
    graph = helper.make_graph(
        nodes, "test", [infos["x"]], [infos["y"], infos["z"]], [numpy_helper.from_array(weights, "w")]
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def fails(tmp_path: Path) -> Callable[[], FidelityError]:
    """Converts the network in float32 and gives the error that comes of it."""

    return lambda: _error(reader.read(_network(tmp_path), Shaping()))


def _error(model: Model) -> FidelityError:
    plan = planner.plan(model, load_target("rpi4"), recipe=Recipe("float32", "float"))
    with pytest.raises(FidelityError) as caught:
        convert(model, plan, calibration=None, progress=lambda *_: None)
    return caught.value


def _multiply_the_filters(links) -> int:
    """A rewrite that is wrong: it makes the weights of convolutions larger, up to a thousandfold."""
    count = 0
    for operator in links.operators("CONV_2D"):
        array = links.tensor(operator.inputs[1]).data
        if float(array.max()) < 1000:
            links.replace_constant(operator, 1, array * 1000, "multiplied")
            count += 1
    return count


def _lower_as(monkeypatch: pytest.MonkeyPatch, operator: str, other: str) -> None:
    """Lower an operator as if it were another."""
    entry = lowerings.entry(other)

    def wrong(context: object, node: lowerings.Node) -> None:
        entry.function(context, evolve(node, type=other))

    monkeypatch.setitem(lowerings._ENTRIES, operator, evolve(entry, function=wrong))


@pytest.mark.parametrize(
    ("operator", "other", "tensor", "place", "read"),
    [
        ("Tanh", "Sigmoid", "'t'", "Tanh 'tanh'", "('p')"),
        ("Relu", "Abs", "'r'", "Relu 'relu'", "('c')"),
        ("Sigmoid", "Tanh", "'z'", "Sigmoid 'branch'", "('x')"),
    ],
)
def test_a_wrong_lowering_is_named(
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[], FidelityError],
    operator: str,
    other: str,
    tensor: str,
    place: str,
    read: str,
):
    """The first tensor that deviates is named with its operator, which reads what still agrees."""
    _lower_as(monkeypatch, operator, other)
    error = fails()
    assert f"the first tensor that deviates is {tensor}" in error.what
    assert f"net_float32.tflite: {place}" == error.where
    assert f"what it reads {read} still agrees" in error.got
    assert "where its values span" in error.got


def test_a_wrong_rewrite_is_named(monkeypatch: pytest.MonkeyPatch, fails: Callable[[], FidelityError]):
    """Where the graph as it was lowered agrees, it is the rewrites that are wrong."""

    monkeypatch.setattr(manager, "REWRITES", (*manager.REWRITES, _multiply_the_filters))
    error = fails()
    assert "first tensor that deviates after the rewrites, not before them, is 'r'" in error.what
    assert "net_float32.tflite: Relu 'relu'" == error.where


def test_values_are_compared_in_small_groups(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[], FidelityError]
):
    """The values that are held at once are bounded; the result is the same."""
    _lower_as(monkeypatch, "Softplus", "Sigmoid")
    monkeypatch.setattr(divergence, "_AT_ONCE", 1)
    assert "is 's'" in fails().what


def test_a_reader_that_cannot_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, conv_graph):
    """Of a reader without intermediate values, the output is what is named."""
    path = tmp_path / "net.tflite"
    path.write_bytes(write(conv_graph(np.ones((8, 3, 3, 4)), np.zeros(8))))
    monkeypatch.setattr(manager, "REWRITES", (_multiply_the_filters,))
    assert "in output 'output'" in _error(tflite.read(path, Shaping())).what


def test_deviation():
    """The greatest difference and the range with zero; NaN and Inf must be in the same places."""
    one, other = np.array([1.0, 2.0, np.nan, np.inf]), np.array([1.0, 2.5, np.nan, np.inf])
    assert Deviation(0.5, 2.0) == deviation(one, other)
    assert deviation(one, np.array([1.0, np.nan, np.nan, np.inf])).exceeds(1e6)
    assert not Deviation(0.0, 0.0).exceeds(1e-4)
