"""The ballast: there when it can be, given up when the disk is full, made again afterwards."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent import durable
from device_agent.ballast import BALLAST_BYTES, Ballast
from device_agent.bundle import Bundle
from device_agent.errors import DeviceError, DiskFull
from tests.device_agent.faults import faulty, nothing
from tests.device_agent.harness import AgentProcess, make_bundle
from tests.device_agent.test_activator import Device


def full_while(full: Callable[[], bool]) -> Callable[..., Any]:
    """A disk on which nothing new fits as long as `full` says so."""
    growing = {"open", "mkdir", "symlink", "link", "pwrite", "posix_fallocate"}

    def fault(_: int, do: Callable[[], Any], name: str, __: tuple[Any, ...]) -> Any:
        if name in growing and full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return do()

    return fault


def test_it_takes_its_room_and_is_made_once(tmp_path: Path) -> None:
    """Its blocks are really taken; where it is there already nothing is written."""
    ballast = Ballast(tmp_path)
    ballast.restore()
    found = (tmp_path / "ballast").stat()
    assert BALLAST_BYTES == found.st_size
    assert found.st_blocks * 512 >= BALLAST_BYTES
    with faulty(nothing) as counter:
        ballast.restore()
    assert [] == counter.calls


def test_a_part_of_it_is_made_whole(tmp_path: Path) -> None:
    """One that a power cut left short is replaced."""
    (tmp_path / "ballast").write_bytes(b"x")
    Ballast(tmp_path).restore()
    assert BALLAST_BYTES == (tmp_path / "ballast").stat().st_size


def test_no_room_for_it(tmp_path: Path) -> None:
    """Without room there is none, nothing of it is left, and nobody fails for that."""

    def fault(_: int, do: Callable[[], Any], name: str, __: tuple[Any, ...]) -> Any:
        if name == "posix_fallocate":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return do()

    with faulty(fault):
        Ballast(tmp_path).restore()
    assert not (tmp_path / "ballast").exists()


def test_it_is_not_what_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only made where as much stays free."""
    disk = os.statvfs(tmp_path)
    little = os.statvfs_result((*disk[:4], (2 * BALLAST_BYTES - 1) // disk.f_frsize, *disk[5:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: little)
    Ballast(tmp_path).restore()
    assert not (tmp_path / "ballast").exists()


def test_only_a_full_disk_takes_it(tmp_path: Path) -> None:
    """Another failure, or a limit of our own, leaves it alone and is not tried twice."""
    ballast = Ballast(tmp_path)
    ballast.restore()
    calls: list[int] = []

    def failing(number: int) -> None:
        calls.append(number)
        if number == 0:
            raise DiskFull("the device holds as many models as it can")
        with durable.mapped("cannot write", tmp_path):
            raise OSError(number, os.strerror(number))

    for number in (0, errno.EIO):
        with pytest.raises(DeviceError):
            ballast.relieve(lambda number=number: failing(number))  # type: ignore[misc]
    assert [0, errno.EIO] == calls
    assert (tmp_path / "ballast").exists()
    with pytest.raises(DiskFull):
        ballast.relieve(lambda: failing(errno.ENOSPC))
    assert [0, errno.EIO, errno.ENOSPC, errno.ENOSPC] == calls
    assert not (tmp_path / "ballast").exists()


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    return [make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in range(3)]


def test_full_disk_can_roll_back(tmp_path: Path, bundles: list[Bundle]) -> None:
    """On a disk on which nothing fits without the ballast: a deployment is refused, a rollback works, and
    with room again the next deployment works and the ballast is back.
    """
    state = tmp_path / "state"
    device = Device(state)
    for bundle in bundles[:2]:
        device.deploy(bundle)
    device.push(bundles[2])
    with faulty(full_while((state / "ballast").exists)):
        with pytest.raises(DiskFull):
            device.deploy(bundles[2])
        assert (state / "ballast").exists(), "a deployment needs more room than it has"
        assert (2, bundles[1].manifest_digest) == device.answering()
        assert 1 == device.rollback()
    assert (1, bundles[0].manifest_digest) == Device(state).answering()
    assert (state / "ballast").exists(), "there was room again"
    assert 3 == device.deploy(bundles[2])


def test_agent_that_is_idle_writes_nothing(tmp_path: Path, bundles: list[Bundle]) -> None:
    """Neither a start on what is there nor answering questions changes a file."""
    state = tmp_path / "state"
    with AgentProcess(state) as agent:
        agent.client.deploy(bundles[0])
    before = changes(state)
    with AgentProcess(state) as agent:
        assert 1 == agent.client.generation("digits")
        assert before == changes(state)


def changes(state: Path) -> dict[str, int]:
    """When each file and folder was last changed; the state folder itself holds the socket."""
    return {str(p): p.lstat().st_ctime_ns for p in state.rglob("*") if p.name != "agent.sock"}
