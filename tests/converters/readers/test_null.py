"""The null format: what it holds, what it refuses, and what its reference answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters.readers.null import reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel, InvalidRequest

GOOD = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": [-1, 3]}],
}


def write(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "tiny.null.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_read(tmp_path):
    """Names, dtypes and shapes are taken as they stand; an open first dimension becomes the batch."""
    model = reader.read(write(tmp_path, GOOD), Shaping(2))
    assert ("tiny", "null", 1) == (model.name, model.format, len(model.operators))
    assert ("x", (2, 4), "y", (2, 3)) == (
        model.inputs[0].name,
        model.inputs[0].shape,
        model.outputs[0].name,
        model.outputs[0].shape,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"input_shapes": {"x": (1, 4)}},
        {"bind": {"x": np.ones(1)}},
        {"dynamic": {"x": (0,)}},
        {"layout": "nhwc"},
    ],
)
def test_only_the_batch_can_be_chosen(tmp_path, asked):
    """Anything else that would fix its inputs is refused, not forgotten."""
    with pytest.raises(InvalidRequest, match="only the batch"):
        reader.read(write(tmp_path, GOOD), Shaping(**asked))


def test_lower_refuses(tmp_path):
    """There is no graph in it, and the refusal says where it can go."""
    graph, verdicts = reader.lower(reader.read(write(tmp_path, GOOD), Shaping()))
    assert graph is None
    assert not verdicts[0].ok
    assert "--target null" in str(verdicts[0])


def test_reference_is_the_null_function(tmp_path):
    """The same input gives the same answer, another gives another, in the output's shape and dtype."""
    name, run = reader.reference(reader.read(write(tmp_path, GOOD), Shaping()))
    x = np.arange(4, dtype=np.float32)[None]
    first = run({"x": x})["y"]
    assert name.startswith("null ")
    assert ((1, 3), np.int8) == (first.shape, first.dtype)
    np.testing.assert_array_equal(first, run({"x": x})["y"])
    assert not np.array_equal(first, run({"x": x + 1})["y"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "tiny"),
        ({"inputs": []}, "outputs"),
        ({**GOOD, "extra": 1}, "extra"),
        ({**GOOD, "inputs": [{"name": "x", "dtype": "float31", "shape": [1]}]}, "float31"),
        ({**GOOD, "inputs": [{"name": "x", "dtype": "float32", "shape": [1, -1]}]}, "open dimension"),
        ({**GOOD, "inputs": [{"name": "x", "dtype": "float32"}]}, "shape"),
    ],
)
def test_bad_files(tmp_path, content, words):
    """Each is an InvalidModel that names the file."""
    with pytest.raises(InvalidModel, match=words) as caught:
        reader.read(write(tmp_path, content), Shaping())
    assert "tiny.null.json" in str(caught.value)
