"""The two state slots."""

import os
from pathlib import Path

import pytest

from device_agent.errors import DeviceError, DiskFull
from device_agent.slots import MAX_PAYLOAD_BYTES, SLOT_BYTES, Slots


def test_new_folder_has_no_payload_and_both_slots(tmp_path: Path) -> None:
    """Both slots are there in full size from the beginning."""
    assert Slots(tmp_path).payload is None
    assert [SLOT_BYTES, SLOT_BYTES] == [(tmp_path / f"state.{i}").stat().st_size for i in (0, 1)]


def test_newest_write_is_found_again(tmp_path: Path) -> None:
    """Each write replaces the one before, whichever slot it went to."""
    for payload in (b"one", b"two", b"three"):
        Slots(tmp_path).write(payload)
        assert payload == Slots(tmp_path).payload


@pytest.mark.parametrize("cut", [0, 1, 30, 56, 60, 200])
def test_torn_write_leaves_the_one_before(tmp_path: Path, cut: int) -> None:
    """A slot of which only the first bytes were written is passed over."""
    slots = Slots(tmp_path)
    slots.write(b"a" * 300)
    slots.write(b"b" * 300)
    whole = (tmp_path / "state.0").read_bytes()
    slots.write(b"c" * 300)  # to state.0
    torn = (tmp_path / "state.0").read_bytes()
    (tmp_path / "state.0").write_bytes(torn[:cut] + whole[cut:])
    assert b"b" * 300 == Slots(tmp_path).payload


@pytest.mark.parametrize("position", [0, 8, 16, 24, 55, 56, 355])
def test_flipped_byte_is_noticed(tmp_path: Path, position: int) -> None:
    """A damaged slot is passed over, wherever the damage is."""
    slots = Slots(tmp_path)
    slots.write(b"a" * 300)
    slots.write(b"b" * 300)
    raw = bytearray((tmp_path / "state.1").read_bytes())
    raw[position] ^= 1
    (tmp_path / "state.1").write_bytes(raw)
    assert b"a" * 300 == Slots(tmp_path).payload


def test_failed_write_keeps_the_newest_and_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write that the medium refused, the next one goes to the same slot."""
    slots = Slots(tmp_path)
    slots.write(b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _refuse)
        with pytest.raises(DeviceError):
            slots.write(b"two")
    assert b"one" == slots.payload
    slots.write(b"three")
    assert b"three" == Slots(tmp_path).payload


def test_payload_larger_than_a_slot_is_refused(tmp_path: Path) -> None:
    """A payload that does not fit is an error and changes nothing."""
    slots = Slots(tmp_path)
    slots.write(b"x" * MAX_PAYLOAD_BYTES)
    with pytest.raises(DiskFull):
        slots.write(b"x" * (MAX_PAYLOAD_BYTES + 1))
    assert b"x" * MAX_PAYLOAD_BYTES == Slots(tmp_path).payload


def _refuse(_: int) -> None:
    raise OSError(5, "Input/output error")
