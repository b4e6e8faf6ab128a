"""Model files as bytes: what cannot be read is said in one way."""

from pathlib import Path

import pytest

from converters.readers import null, onnx, tflite
from converters.readers.files import content
from converters.shaping import Shaping
from device_agent.errors import FileMissing, InvalidModel


def test_content(tmp_path: Path):
    """The bytes, or an error that names the file."""
    (tmp_path / "model").write_bytes(b"abc")
    assert b"abc" == content(tmp_path / "model")
    with pytest.raises(FileMissing, match="absent"):
        content(tmp_path / "absent")


@pytest.mark.parametrize("reader", [null.reader, onnx.reader, tflite.reader], ids=["null", "onnx", "tflite"])
def test_what_is_no_file(reader, tmp_path: Path):
    """A folder under a model's name is an InvalidModel that names it."""
    folder = tmp_path / f"model{reader.suffixes[0]}"
    folder.mkdir()
    with pytest.raises(InvalidModel, match=folder.name):
        reader.read(folder, Shaping())
