"""Sizes that stay open: what LiteRT computes after a resize is what ONNX Runtime computes at that size."""

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import NodeProto, helper

from converters import registry, resizing
from converters.artifact import Artifact
from converters.convert import check_resized, convert
from converters.graph.read import read as read_graph
from converters.model import Model
from converters.partition.planner import plan
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.samples.calibration import load_calibration
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import FidelityError, InvalidRequest, UnsupportedOperator
from device_agent.tensors import unpack
from targets.schema import load_target
from tests.converters.onnx_files import convolutions, save, weights

FLOAT = Recipe("float32", "float")
Shape = tuple[int, ...]


def compiled(model: Model, recipe: Recipe = FLOAT, calibration=None) -> Artifact:
    return registry.backend("litert").compile(model, recipe, calibration, lambda *_: None)


def check(model: Model, artifact: Artifact, shapes: Sequence[dict[str, Shape]], atol: float = 1e-5) -> None:
    """Compare artifact and source at each of these shapes, one session for all of them."""
    generator = np.random.default_rng(5)
    _, reference = reader.reference(model)
    run = runner(artifact)
    for each in shapes:
        feed = {name: generator.random(shape, np.float32) for name, shape in each.items()}
        expected, got = reference(feed), run(feed)
        for name in expected:
            assert expected[name].shape == got[name].shape
            np.testing.assert_allclose(expected[name], got[name], atol=atol)


def refusals(model: Model) -> str:
    return " ".join(map(str, plan(model, load_target("local"), recipe=FLOAT).refusals))


IMAGES = [{"x": shape} for shape in ((1, 3, 32, 32), (3, 3, 33, 47), (1, 3, 96, 20), (2, 3, 7, 64))]


@pytest.mark.parametrize("stride", [1, 2])
def test_images_of_any_size(tmp_path, stride):
    """Batch, height and width of a convolutional network, with padding that strides cut at some sizes."""
    asked = Shaping(input_shapes={"x": (1, 3, 32, 32)}, dynamic={"x": (0, 2, 3)})
    model = reader.read(convolutions(tmp_path / "net.onnx", stride=stride), asked)
    made = compiled(model)
    assert ((-1, 3, -1, -1), (-1, 8, -1, -1)) == (made.inputs[0].shape, made.outputs[0].shape)
    check(model, made, IMAGES)


def test_pooled_flattened_and_resized_in_nhwc(tmp_path):
    """A Reshape with the batch in it takes -1; all of it with the image channel-last too."""
    tail = [
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["y"]),
    ]
    asked = {"input_shapes": {"x": (1, 3, 32, 32)}, "dynamic": {"x": (0, 2, 3)}}
    path = convolutions(tmp_path / "net.onnx", tail=tail)
    model = reader.read(path, Shaping(**asked))
    check(model, compiled(model), IMAGES)
    model = reader.read(path, Shaping(**asked, layout="nhwc"))
    made = compiled(model)
    assert (-1, -1, -1, 3) == made.inputs[0].shape
    check(model, made, [{"x": (shape[0], *shape[2:], 3)} for shape in (one["x"] for one in IMAGES)])


def test_the_file_states_the_sizes_it_starts_with(tmp_path):
    """`shape` holds the size that was asked for, `shape_signature` -1, of every tensor that changes."""
    asked = Shaping(input_shapes={"x": (1, 3, 32, 32)}, dynamic={"x": (0,)})
    graph = read_graph(compiled(reader.read(convolutions(tmp_path / "net.onnx"), asked)).data, where="test")
    assert (1, 3, 32, 32) == graph.tensors[graph.inputs["x"]].shape
    for tensor in graph.tensors.values():
        if tensor.data is None:
            assert (1, -1) == (tensor.shape[0], (tensor.signature or (0,))[0])
            assert tensor.shape[1:] == (tensor.signature or (0,))[1:]


