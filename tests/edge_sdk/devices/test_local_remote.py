"""This machine as a device."""

import errno
import os
from pathlib import Path

import pytest

from device_agent.errors import AgentUnreachable, DeviceError, DiskFull
from edge_sdk.devices.local_remote import LocalRemote


def test_commands_run_in_the_home_with_their_words_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are quoted, stdin arrives, a failure is a status, and nothing leads to another home."""
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    remote = LocalRemote(tmp_path)
    done = remote.run(
        ["sh", "-c", 'cat; printf "%s|" "$@"; exit 3', "sh", "a b", "$HOME", "'", ""], stdin=b"in "
    )
    assert (3, b"in a b|$HOME|'||", b"") == (done.status, done.stdout, done.stderr)
    assert f"{tmp_path}\n".encode() == remote.run(["pwd"]).stdout
    assert f"HOME={tmp_path}".encode() in remote.run(["env"]).stdout.splitlines()
    assert b"elsewhere" not in remote.run(["env"]).stdout
    with pytest.raises(AgentUnreachable, match="did not end in time"):
        remote.run(["sleep", "60"], timeout_s=0.05)
    remote.close()
    remote.close()


def test_a_file_is_copied_whole(tmp_path: Path) -> None:
    """With its mode, with progress, over what was there."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    (tmp_path / "target").write_text("old")
    seen: list[tuple[int, int]] = []
    LocalRemote(tmp_path).put(source, "target", mode=0o640, progress=lambda *done: seen.append(done))
    assert source.read_bytes() == (tmp_path / "target").read_bytes()
    assert 0o640 == (tmp_path / "target").stat().st_mode & 0o777
    assert (3_000_000, 3_000_000) == seen[-1]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk and a folder that is not there are errors of ours; no part of the file stays."""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    remote = LocalRemote(tmp_path)
    with pytest.raises(DeviceError, match="cannot copy"):
        remote.put(source, "none/target", mode=0o600, progress=lambda *_: None)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        remote.put(source, "target", mode=0o600, progress=lambda *_: None)
    assert ["source"] == [path.name for path in tmp_path.iterdir()]
