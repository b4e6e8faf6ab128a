"""Keras files before TensorFlow sees them: kinds, damage, and everything that would run code."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from converters.tensorflow.examine import examine
from device_agent.errors import InvalidModel, UnsupportedOperator


def archive(tmp_path: Path, config: object, leave_out: str = "") -> Path:
    """A Keras archive with that architecture and no weights."""
    path = tmp_path / "net.keras"
    parts = {"config.json": json.dumps(config), "metadata.json": '{"keras_version": "3.9.0"}'}
    with zipfile.ZipFile(path, "w") as file:
        for name in parts.keys() - {leave_out}:
            file.writestr(name, parts[name])
    return path


def layer(**fields: object) -> dict[str, object]:
    """A model of one layer, as Keras writes it."""
    entry = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "top"}, **fields}
    model = {"module": "keras", "class_name": "Sequential", "registered_name": None}
    return {**model, "config": {"name": "net", "layers": [entry]}}


def test_keras_3(tmp_path):
    """An archive says which Keras it is of, and holds the architecture."""
    found = examine(archive(tmp_path, layer()))
    assert (".keras", "3.9.0", layer()) == (found.ending, found.version, found.config)


def test_hdf5(keras_samples):
    """HDF5 is told by its content; the Keras that wrote it stands in it."""
    assert (".h5", "3") == (lambda f: (f.ending, f.version[0]))(examine(keras_samples / "small.h5"))
    assert (".h5", "2") == (lambda f: (f.ending, f.version[0]))(examine(keras_samples / "legacy.h5"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"class_name": "Lambda"}, "'top' is a Lambda layer"),
        ({"config": {"activation": {"class_name": "__lambda__", "config": {}}}}, "bytecode"),
        ({"module": "os", "class_name": "system"}, r"os\.system"),
        ({"module": "keras.src.utils.file_utils", "class_name": "get_file"}, "get_file"),
        ({"module": None, "class_name": "Custom>Mine"}, "custom class Custom>Mine"),
        ({"module": None, "class_name": "Mine", "registered_name": "lab>Mine"}, "custom class lab>Mine"),
        ({"config": {"kernel_initializer": {"module": "mine", "class_name": "Init"}}}, r"mine\.Init"),
        (
            {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
            r"tf\.io\.write_file",
        ),
        ({"class_name": "TFOpLambda", "config": {"name": "w", "function": "load_library"}}, "load_library"),
    ],
)
def test_code(tmp_path, fields, words):
    """Whatever Keras would import, unmarshal or call is refused by name, with the way out."""
    with pytest.raises(UnsupportedOperator, match=words) as caught:
        examine(archive(tmp_path, layer(**fields)))
    assert "model.export('folder')" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"class_name": "TFOpLambda", "config": {"name": "m", "function": "math.add"}},
        {"class_name": "TFOpLambda", "config": {"name": "m", "function": "compat.v1.transpose"}},
        {"module": "builtins", "class_name": "function", "config": "relu"},
        {"module": "keras.src.ops.numpy", "class_name": "Add"},
    ],
)
def test_keras_own(tmp_path, fields):
    """What is Keras's own passes."""
    assert examine(archive(tmp_path, layer(**fields))).config == layer(**fields)


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5", "custom.keras"])
def test_files_with_code(keras_samples, name):
    """Files as Keras 3 and tf_keras write them."""
    with pytest.raises(UnsupportedOperator, match="never run"):
        examine(keras_samples / name)


def test_weights_alone(keras_samples, tmp_path):
    """Weights without an architecture are told as such, in both kinds of file."""
    with pytest.raises(InvalidModel, match=r"weights alone.*model\.save"):
        examine(keras_samples / "alone.weights.h5")
    packed = tmp_path / "net.keras"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("model.weights.h5", b"")
    with pytest.raises(InvalidModel, match=r"no config\.json.*load these weights"):
        examine(packed)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04hello", b"\x89HDF\r\n\x1a\nhello"])
def test_other_files(tmp_path, content):
    """A file of another format, or only the head of one, is refused."""
    path = tmp_path / "net.keras"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"net\.keras"):
        examine(path)


@pytest.mark.parametrize("part", ["config.json", "metadata.json"])
def test_parts_that_miss(tmp_path, part):
    """An archive without one of its parts is named by that part."""
    with pytest.raises(InvalidModel, match=part):
        examine(archive(tmp_path, layer(), leave_out=part))


@pytest.mark.parametrize("name", ["small.keras", "small.h5"])
def test_truncated(keras_samples, tmp_path, name):
    """A file cut anywhere is refused."""
    data = (keras_samples / name).read_bytes()
    path = tmp_path / name
    for length in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        with pytest.raises(InvalidModel, match=name):
            examine(path)


def test_a_flipped_bit(tmp_path, keras_samples):
    """A part of an archive that does not fit its checksum is named."""
    data = bytearray((keras_samples / "small.keras").read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        start = file.getinfo("model.weights.h5").header_offset
    data[start + 200] ^= 1
    path = tmp_path / "net.keras"
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match=r"corrupt|truncated"):
        examine(path)
