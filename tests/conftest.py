"""Fixtures every test may use."""

import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
def keras_samples(tmp_path_factory) -> Path:
    """A folder with small Keras and SavedModel files, made once for all workers; skips without TensorFlow."""
    if any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf_keras")):
        if os.environ.get("EDGE_KERAS_REQUIRED"):
            pytest.fail("EDGE_KERAS_REQUIRED is set, and TensorFlow or tf_keras is not installed")
        pytest.skip("no TensorFlow: pip install '.[keras]'")
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
