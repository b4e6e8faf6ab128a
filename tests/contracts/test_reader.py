"""What every reader of a model format must do; the built-in ones are found as any other would be."""

import hashlib
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from converters import registry
from converters.graph.write import write
from converters.model import Model
from converters.readers.base import Reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel
from tests.converters.readers import networks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NULL = """{"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}],
           "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}]}"""
NAMES = sorted(entry.name for entry in entry_points(group=registry.READERS))


@pytest.fixture(params=NAMES)
def reader(request) -> Reader:
    return registry.reader(request.param)


@pytest.fixture
def path(request, reader, tmp_path) -> Path:
    """A good file or folder of the reader's format."""
    if reader.name == "saved_model":
        return shutil.copytree(request.getfixturevalue("keras_samples") / "dense", tmp_path / "model")
    file = tmp_path / f"model{reader.suffixes[0]}"
    if reader.name == "keras":
        return Path(shutil.copy(request.getfixturevalue("keras_samples") / "small.keras", file))
    if reader.name == "torch":
        return Path(shutil.copy(request.getfixturevalue("torch_samples") / "shown.pt2", file))
    if reader.name == "openvino":
        return request.getfixturevalue("write_ir")(file)
    samples = {
        "null": NULL.encode(),
        "onnx": (EXAMPLES / "digits/digits.onnx").read_bytes(),
        "tflite": write(networks.convolutional()),
    }
    file.write_bytes(samples[reader.name])
    return file


@pytest.fixture
def model(request, reader, path) -> Model:
    if reader.name == "torch":  # an export takes seconds: one for all tests of it
        return evolve(request.getfixturevalue("torch_shown"), path=path)
    return reader.read(path, Shaping())


def feed(model: Model) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {spec.name: generator.random(spec.shape).astype(spec.dtype) for spec in model.inputs}


def test_the_file_is_described(reader, path, model):
    """Format, digest and size are the file's, operators are numbered in order, shapes are static."""
    assert (reader.name, path) == (model.format, model.path)
    if path.is_file():  # the digest of a folder is the reader's to define
        data = path.read_bytes()
        if reader.name == "openvino":  # an IR is two files
            data += path.with_suffix(".bin").read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (model.sha256, model.size_bytes)
    assert list(range(len(model.operators))) == [operator.index for operator in model.operators]
    assert len(model.operators) > 0
    assert all(size > 0 for spec in (*model.inputs, *model.outputs) for size in spec.shape)


def test_the_registry_finds_it_by_ending(reader, path):
    """Its endings lead to it."""
    assert reader.name == registry.reader_for(path).name


def test_batch(reader, path):
    """An open batch dimension becomes what is asked."""
    model = reader.read(path, Shaping(3))
    assert {3} == {spec.shape[0] for spec in (*model.inputs, *model.outputs)}


def test_a_verdict_for_every_operator(reader, model):
    """`lower` judges every operator, and gives a graph if and only if none is refused."""
    graph, verdicts = reader.lower(model)
    assert len(model.operators) == len(verdicts)
    assert all(verdict.reason for verdict in verdicts)
    assert (graph is None) == any(not verdict.ok for verdict in verdicts)
    if graph is not None:
        assert [spec.name for spec in model.inputs] == list(graph.inputs)
        assert [spec.name for spec in model.outputs] == list(graph.outputs)


def test_lowering_twice_gives_the_same(reader, model):
    """A graph is the caller's to change: the next one is fresh."""
    first, _ = reader.lower(model)
    if first is not None:
        first.operators.clear()
        assert reader.lower(model)[0].operators


def test_the_reference_runs(reader, model):
    """The source's own runtime answers in the names, shapes and dtypes of the model, every time the same."""
    name, run = reader.reference(model)
    inputs = feed(model)
    once, twice = run(inputs), run(inputs)
    assert " " in name
    for spec in model.outputs:
        assert (spec.shape, spec.dtype) == (once[spec.name].shape, once[spec.name].dtype.name)
        np.testing.assert_array_equal(once[spec.name], twice[spec.name])


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_damaged_files_are_refused(reader, path, damage):
    """An empty, cut or foreign file is an InvalidModel that names it, never another exception."""
    file = path if path.is_file() else path / reader.folders[0]
    data = file.read_bytes()
    file.write_bytes({"empty": b"", "half": data[: len(data) // 2], "text": b"this is not a model"}[damage])
    with pytest.raises(InvalidModel, match=path.name):
        reader.read(path, Shaping())
