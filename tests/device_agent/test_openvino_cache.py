"""The file that keeps what OpenVINO compiled: whatever is wrong with it costs time and nothing else."""

import fcntl
import hashlib
import importlib.util
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.runtimes import openvino_cache
from device_agent.runtimes.openvino import OpenVINO
from device_agent.runtimes.openvino_session import OpenVINOSession
from tests.device_agent import irs

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None and not os.environ.get("EDGE_EXTRAS_REQUIRED"),
    reason="openvino is not installed: the extra `openvino`",
)
KEY, BLOB = b"k" * 32, bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An empty cache file."""
    path = tmp_path / "cache"
    path.touch()
    return path


def fill(path: Path, blob: bytes = BLOB) -> bool:
    with openvino_cache.opened(path, KEY) as cache:
        assert cache is not None
        return cache.fill(blob, 42)


def kept(path: Path, key: bytes = KEY) -> tuple[bytes, int] | None:
    with openvino_cache.opened(path, key) as cache:
        assert cache is not None
        found = cache.read()
    return None if found is None else (found.blob, found.first_load_ns)


def test_what_is_filled_is_read(file: Path) -> None:
    """By the same key only; a refill takes the place of what was there."""
    assert kept(file) is None
    assert fill(file)
    assert (BLOB, 42) == kept(file)
    assert kept(file, b"x" * 32) is None
    assert fill(file, b"shorter")
    assert (b"shorter", 42) == kept(file)


def test_any_byte_that_changed_is_found_out(file: Path) -> None:
    """In the header or in the blob; and any end that is missing or too much."""
    fill(file)
    whole = file.read_bytes()
    for at in [*range(120), 4096, 4096 + len(BLOB) // 2, len(whole) - 1]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept(file) is None, at
    for size in (0, 1, 119, 120, 4095, 4096, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert kept(file) is None, size
    file.write_bytes(whole + b"x")
    assert kept(file) is None


def test_a_size_is_not_believed(file: Path) -> None:
    """A header that claims more than memory holds costs none."""
    fill(file)
    data = bytearray(file.read_bytes())
    struct.pack_into("<Q", data, 8, 1 << 62)
    data[88:120] = hashlib.sha256(data[:88]).digest()
    file.write_bytes(data)
    assert kept(file) is None


class Killed(BaseException):
    """As a kill, which no handler of errors sees."""


def test_killed_in_the_middle(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a process that fills it is killed, what it leaves is whole or nothing."""
    for calls in range(1, 4):
        fill(file, b"before")
        _die_at(calls, monkeypatch)
        with pytest.raises(Killed):
            fill(file)
        monkeypatch.undo()
        assert ((b"before", 42) if calls == 1 else None) == kept(file)
    assert fill(file)
    assert (BLOB, 42) == kept(file)


def _die_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be killed instead of the n-th change of the file."""
    left = number

    def mortal(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                raise Killed
            return change(*arguments)

        return call

    for name in ("ftruncate", "pwrite"):
        monkeypatch.setattr(os, name, mortal(getattr(os, name)))


def test_no_room(file: Path) -> None:
    """Where the file may not become as long as it must, nothing is kept and nothing fails."""
    fill(file, b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        assert not fill(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 == file.stat().st_size


def test_one_load_at_a_time(file: Path) -> None:
    """A load that comes while another fills goes without."""
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with openvino_cache.opened(file, KEY) as cache:
            assert cache is None
    assert fill(file)
    with openvino_cache.opened(None, KEY) as cache:
        assert cache is None


def test_keys(tmp_path: Path) -> None:
    """Another version, processor, property or file makes another key."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    a, b = tmp_path / "a", tmp_path / "b"
    keys = [
        openvino_cache.key_of("1", "CPU", {"x": 1}, [a, b]),
        openvino_cache.key_of("2", "CPU", {"x": 1}, [a, b]),
        openvino_cache.key_of("1", "GPU", {"x": 1}, [a, b]),
        openvino_cache.key_of("1", "CPU", {"x": 2}, [a, b]),
        openvino_cache.key_of("1", "CPU", {"x": 1}, [b, a]),
    ]
    assert 5 == len(set(keys))
    assert keys[0] == openvino_cache.key_of("1", "CPU", {"x": 1}, [a, b])


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IR with a convolution."""
    return irs.convolution(tmp_path_factory.mktemp("net"))


def load(net: Path, cache: Path, **others: object) -> OpenVINOSession:
    return OpenVINO().load(net, irs.options(net, cache=cache, **others))


@needs_openvino
def test_the_second_load_is_from_the_cache(net: Path, file: Path) -> None:
    """It computes the same, is placed the same, and knows how long the first took; threads do not matter."""
    first, second = load(net, file), load(net, file, threads=2, profile=True)
    assert [False, True] == [first.from_cache, second.from_cache]
    assert first.first_load_ns == second.first_load_ns
    assert (first.first_load_ns or 0) > 0
    made = []
    for session in (first, second):
        session.set_inputs({"pixels": irs.ones((1, 3, 8, 8))})
        session.invoke()
        made.append(session.get_outputs())
    assert made[0] == made[1]
    kinds = [[operator.type for operator in session.placement().operators] for session in (first, second)]
    assert kinds[0] == kinds[1]


@needs_openvino
def test_another_way_to_compile_refills(net: Path, file: Path) -> None:
    """A property that what is compiled depends on is not mixed up with another."""
    load(net, file)
    throughput = evolve(irs.F32, hint="throughput")
    found = [load(net, file, execution=e) for e in (throughput, throughput, irs.F32)]
    assert [False, True, False] == [session.from_cache for session in found]


@needs_openvino
def test_a_blob_that_openvino_refuses_is_compiled_anew(net: Path, file: Path) -> None:
    """As of another CPU: the header is right, the import fails, the file is filled again."""
    load(net, file)
    _exchange_blob(file, b"of another CPU")
    found = [load(net, file) for _ in range(2)]
    assert [False, True] == [session.from_cache for session in found]
    assert all(session.first_load_ns is not None for session in found)


def _exchange_blob(file: Path, blob: bytes) -> None:
    """Let the header be right for another blob."""
    key = file.read_bytes()[24:56]
    with openvino_cache.opened(file, key) as cache:
        assert cache is not None
        assert cache.fill(blob, 1)


@needs_openvino
@pytest.mark.parametrize("device", ["HETERO:CPU", "AUTO"])
def test_what_stands_between_keeps_nothing(net: Path, file: Path, device: str) -> None:
    """Said by `first_load_ns`."""
    session = load(net, file, execution=evolve(irs.F32, device=device))
    assert (False, None, 0) == (session.from_cache, session.first_load_ns, file.stat().st_size)


@needs_openvino
def test_a_file_that_cannot_be_written(net: Path, tmp_path: Path) -> None:
    """Costs nothing but the cache."""
    session = load(net, tmp_path / "is" / "not" / "there")
    assert (False, None) == (session.from_cache, session.first_load_ns)
