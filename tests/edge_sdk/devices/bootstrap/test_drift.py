"""Files of an installation that another version wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge_sdk.devices.bootstrap import drift, install, plan
from edge_sdk.devices.bootstrap.layout import Layout, files, layout
from edge_sdk.devices.bootstrap.plan import Run
from edge_sdk.devices.diagnosis import installation
from edge_sdk.devices.local_remote import LocalRemote
from tests.edge_sdk.devices.bootstrap.conftest import facts

BOARD = facts("rpi4_bookworm")
PYTHON = "/usr/bin/python3.11"


@pytest.mark.parametrize("service", ["system", "user", "plain"])
def test_every_file_that_installing_writes_is_looked_at(service: str) -> None:
    """But for the note of the kind of service, which names itself."""
    where = layout(BOARD, service)
    written = {
        step.command[4]: step.stdin.decode()
        for step in plan.set_up(where, BOARD, PYTHON)
        if isinstance(step, Run) and step.what.startswith("write ")
    }
    assert written == files(where, PYTHON)
    sums = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in written.items())
    assert () == drift.differing(drift.wanted(where), sums)


def test_an_interpreter_in_a_home_is_no_difference() -> None:
    """Its unit is another one, and as much this version's."""
    where = layout(BOARD, "system")
    texts = files(where, "/home/pi/.pyenv/bin/python3")
    sums = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in texts.items())
    assert () == drift.differing(drift.wanted(where), sums)


def test_files_of_another_version(tmp_path: Path) -> None:
    """What is missing, and what was changed, is named; what is as it should be is not."""
    where = Layout(
        "user", *(str(tmp_path / name) for name in ("root", "state", "launcher", "unit")), None, "s"
    )
    for path, text in files(where, PYTHON).items():
        Path(path).write_text(text)
    remote = LocalRemote(tmp_path)
    assert () == drift.outdated(remote, where)
    (tmp_path / "unit").write_text("[Unit]\n")
    assert (str(tmp_path / "unit"),) == drift.outdated(remote, where)
    (tmp_path / "launcher").unlink()
    assert (str(tmp_path / "launcher"), str(tmp_path / "unit")) == drift.outdated(remote, where)


def test_what_doctor_says_of_them() -> None:
    """A warning that names the files and the command that writes them anew."""
    assert "ok" == installation((), "pi4").status
    check = installation(("/etc/systemd/system/edge-agent-worker.socket",), "pi4")
    assert ("warn", True) == (check.status, "edge-agent-worker.socket" in check.message)
    assert "`edge devices install pi4`" in check.next_step


def test_a_first_release_has_more_time_than_one_on_trial() -> None:
    """A slow card may need it, and nothing could serve meanwhile."""
    assert install.FIRST_TRIALS * install.TRIAL_S == install.patience_s(install.TRIAL_S, on_trial=False)
    assert install.TRIAL_S + install.MARGIN_S == install.patience_s(install.TRIAL_S, on_trial=True)
    assert install.patience_s(60, on_trial=False) > install.patience_s(60, on_trial=True)
