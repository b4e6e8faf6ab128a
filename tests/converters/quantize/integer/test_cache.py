"""Kept statistics: the same as computed ones, found by content, and never in the way."""

import os
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from converters.quantize.integer import cache
from converters.quantize.integer.cache import Cache
from converters.quantize.integer.statistics import Statistics, collect
from converters.quantize.samples.calibration import Calibration, Digest

WEIGHTS = np.random.default_rng(0).normal(size=(8, 3, 3, 4))


def silent(*_: object) -> None:
    pass


def given(x: np.ndarray) -> Calibration:
    """Samples with their digest, as checked ones have it."""
    digest = Digest()
    for sample in x:
        digest.add({"input": sample})
    return Calibration(
        "seeded", len(x), lambda: ({"input": sample} for sample in x), digest=digest.hexdigest()
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where statistics are kept in this test."""
    monkeypatch.delenv("EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edge" / "calibration"


@pytest.fixture
def x(samples) -> np.ndarray:
    return np.stack([sample["input"] for sample in samples(4, 3).samples()])


def assert_same(one: Statistics, other: Statistics) -> None:
    assert (one.samples, list(one.tensors)) == (other.samples, list(other.tensors))
    for name, expected in one.tensors.items():
        got = other.tensors[name]
        assert (expected.minimum, expected.maximum) == (got.minimum, got.maximum)
        for field in ("channel_minimum", "channel_maximum", "channel_mean", "histogram"):
            assert getattr(expected, field).dtype == getattr(got, field).dtype
            np.testing.assert_array_equal(getattr(expected, field), getattr(got, field))


def unreadable() -> None:
    raise AssertionError("the samples were read")


def test_a_second_time_nothing_is_run(folder, conv_graph, x):
    """The same graph and samples give the same statistics without a pass over the samples."""
    graph, calibration = conv_graph(WEIGHTS, np.zeros(8), then="TANH"), given(x)
    first = collect(graph, calibration, silent)
    assert 1 == len(list(folder.iterdir()))
    seen: list[tuple[str, int, int]] = []
    again = collect(graph, evolve(calibration, samples=unreadable), lambda *step: seen.append(step))
    assert_same(first, again)
    assert [("calibrating", 3, 3)] == seen


def test_another_graph_or_sample_is_another_key(folder, conv_graph, x):
    """One changed weight or value is not found under the old key."""
    collect(conv_graph(WEIGHTS, np.zeros(8)), given(x), silent)
    collect(conv_graph(WEIGHTS, np.full(8, 1e-6)), given(x), silent)
    x[2, 0, 0, 0, 0] += 1
    collect(conv_graph(WEIGHTS, np.zeros(8)), given(x), silent)
    assert 3 == len(list(folder.iterdir()))


def test_samples_that_change_between_passes_are_not_kept(folder, conv_graph, x):
    """What a function gave at another call than the one that was hashed is used and not kept."""
    calibration = evolve(given(x), samples=given(x + 1).samples)
    found = collect(conv_graph(WEIGHTS, np.zeros(8)), calibration, silent)
    assert (x + 1).max() == found.tensors["x"].maximum
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "folder"])
def test_damaged_files_are_made_anew(folder, conv_graph, x, damage):
    """A damaged file, or one that belongs to another key, is not used, and replaced where it can be."""
    graph, calibration = conv_graph(WEIGHTS, np.zeros(8)), given(x)
    first = collect(graph, calibration, silent)
    (file,) = folder.iterdir()
    good = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "other":
        collect(conv_graph(WEIGHTS, np.ones(8)), calibration, silent)
        other = next(path for path in folder.iterdir() if path != file)
        file.write_bytes(other.read_bytes())
    else:
        flipped = good[:200] + bytes([good[200] ^ 1]) + good[201:]
        file.write_bytes({"empty": b"", "cut": good[:-10], "flipped": flipped}[damage])
    assert_same(first, collect(graph, calibration, silent))
    if damage != "folder":
        assert good == file.read_bytes()
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("setting", ["off", "OFF", "0", "no"])
def test_turned_off(folder, conv_graph, x, monkeypatch, setting):
    """With EDGE_CACHE=off, or where the caller says so, or without a digest, nothing is kept."""
    graph = conv_graph(WEIGHTS, np.zeros(8))
    collect(graph, given(x), silent, cached=False)
    collect(graph, evolve(given(x), digest=None), silent)
    monkeypatch.setenv("EDGE_CACHE", setting)
    collect(graph, given(x), silent)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written(folder, conv_graph, x):
    """Where nothing can be kept, everything else goes on."""
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file is in the way")
    assert 3 == collect(conv_graph(WEIGHTS, np.zeros(8)), given(x), silent).samples


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    """XDG_CACHE_HOME where it is absolute, else ~/.cache."""
    monkeypatch.delenv("EDGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Cache(tmp_path / ".cache" / "edge" / "calibration") == cache.default()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert Cache(tmp_path / "there" / "edge" / "calibration") == cache.default()


def test_what_was_not_used_for_longest_goes(tmp_path, conv_graph, x):
    """Past the limit the least recently used are removed; reading counts as use."""
    statistics = collect(conv_graph(WEIGHTS, np.zeros(8)), given(x), silent)
    kept = Cache(tmp_path)
    for name in "ab":
        kept.store(name, statistics)
    size = (tmp_path / "a.stats").stat().st_size
    for name, age in [("a", 10), ("b", 20)]:
        os.utime(tmp_path / f"{name}.stats", (age, age))
    assert kept.load("a") is not None
    Cache(tmp_path, limit_bytes=2 * size + size // 2).store("c", statistics)
    assert ["a.stats", "c.stats"] == sorted(path.name for path in tmp_path.iterdir())
