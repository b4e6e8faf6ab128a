"""Who computes what: the first processor that accepts everything, or the refusals of the nearest one."""

import pytest
from onnx import TensorProto, helper

from converters import registry
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Recipe
from converters.shaping import Shaping
from device_agent.errors import InvalidRequest
from targets.schema import Processor, Target, load_target

INT8 = Recipe("int8", "integer")
NULL = Processor("npu", "nothing", ("null",), ("int8",))
CPU = Processor("cpu", "four cores", ("litert",), ("int8", "float32"))


@pytest.fixture
def model(tmp_path) -> Model:
    file = tmp_path / "tiny.null.json"
    file.write_text('{"inputs": [], "outputs": [{"name": "y", "dtype": "int8", "shape": [1, 3]}]}')
    return registry.reader("null").read(file, Shaping())


def board(*processors: Processor) -> Target:
    return Target("mine", "", "aarch64", None, {"litert": "2.3.0", "null": "1"}, processors, "")


def test_the_first_processor_that_accepts_all(model):
    """The board's order decides among the processors that can compute all of it."""
    made = plan(model, board(CPU, NULL), recipe=INT8)
    assert made.accepted
    assert ("null", "1", "npu") == (made.runtime, made.runtime_version, made.segments[0].processor)
    assert ((0,), "npu") == (made.segments[0].operators, made.operators[0].processor)
    assert "npu runs Null" in made.operators[0].reason
    assert "in int8" in made.operators[0].reason


def test_refusals(model):
    """Where no processor can, the plan holds the verdicts that say why, and no segment."""
    made = plan(model, board(CPU), recipe=INT8)
    assert not made.accepted
    assert () == made.segments
    assert None is made.operators[0].processor
    assert "cpu cannot" in made.operators[0].reason
    assert "--target null" in str(made.refusals[0])


def test_precision_decides_who_is_asked(model):
    """A processor that does not compute in the precision is not asked."""
    assert not plan(model, board(NULL, CPU), recipe=Recipe("float32", "float")).accepted


def test_float32_has_float_ends(model):
    """A float32 plan is float at its ends, whatever was asked."""
    assert "float" == plan(model, load_target("null"), recipe=Recipe("float32", "integer")).recipe.io


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("int3", "integer"), "precision.*'int3'.*int8 or int16x8.*float32 or auto"),
        (Recipe("int8", "both"), "io.*'both'.*integer or float"),
        (Recipe("float32", "float"), "mine.*float32.*int8.*edge targets list"),
    ],
)
def test_recipes_that_cannot_be(model, recipe, words):
    """An unknown precision or io, or one that no processor of the board has, is refused."""
    with pytest.raises(InvalidRequest, match=words):
        plan(model, board(NULL), recipe=recipe)


def test_operators_that_no_integer_kernel_computes(tmp_path):
    """A plan in integers says what becomes of each: a table, others, or float."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sin", ["a"], ["b"]),
        helper.make_node("ReverseSequence", ["b", "lengths"], ["y"], time_axis=1, batch_axis=0),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 3]) for name in "xy"]
    lengths = helper.make_tensor("lengths", TensorProto.INT64, [2], [3, 4])
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [lengths])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    file = tmp_path / "net.onnx"
    file.write_bytes(made.SerializeToString())
    net = registry.reader("onnx").read(file, Shaping())
    reasons = [operator.reason for operator in plan(net, board(CPU), recipe=INT8).operators]
    assert "cpu runs Relu as RELU in int8" == reasons[0]
    assert "cpu runs Sin as SIN in int8, looked up in a table of its values" == reasons[1]
    assert reasons[2].endswith("in float32: it has no integer form")
    floats = plan(net, board(CPU), recipe=Recipe("float32", "float")).operators
    assert "cpu runs Sin as SIN in float32" == floats[1].reason
