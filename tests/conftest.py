"""Fixtures every test may use."""

import os
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