def test_slices_and_several_inputs(tmp_path):
    """A size that two inputs share, sliced up to its end, in steps, and put back together."""
    nodes = [
        helper.make_node("Slice", ["x", "one", "end", "axis"], ["a"]),
        helper.make_node("Slice", ["x", "zero", "end", "axis", "two"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("Concat", ["c", "state"], ["y"], axis=1),
    ]
    numbers = {"zero": 0, "one": 1, "two": 2, "axis": 1, "end": 1 << 62}
    constants = {name: np.array([value]) for name, value in numbers.items()}
    inputs = {"x": ["n", "t"], "state": ["n", 2]}
    path = save(tmp_path / "net.onnx", nodes, inputs, {"y": 2}, constants)
    model = reader.read(path, Shaping(input_shapes={"x": (1, 8)}, dynamic={"state": (0,), "x": (1,)}))
    shapes = [{"x": (n, t), "state": (n, 2)} for n, t in ((1, 8), (4, 9), (2, 30))]
    check(model, compiled(model), shapes)


@pytest.mark.parametrize("io", ["integer", "float"])
def test_int8(tmp_path, io):
    """The quantiser's file is resized too, and within the noise of int8 of the float source."""
    asked = Shaping(input_shapes={"x": (1, 3, 32, 32)}, dynamic={"x": (0, 2, 3)})
    model = reader.read(convolutions(tmp_path / "net.onnx"), asked)
    samples = load_calibration(np.random.default_rng(0).random((20, 3, 32, 32), np.float32), model)
    made = compiled(model, Recipe("int8", io), samples)
    assert () == made.float_operators
    assert ((-1, 3, -1, -1), (-1, 8, -1, -1)) == (made.inputs[0].shape, made.outputs[0].shape)
    check(model, made, IMAGES, atol=0.1)


WIDE = [helper.make_node("Conv", ["x", "w"], ["y"], strides=[5], name="wide")]
SHARE = [
    helper.make_node("Shape", ["x"], ["s"]),
    helper.make_node("Cast", ["s"], ["f"], to=1),
    helper.make_node("ReduceProd", ["f"], ["p"], keepdims=0),
    helper.make_node("Mul", ["x", "p"], ["y"], name="share"),
]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        # of the sizes tried not every remainder by 5 is among them: padding may be right at these only
        (WIDE, ("Conv at 'wide'", "its padding goes by the size", "stride 5 over sizes [33, 34, 67]")),
        (SHARE, ("Mul at 'share'", "a constant that depends on the size")),
    ],
)
def test_a_size_that_is_baked_in(tmp_path, nodes: Sequence[NodeProto], words):
    """What holds a size that cannot be taken out is refused in the plan, by operator and node."""
    constants = {"w": weights(4, 3, 7)} if nodes is WIDE else {}
    path = save(tmp_path / "net.onnx", nodes, {"x": [1, 3, "t"]}, {"y": 3}, constants)
    model = reader.read(path, Shaping(input_shapes={"x": (1, 3, 33)}, dynamic={"x": (2,)}))
    for word in (*words, "'x' axis 2 (t) cannot stay open"):
        assert word in refusals(model)
    with pytest.raises(UnsupportedOperator):
        compiled(model)


def test_a_shape_with_two_open_sizes(tmp_path):
    """RESHAPE can find out one size only; a second is refused with the shapes."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Concat", ["s", "tail"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["e"], name="wider"),
        helper.make_node("Mul", ["e", "e"], ["y"]),
    ]
    path = save(tmp_path / "net.onnx", nodes, {"x": ["n", 3, "t"]}, {"y": 4}, {"tail": np.array([1])})
    model = reader.read(path, Shaping(input_shapes={"x": (1, 3, 8)}, dynamic={"x": (0, 2)}))
    assert "Reshape at 'wider'" in refusals(model)
    assert "several sizes change" in refusals(model)
    model = reader.read(path, Shaping(input_shapes={"x": (1, 3, 8)}, dynamic={"x": (2,)}))
    check(model, compiled(model), [{"x": (1, 3, t)} for t in (8, 5, 21)])


def test_an_unrolled_recurrence_keeps_its_length(tmp_path):
    """A sequence that is taken step by step has another number of operators at another length."""
    nodes = [helper.make_node("GRU", ["x", "w", "r"], ["", "h"], hidden_size=4)]
    constants = {"w": weights(1, 12, 3), "r": weights(1, 12, 4)}
    path = save(tmp_path / "net.onnx", nodes, {"x": ["t", 1, 3]}, {"h": 3}, constants)
    assert "cannot stay open" in refusals(reader.read(path, Shaping(batch=4, dynamic={"x": (0,)})))


def test_a_model_that_fits_no_other_size(tmp_path):
    """A model that contradicts itself at other sizes is refused with what is wrong there."""
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"], name="fixed")]
    path = save(tmp_path / "net.onnx", nodes, {"x": ["n", 4]}, {"y": 2}, {"to": np.array([2, 2])})
    model = reader.read(path, Shaping(dynamic={"x": (0,)}))
    with pytest.raises(InvalidRequest, match="other sizes"):
        resizing.opened(model)


def test_other_sizes_are_compared_with_the_source(tmp_path):
    """A file that computes the right thing at the size it starts with only is a FidelityError."""
    asked = Shaping(input_shapes={"x": (1, 3, 5)}, dynamic={"x": (2,)})
    right = reader.read(save(tmp_path / "right.onnx", SHARE, {"x": [1, 3, "t"]}, {"y": 3}), asked)
    nodes, constants = [helper.make_node("Mul", ["x", "p"], ["y"])], {"p": np.array(15, np.float32)}
    wrong = reader.read(save(tmp_path / "wrong.onnx", nodes, {"x": [1, 3, "t"]}, {"y": 3}, constants), asked)
    check_resized(wrong, compiled(wrong))
    check(right, compiled(wrong), [{"x": (1, 3, 5)}])
    with pytest.raises(FidelityError):
        check_resized(right, compiled(wrong))


def test_convert(tmp_path):
    """Golden samples are of the size the model starts with; the bundle's inputs say what is open."""
    asked = Shaping(input_shapes={"x": (1, 3, 32, 32)}, dynamic={"x": (0,)})
    model = reader.read(convolutions(tmp_path / "net.onnx"), asked)
    made = plan(model, load_target("local"), recipe=FLOAT)
    assert ("'x' axis 0 (n)",) == made.inputs.dynamic
    conversion = convert(model, made, calibration=None, progress=lambda *_: None)
    assert (-1, 3, 32, 32) == conversion.artifact.inputs[0].shape
    assert (1, 3, 32, 32) == unpack(conversion.golden_inputs)["0/x"].shape
