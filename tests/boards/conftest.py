"""Emulated boards for tests; skips, saying why, where there can be none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.bundle import Bundle
from edge_sdk import pipeline
from tests.boards.emulator import IMAGES, Board, Unavailable, Workshop, workshop


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's devices, SSH configuration, keys or agent; wheels that are here are used."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("EDGE_DEVICES", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "EDGE_SSH_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shop() -> Workshop:
    """The workshop of EDGE_BOARDS; with EDGE_BOARDS_REQUIRED, a missing one is a failure."""
    try:
        found = workshop()
        for kind, architecture in IMAGES:
            found.make(kind, architecture)
    except Unavailable as e:
        if os.environ.get("EDGE_BOARDS_REQUIRED"):
            pytest.fail(f"EDGE_BOARDS_REQUIRED is set: {e}")
        pytest.skip(str(e))
    return found


@pytest.fixture(scope="session")
def raspberry(shop: Workshop) -> Iterator[Board]:
    """A virtual Raspberry Pi 4, fresh from its image."""
    with shop.board("vm", "test") as board:
        yield board


@pytest.fixture(scope="session")
def calibration(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples for ResNet-8."""
    out = tmp_path_factory.mktemp("calibration") / "cifar10.npz"
    loader = [sys.executable, str(zoo / "load.py"), "cifar10", "--split", "train", "--out", str(out)]
    subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
    return out


def converted(model: Path, target: str, precision: str, calibration: Path | None, folder: Path) -> Bundle:
    """A bundle of a model for a board."""
    loaded = pipeline.load(model)
    plan = pipeline.plan(loaded, target, precision=precision)
    conversion = pipeline.convert(loaded, plan, calibration=None if calibration is None else str(calibration))
    return pipeline.pack(conversion, folder / precision)
