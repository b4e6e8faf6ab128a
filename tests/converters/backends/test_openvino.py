"""The OpenVINO backend: what it judges, compiles and refuses; with the contract tests of every backend."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edge_sdk
from converters.backends.openvino import backend
from converters.convert import generated
from converters.openvino import opened
from converters.partition.types import Recipe
from converters.progress import silent
from converters.quantize.accuracy.fidelity import check_float, check_kept, measure
from converters.registry import reader, reader_for
from converters.shaping import Shaping
from device_agent.errors import FidelityError, InvalidModel
from tests.conftest import needs
from tests.converters.readers import ir

DIGITS = Path(__file__).resolve().parents[3] / "examples/digits/digits.onnx"
FLOAT = Recipe("float32", "float")


@pytest.fixture(autouse=True, scope="module")
def openvino() -> Iterator[None]:
    """OpenVINO, and no process of it left behind."""
    needs("openvino", extra="openvino")
    yield
    opened.forget()


def compared(model, artifact):
    name, reference = reader(model.format).reference(model)
    return measure(artifact, name, reference, generated(model), limit=4)


def test_onnx(tmp_path):
    """Each operator says what it became, and the float IR computes what ONNX Runtime computes."""
    model = reader("onnx").read(DIGITS, Shaping())
    verdicts = backend.judge(model)
    becomes = {verdict.operator: verdict.becomes for verdict in verdicts}
    assert ("Convolution", "Add") == becomes["Conv"]
    assert all(verdict.ok for verdict in verdicts)
    artifact = backend.compile(model, FLOAT, None, silent)
    check_float(compared(model, artifact), artifact)
    assert b'<net name="' in artifact.data
    assert b'version="11"' in artifact.data.splitlines()[1]
    assert ("openvino", "2025.4", "f32") == (
        artifact.runtime,
        artifact.runtime_version,
        artifact.execution.precision,
    )
    assert not {"Constant", "Parameter", "Result"} & set(artifact.operators)


@pytest.mark.zoo
def test_quantised_tflite(zoo):
    """A model in int8 stays as it is, at its ends too; other kernels may differ, other weights are found."""
    path = zoo / "models/mlperf-tiny/pretrainedResnet_quant.tflite"
    model = reader_for(path).read(path, Shaping())
    artifact = backend.compile(model, Recipe("int8", "integer"), None, silent)
    assert model.inputs == artifact.inputs
    assert "FakeQuantize" in artifact.operators
    found = compared(model, artifact)
    check_kept(found, artifact)
    from attrs import evolve

    (output,) = found.outputs
    with pytest.raises(FidelityError, match=r"9\.0 dB.*expected at least 10 dB"):
        check_kept(evolve(found, outputs=(evolve(output, snr_db=9.0),)), artifact)


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("file", "kind", "reason"),
    [
        ("tflm/trained_lstm.tflite", "UNIDIRECTIONAL_SEQUENCE_LSTM", "model/sequential/lstm/zeros"),
        ("tflm/person_detect.tflite", "DEPTHWISE_CONV_2D", "Per-Channel Quantization axis 3"),
        ("tflm/audio_preprocessor_int8.tflite", "CUSTOM:SignalWindow", "No translator found"),
    ],
)
def test_rejected_models(zoo, file, kind, reason):
    """What OpenVINO rejects is refused in the plan, at the operator that is the cause."""
    path = zoo / "models" / file
    plan = edge_sdk.plan(edge_sdk.load(path), "local", runtime="openvino")
    (refusal,) = plan.refusals
    assert kind == refusal.operator
    assert reason in refusal.reason


def test_an_ir(tmp_path):
    """An IR is read and written again, in another batch; without its weights it is refused."""
    path = ir.write(tmp_path / "net.xml")
    model = reader("openvino").read(path, Shaping(batch=3))
    (verdict,) = backend.judge(model)
    assert ("MatMul",) == verdict.becomes
    artifact = backend.compile(model, FLOAT, None, silent)
    x = np.random.default_rng(0).random((3, 4), np.float32)
    from converters.quantize.accuracy.fidelity import runner

    np.testing.assert_allclose(x @ ir.WEIGHTS, runner(artifact)({"image": x})["scores"], rtol=1e-6)
    path.with_suffix(".bin").unlink()
    with pytest.raises(InvalidModel, match="its weights are missing"):
        edge_sdk.load(path)


def test_keras_and_saved_models(keras_samples):
    """Both go through OpenVINO's TensorFlow frontend; the names are the source's."""
    for name in ("ends.keras", "dense"):
        path = keras_samples / name
        model = reader_for(path).read(path, Shaping())
        artifact = backend.compile(model, FLOAT, None, silent)
        check_float(compared(model, artifact), artifact)
        assert "its SavedModel" == opened.shared(model, silent).road.name
        assert {verdict.becomes for verdict in backend.judge(model)} == {
            ("what OpenVINO's frontend makes of it",)
        }


def test_torch(torch_shown):
    """An exported program goes by its ONNX form, compared with torch."""
    artifact = backend.compile(torch_shown, FLOAT, None, silent)
    check_float(compared(torch_shown, artifact), artifact)
    assert "its ONNX form" == opened.shared(torch_shown, silent).road.name
