"""A model that is quantised already: kept as it is, whatever is asked; a float one is quantised anew."""

from pathlib import Path

import numpy as np
import pytest

from converters.backends.litert import backend
from converters.convert import Conversion, convert
from converters.graph.write import write
from converters.model import Model
from converters.partition import planner
from converters.partition.types import Recipe
from converters.progress import silent
from converters.quantize.accuracy.fidelity import check_kept, measure
from converters.quantize.samples.calibration import load_calibration
from converters.readers.tflite import reader
from converters.shaping import Shaping
from device_agent.errors import FidelityError, InvalidRequest
from targets.schema import load_target
from tests.converters.readers import networks

BOARD = load_target("rpi4")
SAMPLES = np.random.default_rng(1).random((40, 8, 8, 2)).astype(np.float32)


def made(model: Model, precision: str, io: str = "integer", samples: np.ndarray | None = None) -> Conversion:
    plan = planner.plan(model, BOARD, recipe=Recipe(precision, io))
    data = None if samples is None else load_calibration(samples, model)
    return convert(model, plan, calibration=data, progress=silent)


@pytest.fixture(scope="module")
def floating(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("float") / "net.tflite"
    path.write_bytes(write(networks.convolutional()))
    return reader.read(path, Shaping())


@pytest.fixture(scope="module")
def quantised(floating: Model) -> Conversion:
    """The float file, calibrated."""
    return made(floating, "int8", samples=SAMPLES)


@pytest.fixture(scope="module")
def integer(quantised: Conversion, tmp_path_factory) -> Model:
    """The int8 file that came of it, read as a model of its own."""
    path = tmp_path_factory.mktemp("int8") / "net.tflite"
    path.write_bytes(quantised.artifact.data)
    return reader.read(path, Shaping())


def test_a_float_file_is_calibrated(quantised):
    """A float TFLite file becomes full-integer, close to the file in its own runtime."""
    assert ("int8", ()) == (quantised.artifact.precision, quantised.artifact.float_operators)
    assert quantised.fidelity.reference.startswith("litert ")
    assert quantised.fidelity.outputs[0].snr_db > 15


def test_it_is_kept(quantised, integer):
    """int8 of an int8 file needs no calibration, gives the same integers, and says so."""
    assert "full" == integer.quantized
    kept = made(integer, "int8", "float")
    assert kept.plan == made(integer, "auto").plan
    assert None is kept.search
    assert ("int8", "integer") == (kept.plan.recipe.precision, kept.plan.recipe.io)
    assert all("as it was quantised before" in operator.reason for operator in kept.plan.operators)
    assert kept.baseline is kept.artifact
    assert 0 == kept.fidelity.outputs[0].max_abs_diff
    assert quantised.artifact.inputs == kept.artifact.inputs
    assert "the model is quantised already: its integers are kept as they are" in kept.notes


def test_float32_is_refused(integer):
    """What was rounded away cannot be had again."""
    with pytest.raises(InvalidRequest, match=r"quantised already.*got float32, expected int8"):
        made(integer, "float32")


def test_real_values_for_it(integer):
    """Calibration data of a quantised input may be real values: they are the steps' meaning."""
    kept = made(integer, "int8", samples=SAMPLES)
    assert (40, 0) == (kept.fidelity.samples, kept.fidelity.outputs[0].max_abs_diff)


def test_a_copy_that_is_off_is_a_fault(integer, floating, quantised):
    """A copy that differs by more than a step from its source is refused."""
    artifact = backend.compile(integer, Recipe("int8", "integer"), None, silent)
    name, run = reader.reference(integer)

    def off(feed):
        return {output: value + 3 / 256 for output, value in run(feed).items()}

    fidelity = measure(artifact, name, off, load_calibration(SAMPLES, integer), limit=4)
    with pytest.raises(FidelityError, match="deviates from litert"):
        check_kept(fidelity, artifact)


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name",
    ["mlperf-tiny/str_ww_ref_model", "coral/movenet_single_pose_lightning_ptq", "tflm/trained_lstm_int8"],
)
def test_published_models_are_kept(zoo: Path, name):
    """Published quantised models compute bit for bit what their files compute."""
    model = reader.read(zoo / "models" / f"{name}.tflite", Shaping())
    kept = made(model, "int8")
    assert {0.0} == {output.max_abs_diff for output in kept.fidelity.outputs}
