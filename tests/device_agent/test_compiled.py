"""The cache beside a generation: made where there is room, never in the way of the generation."""

import errno
import os
from pathlib import Path

import pytest
from attrs import evolve

from device_agent import compiled
from device_agent.bundle import Execution
from device_agent.errors import DiskFull
from device_agent.store import RESERVED_TITLES
from tests.device_agent.harness import make_bundle


def test_which_bundles_keep_what_was_compiled(tmp_path: Path) -> None:
    """Those for one processor of a runtime that has several."""
    config = make_bundle(tmp_path).config
    kept = {
        device: compiled.keeps(evolve(config, execution=Execution(device)))
        for device in ("CPU", "GPU.1", "AUTO", "HETERO:CPU")
    }
    assert {"CPU": True, "GPU.1": True, "AUTO": False, "HETERO:CPU": False} == kept
    assert not compiled.keeps(config)
    assert compiled.COMPILED_FILE in RESERVED_TITLES


def test_a_cache_is_made_once(tmp_path: Path) -> None:
    """It may come to twice the model's bytes and a little, or to what it has come to."""
    path = tmp_path / "cache"
    assert 2000 + (1 << 20) == compiled.prepare(path, 1000)
    path.write_bytes(bytes(3 << 20))
    assert 3 << 20 == compiled.prepare(path, 1000)


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "full")


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes at most half of what is free; one that is there is used on a full disk."""
    path = tmp_path / "cache"
    assert compiled.prepare(path, 1 << 60) is None
    assert not path.exists()
    path.write_bytes(b"x")
    assert compiled.prepare(path, 1 << 60) is not None
    monkeypatch.setattr(os, "open", _full)
    with pytest.raises(DiskFull):
        compiled.prepare(path, 1000)
