"""Fixtures every test may use; without what the agent's own tests must do without, NumPy for one."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from converters.model import Model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def no_kept_statistics() -> Iterator[None]:
    """No test reads or writes statistics that are kept for the user; those of the cache have their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", "off")
        yield


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The model zoo's folder: EDGE_ZOO, or ../shared/zoo beside the checkout; skips where it is missing."""
    folder = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
    if not (folder / "models").is_dir():
        if os.environ.get("EDGE_ZOO_REQUIRED"):
            pytest.fail(f"EDGE_ZOO_REQUIRED is set and there is no model zoo at {folder}")
        pytest.skip(f"no model zoo at {folder}: set EDGE_ZOO")
    return folder


@pytest.fixture(scope="session")
def detector() -> Path:
    """`detector.onnx`: boxes in pixels and scores in one output; `tests.models.data.scenes` are its data."""
    return ROOT / "tests/models/detector.onnx"


@pytest.fixture(scope="session")
def outlier() -> Path:
    """`outlier.onnx`: a classifier with channels of a hundred times the others; its data are `patches`."""
    return ROOT / "tests/models/outlier.onnx"


@pytest.fixture(scope="session")
def regressor() -> Path:
    """`regressor.onnx`: one quantity of eight values; its data are `readings`."""
    return ROOT / "tests/models/regressor.onnx"


def needs(*packages: str, extra: str) -> None:
    """Skips the test without these packages, or fails it where they must be there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("EDGE_EXTRAS_REQUIRED"):
        pytest.fail(f"EDGE_EXTRAS_REQUIRED is set, and {missing[0]} is not installed")
    if missing:
        pytest.skip(f"no {missing[0]}: pip install '.[{extra}]'")


@pytest.fixture(scope="session")
def torch_samples(tmp_path_factory) -> Path:
    """A folder with the exported programs `shown.pt2` and `nested.pt2`; skips without PyTorch."""
    needs("torch", "onnxscript", extra="torch")
    from tests.converters.readers import torch_models

    return torch_models.save(tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="session")
def torch_shown(torch_samples) -> Model:
    """`shown.pt2`, read."""
    from converters.readers.torch import reader
    from converters.shaping import Shaping

    return reader.read(torch_samples / "shown.pt2", Shaping())


@pytest.fixture
def write_ir() -> Callable[[Path], Path]:
    """Writes a small OpenVINO IR to a path; skips without OpenVINO."""
    needs("openvino", extra="openvino")
    from tests.converters.readers import ir

    return ir.write


@pytest.fixture(scope="session")
def openvino() -> None:
    """Skips without OpenVINO."""
    needs("openvino", extra="openvino")


@pytest.fixture(scope="session")
def keras_samples(tmp_path_factory) -> Path:
    """A folder with small Keras and SavedModel files, made once for all workers; skips without TensorFlow."""
    needs("tensorflow", "tf_keras", extra="keras")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # each worker has its own below it
    folder = shared / "keras_samples"
    with (shared / "keras_samples.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "memory.json").exists():  # which is made last
            folder.mkdir()
            script = ROOT / "tests/converters/tensorflow/samples.py"
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "KERAS_HOME": str(folder / ".keras")}
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            made = subprocess.run(
                [sys.executable, str(script), str(folder)], capture_output=True, text=True, env=environment
            )
            assert 0 == made.returncode, made.stderr
    return folder
