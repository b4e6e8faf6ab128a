"""What every backend must do; the built-in ones are found as any other would be."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from converters import registry
from converters.artifact import Artifact
from converters.backends.base import Backend
from converters.model import Model
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.samples.calibration import Calibration, load_calibration
from converters.quantize.scheme import IO_KINDS, PRECISIONS
from converters.shaping import Shaping
from tests.conftest import needs

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
NAMES = sorted(entry.name for entry in entry_points(group=registry.BACKENDS))
RECIPES = [Recipe("float32", "float"), Recipe("int8", "integer"), Recipe("int8", "float")]


def opened(name: str) -> Backend:
    """The backend; the test is skipped without the package that it converts with."""
    if name == "openvino":
        needs("openvino", "nncf", extra="openvino")
    return registry.backend(name)


@pytest.fixture(params=NAMES)
def backend(request) -> Backend:
    return opened(request.param)


@pytest.fixture(scope="module")
def model() -> Model:
    return registry.reader("onnx").read(DIGITS / "digits.onnx", Shaping())


@pytest.fixture(scope="module")
def calibration(model) -> Calibration:
    return load_calibration(DIGITS / "calibration.npz", model, limit=50)


def test_what_it_makes_is_known(backend):
    """The precisions and ends that a backend names are those there are, and there is one of each."""
    assert backend.precisions == tuple(name for name in PRECISIONS if name in backend.precisions) != ()
    assert set(backend.ends) <= set(IO_KINDS)
    assert backend.ends
    assert len({*backend.ranges, *backend.repairs}) == len((*backend.ranges, *backend.repairs))


def compiled(backend: Backend, model: Model, recipe: Recipe, calibration: Calibration | None) -> Artifact:
    return backend.compile(model, recipe, calibration, lambda *_: None)


def test_a_verdict_for_every_operator(backend, model):
    """`judge` says of every operator, in order, what it becomes or why not."""
    verdicts = backend.judge(model)
    assert [operator.type for operator in model.operators] == [verdict.operator for verdict in verdicts]
    assert all(verdict.reason for verdict in verdicts)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_artifact_is_described(backend, model, calibration, recipe):
    """The file's name can name a layer; inputs, outputs and tolerances go by the model's names."""
    artifact = compiled(backend, model, recipe, calibration)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", artifact.title)
    assert (backend.name, recipe.precision) == (artifact.runtime, artifact.precision)
    assert re.fullmatch(r"\d+(\.\d+)*", artifact.runtime_version)
    assert [spec.name for spec in model.inputs] == [spec.name for spec in artifact.inputs]
    assert [spec.name for spec in model.outputs] == [spec.name for spec in artifact.outputs]
    assert [spec.shape for spec in model.outputs] == [spec.shape for spec in artifact.outputs]
    assert {spec.name for spec in model.outputs} == set(artifact.tolerance)
    assert all(bound >= 0 for bound in artifact.tolerance.values())
    assert set(artifact.float_operators) <= set(artifact.operators)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_its_runtime_runs_it(backend, model, calibration, recipe):
    """The runtime of that name loads the file and answers in the artifact's shapes."""
    artifact = compiled(backend, model, recipe, calibration)
    got = runner(artifact)(next(calibration.samples()))
    assert {spec.name: spec.shape for spec in artifact.outputs} == {n: a.shape for n, a in got.items()}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_compiling_twice_gives_the_same_file(backend, model, calibration, recipe):
    """Nothing in a file depends on time or chance."""
    first, second = (compiled(backend, model, recipe, calibration) for _ in range(2))
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("name", [name for name in NAMES if registry.backend(name).computes])
def test_what_computes_computes_the_model(name, model, calibration):
    """A backend that says it computes gives the source's answers in float32."""
    backend = opened(name)
    _, reference = registry.reader("onnx").reference(model)
    run = runner(compiled(backend, model, Recipe("float32", "float"), None))
    for sample in calibration.samples():
        np.testing.assert_allclose(
            reference(sample)["probabilities"], run(sample)["probabilities"], atol=1e-5
        )


def test_progress_ends_where_it_said(backend, model, calibration):
    """Each stage's progress rises to its total."""
    seen: dict[str, tuple[int, int]] = {}

    def progress(what: str, done: int, total: int) -> None:
        assert done >= seen.get(what, (0, 0))[0]
        seen[what] = (done, total)

    backend.compile(model, Recipe("int8", "integer"), calibration, progress)
    assert seen
    assert all(done == total for done, total in seen.values())
