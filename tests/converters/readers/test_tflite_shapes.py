"""TFLite files at other shapes, and with inputs bound: compared with the file itself."""

from pathlib import Path

import numpy as np
import pytest

from converters.convert import convert
from converters.graph.ir import GraphTensor
from converters.graph.write import write
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Recipe
from converters.progress import silent
from converters.readers.tflite import reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel, InvalidRequest
from targets.schema import load_target
from tests.converters.readers import networks


def read(tmp_path: Path, data: bytes, shaping: Shaping) -> Model:
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    return reader.read(path, shaping)


def differences(model: Model) -> list[float]:
    """How far the float conversion is from the file as it came, by output."""
    plan = planner.plan(model, load_target("rpi4"), recipe=Recipe("float32", "float"))
    made = convert(model, plan, calibration=None, progress=silent)
    return [output.max_abs_diff / output.reference_range for output in made.fidelity.outputs]


def moved(kind: str, *, sizes: tuple[int, ...] = (1, 4)) -> bytes:
    """x[1, 4] -> an operator with a constant -> y."""
    values = {"RESHAPE": np.array([4], np.int32), "SUM": np.array([0], np.int32)}
    tensors = [
        GraphTensor("x", sizes, "float32", signature=(-1, 4)),
        GraphTensor("k", (1,), "int32", values[kind]),
        GraphTensor("y", (4,) if kind == "RESHAPE" else (1, 4), "float32"),
    ]
    options = {"newShape": [4]} if kind == "RESHAPE" else {"keepDims": True}
    return write(
        networks.graph(tensors, [networks.operator(kind, ["x", "k"], ["y"], **options)], ["x"], ["y"])
    )


def test_a_batch_through_a_reshape_that_holds_one(tmp_path):
    """The open batch becomes what is asked, through reshapes too, and computes what the file computes."""
    model = read(tmp_path, write(networks.convolutional()), Shaping(3))
    assert [(3, 8, 8, 2), (3, 3)] == [spec.shape for spec in (*model.inputs, *model.outputs)]
    assert max(differences(model)) < 1e-6


def test_a_fixed_batch_stays(tmp_path):
    """`--batch` is for an open axis; a shape that is given changes a fixed one."""
    data = write(networks.convolutional(batch_open=False))
    assert (1, 8, 8, 2) == read(tmp_path, data, Shaping(3)).inputs[0].shape
    given = Shaping(input_shapes={"image": (2, 8, 8, 2)})
    assert (2, 3) == read(tmp_path, data, given).outputs[0].shape


def test_a_batch_of_nothing(tmp_path):
    """A file that states a batch of 0 and leaves it open gets the batch that is asked for."""

    def empty(model):
        image = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"image")
        image.shape = [0, 8, 8, 2]

    data = networks.edited(write(networks.convolutional()), empty)
    assert (1, 8, 8, 2) == read(tmp_path, data, Shaping()).inputs[0].shape


def test_a_batch_that_is_mixed_is_refused(tmp_path):
    """A model whose samples see each other gives another result in a batch: refused, not wrong."""
    with pytest.raises(InvalidRequest, match="does not keep the samples of a batch apart"):
        read(tmp_path, moved("SUM"), Shaping(2))


def test_a_reshape_that_drops_the_batch(tmp_path):
    """What the runtime cannot resize is refused with its reason."""
    with pytest.raises(InvalidRequest, match="cannot take inputs of these shapes"):
        read(tmp_path, moved("RESHAPE"), Shaping(2))


def test_other_sizes(tmp_path):
    """Sizes go through a fully convolutional model as the runtime resizes it."""
    made = networks.convolutional()
    made.operators, made.outputs = made.operators[:1], {"features": "features"}
    made.tensors = {name: made.tensors[name] for name in ("image", "kernel", "bias", "features")}
    model = read(tmp_path, write(made), Shaping(input_shapes={"image": (1, 12, 10, 2)}))
    assert (1, 10, 8, 3) == model.outputs[0].shape
    assert max(differences(model)) < 1e-6


def test_sizes_that_do_not_fit(tmp_path):
    """Sizes that a later operator cannot take are refused; so is a shape of another rank."""
    data = write(networks.convolutional())
    for shape in ((1, 12, 10, 2), (1, 2, 2, 2), (1, 8, 8)):
        with pytest.raises(InvalidRequest, match=r"net\.tflite"):
            read(tmp_path, data, Shaping(input_shapes={"image": shape}))


def test_an_axis_that_stays_open(tmp_path):
    """An open axis beside the batch needs a size."""
    made = networks.convolutional()
    made.tensors["image"].signature = (-1, -1, 8, 2)
    with pytest.raises(InvalidModel, match="only the batch dimension"):
        read(tmp_path, write(made), Shaping())


def test_a_state_is_of_one_sample(tmp_path):
    """A model that keeps a state has no batch."""
    made = networks.convolutional()
    made.tensors["state"] = GraphTensor("state", (1, 3), "float32", variable=True)
    made.operators.append(networks.operator("ADD", ["scores", "state"], ["sum"]))
    made.tensors["sum"] = GraphTensor("sum", (1, 3), "float32")
    made.outputs = {"sum": "sum"}
    with pytest.raises(InvalidRequest, match="keeps a state"):
        read(tmp_path, write(made), Shaping(2))


def test_bind(tmp_path):
    """A bound input is a constant with the value that was given, and no input any more."""
    tensors = [GraphTensor(name, (1, 4), "float32") for name in ("a", "b", "y")]
    data = write(networks.graph(tensors, [networks.operator("SUB", ["a", "b"], ["y"])], ["a", "b"], ["y"]))
    value = np.array([[1, 2, 3, 4]], np.float64)
    model = read(tmp_path, data, Shaping(bind={"b": value}))
    assert ["a"] == [spec.name for spec in model.inputs]
    graph, _ = reader.lower(model)
    np.testing.assert_array_equal(value, graph.tensors["b"].data)
    _, run = reader.reference(model)
    np.testing.assert_array_equal([[9, 8, 7, 6]], run({"a": np.full((1, 4), 10, np.float32)})["y"])
    assert max(differences(model)) < 1e-6


@pytest.mark.parametrize(
    ("bind", "says"),
    [
        ({"x": np.zeros(4)}, "names an input that the model has not"),
        ({"a": np.zeros((1, 5))}, "another shape"),
        ({"a": np.zeros((1, 4)), "b": np.zeros((1, 4))}, "no input would be left"),
    ],
)
def test_bindings_that_do_not_fit(tmp_path, bind, says):
    """A binding to nothing, of another shape, or of everything is refused."""
    tensors = [GraphTensor(name, (1, 4), "float32") for name in ("a", "b", "y")]
    data = write(networks.graph(tensors, [networks.operator("SUB", ["a", "b"], ["y"])], ["a", "b"], ["y"]))
    with pytest.raises(InvalidRequest, match=says):
        read(tmp_path, data, Shaping(bind=bind))
