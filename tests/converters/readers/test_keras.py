"""Keras files of both Keras: names, shapes, recurrent layers, fidelity, and what is refused."""

import json
import sys

import numpy as np
import pytest

from converters import registry
from converters.convert import Conversion, convert
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Recipe
from converters.progress import silent
from converters.readers.keras import from_memory, reader
from converters.shaping import Shaping
from device_agent.errors import EdgeError, InvalidModel, InvalidRequest, UnsupportedOperator
from targets.schema import load_target


def converted(model: Model) -> Conversion:
    """In float32 and compared with TensorFlow, which must agree."""
    plan = planner.plan(model, load_target("local"), recipe=Recipe("float32", "float"))
    return convert(model, plan, calibration=None, progress=silent)


@pytest.mark.parametrize("name", ["small.keras", "small.h5"])
def test_an_image_network(keras_samples, name, capfd):
    """Names and layout are the source's, batch normalisation is gone, and TensorFlow agrees.

    TensorFlow is not imported here, and what it has to say is not on the terminal.
    """
    model = reader.read(keras_samples / name, Shaping(2))
    assert [("image", (2, 8, 8, 3), "NHWC")] == [(s.name, s.shape, s.layout) for s in model.inputs]
    assert [("scores", (2, 3))] == [(spec.name, spec.shape) for spec in model.outputs]
    conversion = converted(model)
    assert ("CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX") == conversion.artifact.operators
    assert conversion.fidelity.reference.startswith("tensorflow 2.")
    assert set() == {"tensorflow", "keras", "tf_keras"} & set(sys.modules)
    assert ("", "") == tuple(capfd.readouterr())


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("ends.keras", ["right", "left side"], ["first", "total"]),
        ("dicts.keras", ["right", "left side"], ["total", "zed"]),  # of dicts, in the order of their keys
    ],
)
def test_several_ends(keras_samples, name, inputs, outputs):
    """Several inputs and outputs keep their layers' names and the model's order."""
    model = reader.read(keras_samples / name, Shaping())
    assert inputs == [spec.name for spec in model.inputs]
    assert outputs == [spec.name for spec in model.outputs]
    assert inputs == [spec.name for spec in converted(model).artifact.inputs]


@pytest.mark.parametrize(("name", "output"), [("recurrent.keras", (1, 2)), ("legacy.h5", (1, 4))])
def test_recurrent_layers(keras_samples, name, output):
    """Recurrent layers are written out step by step, in Keras 3 and in tf_keras, also inside of others."""
    model = reader.read(keras_samples / name, Shaping())
    assert output == model.outputs[0].shape
    assert "WHILE" not in converted(model).artifact.operators


def test_shapes(keras_samples):
    """Open sizes are asked for, and taken from the request."""
    with pytest.raises(InvalidModel, match=r"--input-shape image=1,224,224,3"):
        reader.read(keras_samples / "open.keras", Shaping())
    model = reader.read(keras_samples / "open.keras", Shaping(input_shapes={"image": (1, 6, 5, 3)}))
    assert (1, 4, 3, 2) == model.outputs[0].shape


def test_dynamic(keras_samples):
    """An axis stays open on request, and its size is that of the request until it is resized."""
    model = reader.read(keras_samples / "small.keras", Shaping(dynamic={"image": (0,)}))
    assert [(("image", 0),)] == [axis.places for axis in model.dynamic]
    assert "CONV_2D" in converted(model).artifact.operators


def test_bind(keras_samples):
    """A bound input is a constant: of the converted model and of the reference."""
    value = np.random.default_rng(1).random((1, 6, 6, 4), np.float32)
    model = reader.read(keras_samples / "ends.keras", Shaping(bind={"right": value}))
    assert ["left side"] == [spec.name for spec in model.inputs]
    _, run = reader.reference(model)
    got = run({"left side": np.zeros((1, 4), np.float32)})["total"]
    np.testing.assert_array_equal(value.max((1, 2)), got)
    assert converted(model).fidelity is not None


def test_in_memory(keras_samples):
    """A model in memory is read under its own name, and its temporary file goes with it."""
    facts = json.loads((keras_samples / "memory.json").read_text())
    assert ("held", "keras", ["x", "y"], []) == (facts["name"], facts["format"], facts["ends"], facts["left"])
    assert facts["reference"].startswith("tensorflow ")


def test_not_a_model():
    """Anything else in memory is refused."""
    with pytest.raises(InvalidRequest, match=r"got dict, expected the path.* a keras\.Model"):
        from_memory({}, Shaping())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("stateful.keras", UnsupportedOperator, "keeper.*stateful"),
        ("lambda.h5", UnsupportedOperator, "'plus_one' is a Lambda layer"),
        ("text.keras", InvalidModel, "input 'text'.*string"),
        ("alone.weights.h5", InvalidModel, "weights alone"),
    ],
)
def test_refusals(keras_samples, name, kind: type[EdgeError], words):
    """What cannot be read is refused by name, with the way out."""
    with pytest.raises(kind, match=words) as caught:
        reader.read(keras_samples / name, Shaping())
    assert name in str(caught.value)
    assert caught.value.next_step


def test_a_wrong_ending(keras_samples, tmp_path):
    """The content decides: an archive under an HDF5 name is read."""
    path = tmp_path / "net.H5"
    path.write_bytes((keras_samples / "small.keras").read_bytes())
    assert "scores" == registry.reader_for(path).read(path, Shaping()).outputs[0].name


def test_another_file_by_then(keras_samples, tmp_path):
    """The reference is of the file that was read, or none."""
    path = tmp_path / "net.keras"
    path.write_bytes((keras_samples / "small.keras").read_bytes())
    model = reader.read(path, Shaping())
    path.write_bytes((keras_samples / "ends.keras").read_bytes())
    with pytest.raises(InvalidRequest, match="has changed"):
        reader.reference(model)
