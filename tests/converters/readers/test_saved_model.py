"""SavedModel folders: signatures, names, and what has no place in a compiled model."""

import subprocess

import numpy as np
import pytest

from converters import registry
from converters.readers.saved_model import digest, reader
from converters.shaping import Shaping
from device_agent.errors import EdgeError, FileMissing, InvalidModel, UnsupportedOperator


def test_the_default_signature(keras_samples):
    """Inputs and outputs carry the signature's names, and TensorFlow computes the same."""
    model = reader.read(keras_samples / "dense", Shaping(3))
    assert [("offset", (3, 2)), ("x", (3, 4))] == sorted((spec.name, spec.shape) for spec in model.inputs)
    assert {"sum": (3, 2), "raw": (3, 2)} == {spec.name: spec.shape for spec in model.outputs}
    _, run = reader.reference(model)
    made = run({"x": np.ones((3, 4), np.float32), "offset": np.full((3, 2), 2, np.float32)})
    np.testing.assert_allclose(made["raw"] + 2, made["sum"], rtol=1e-6)


def test_the_only_signature(keras_samples):
    """A signature of another name is taken if it is the only one."""
    assert ["y"] == [spec.name for spec in reader.read(keras_samples / "one", Shaping()).outputs]


def test_tensorflow_1(keras_samples):
    """A SavedModel of TensorFlow 1 with a signature is read as any other."""
    model = reader.read(keras_samples / "old", Shaping(2))
    assert [("feed", (2, 4)), ("out", (2, 4))] == [(s.name, s.shape) for s in (*model.inputs, *model.outputs)]
    _, run = reader.reference(model)
    np.testing.assert_array_equal(
        np.full((2, 4), 6, np.float32), run({"feed": np.full((2, 4), 2, np.float32)})["out"]
    )


def test_an_operator_of_tensorflow(keras_samples):
    """An operator that TFLite has not is a no with its TensorFlow name; the others are judged as ever."""
    model = reader.read(keras_samples / "cholesky", Shaping())
    graph, verdicts = reader.lower(model)
    assert graph is None
    assert {"Cholesky": False, "RELU": True} == {verdict.operator: verdict.ok for verdict in verdicts}
    refusal = next(verdict for verdict in verdicts if not verdict.ok)
    assert "TFLite has no operator for TensorFlow's Cholesky" == refusal.reason
    assert refusal.help


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("several", InvalidModel, "first, second, expected serving_default"),
        ("none", InvalidModel, r"no signatures.*model\.export"),
        ("old_bare", InvalidModel, "no signatures"),
        ("saving", UnsupportedOperator, "SaveV2"),
        ("loops", UnsupportedOperator, "WHILE at '.*lstm.*unroll=True"),
        ("counting", UnsupportedOperator, "changes its own variables"),
        ("reading", UnsupportedOperator, "ReadFile"),
        ("selecting", InvalidModel, "output 'y': the shape of an output depends on the values"),
    ],
)
def test_refusals(keras_samples, name, kind: type[EdgeError], words):
    """What cannot be compiled is refused by name, with the way out."""
    with pytest.raises(kind, match=words) as caught:
        reader.read(keras_samples / name, Shaping())
    assert name in str(caught.value)
    assert caught.value.next_step


def test_weights_that_miss(keras_samples, tmp_path):
    """A folder without its weights is refused."""
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes((keras_samples / "one/saved_model.pb").read_bytes())
    with pytest.raises(InvalidModel, match=r"net.*cannot load"):
        reader.read(folder, Shaping())


def test_no_saved_model(tmp_path):
    """A folder without saved_model.pb, or the file itself in place of its folder, is refused with words."""
    with pytest.raises(InvalidModel, match=r"a folder, expected .* or a folder with saved_model\.pb"):
        registry.reader_for(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InvalidModel, match=r"Give the folder that holds saved_model\.pb"):
        registry.reader_for(tmp_path / "saved_model.pb")
    assert "saved_model" == registry.reader_for(tmp_path).name
    with pytest.raises(FileMissing):
        reader.read(tmp_path / "absent", Shaping())


def test_digest(tmp_path):
    """The digest is what the documented command prints, the size that of all files."""
    (tmp_path / "variables").mkdir()
    for name, content in (("variables/b", b"12"), ("a b", b"3"), ("variables-x", b"")):
        (tmp_path / name).write_bytes(content)
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (printed.stdout.split()[0], 3) == digest(tmp_path)
