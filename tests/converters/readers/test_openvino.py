"""Reading OpenVINO's IR: what it says, why it does not become TFLite, and what is wrong with files."""

import hashlib
import importlib.util
import sys

import numpy as np
import pytest

import edge_sdk
from converters.model import Operator
from converters.readers.openvino import reader
from converters.shaping import Shaping
from device_agent.bundle import TensorSpec
from device_agent.errors import FileMissing, InvalidModel, InvalidRequest, MissingDependency
from tests.converters.readers import ir

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: the extra `openvino`"
)


@pytest.fixture
def path(tmp_path):
    return ir.write(tmp_path / "net.xml")


@needs_openvino
def test_read(path):
    """Names are the tensors', operators leave out constants, and the digest is over both files."""
    model = reader.read(path, Shaping(2))
    assert (TensorSpec("image", "float32", (2, 4)),) == model.inputs
    assert (TensorSpec("scores", "float32", (2, 2)),) == model.outputs
    assert (Operator(0, "MatMul", "product"),) == model.operators
    assert 8 == model.parameters
    both = path.read_bytes() + path.with_suffix(".bin").read_bytes()
    assert (hashlib.sha256(both).hexdigest(), len(both)) == (model.sha256, model.size_bytes)


@needs_openvino
def test_the_reference(path):
    """OpenVINO computes it on the CPU in float32; openvino is not imported here for it."""
    before = "openvino" in sys.modules  # other tests of this process run models with it
    model = reader.read(path, Shaping(input_shapes={"image": (3, 4)}))
    name, run = reader.reference(model)
    x = np.random.default_rng(0).random((3, 4), np.float32)
    np.testing.assert_allclose(run({"image": x})["scores"], x @ ir.WEIGHTS, rtol=1e-6)
    assert name.startswith("openvino 20")
    assert before == ("openvino" in sys.modules)


@needs_openvino
def test_it_does_not_become_tflite(path):
    """The plan refuses each operator and says what to do instead."""
    plan = edge_sdk.plan(edge_sdk.load(path), "local", precision="float32")
    (refusal,) = plan.refusals
    assert "MatMul at 'product'" in str(refusal)
    assert "runs on OpenVINO only" in str(refusal)
    assert "--runtime openvino" in str(refusal)
    assert "ONNX" in str(refusal)


@needs_openvino
def test_without_its_weights(path):
    """A missing .bin is named."""
    path.with_suffix(".bin").unlink()
    with pytest.raises(InvalidModel, match=r"net\.xml: its weights are missing.*expected net\.bin beside it"):
        reader.read(path, Shaping())


@needs_openvino
@pytest.mark.parametrize(
    "text", ["", "<svg/>", "no xml", '<?xml version="1.0"?><net name="n" version="11"><layers/></net>']
)
def test_foreign_files(path, text):
    """What is no IR, or an empty one, is an InvalidModel that names the file."""
    path.write_text(text)
    with pytest.raises(InvalidModel, match=r"net\.xml"):
        reader.read(path, Shaping())


@needs_openvino
def test_cut_weights(path):
    """Too few weights are found."""
    path.with_suffix(".bin").write_bytes(b"1234")
    with pytest.raises(InvalidModel, match=r"net\.xml: this is no OpenVINO IR, or a damaged one"):
        reader.read(path, Shaping())


def test_what_an_ir_cannot(path):
    """Inputs can be given shapes, nothing else."""
    with pytest.raises(InvalidRequest, match="nothing else"):
        reader.read(path, Shaping(layout="nhwc"))


def test_no_such_file(tmp_path):
    """A file that is not there is a FileMissing."""
    with pytest.raises(FileMissing):
        reader.read(tmp_path / "net.xml", Shaping())


def test_openvino_is_missing(path, monkeypatch):
    """Without openvino the error says what to install."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"openvino is missing.*edge-deployment-sdk\[openvino\]"):
        reader.read(path, Shaping())
