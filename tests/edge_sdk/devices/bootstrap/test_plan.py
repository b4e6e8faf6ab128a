"""Steps: facts in, commands out."""

from pathlib import Path

import pytest

from edge_sdk.devices.bootstrap import install, plan
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.bootstrap.layout import layout
from edge_sdk.devices.bootstrap.plan import Copy, Run
from edge_sdk.devices.bootstrap.probe import Facts, Installation, Python
from edge_sdk.devices.bootstrap.wheelhouse import Wheelhouse
from tests.edge_sdk.devices.bootstrap.conftest import facts

ARCHIVE = Archive(b"zip", "a" * 64, "0.1.0", (3, 10), ())
PYTHON = Python((3, 11, 2), 64, frozenset(), "/usr/bin/python3.11")
WHEELS = Wheelhouse(Path("/wheels"), {"numpy-2.whl": "b" * 64})
WANTED = plan.release(ARCHIVE, WHEELS, PYTHON)


def steps(device: Facts, service: str, existing: Installation | None, *, upgrade: bool = False) -> list[str]:
    """The steps as `user: command`, copies as `copy destination`."""
    where = layout(device, service)
    found = install._steps(device, where, WANTED, existing, trial_s=60, upgrade=upgrade)
    lines = []
    for step in found:
        if isinstance(step, Copy):
            lines.append(f"copy {step.destination}")
        else:
            words = [word for word in step.command if len(word) < 60]
            lines.append(f"{step.user or 'self'}: {' '.join(words)}")
    return lines


def test_the_id_follows_from_everything() -> None:
    """Another archive, wheel or Python is another release; the same ones are the same."""
    assert WANTED.id == plan.release(ARCHIVE, WHEELS, PYTHON).id
    assert WANTED.id.startswith("0.1.0-")
    other = Wheelhouse(Path("/wheels"), {"numpy-2.whl": "c" * 64})
    assert WANTED.id != plan.release(ARCHIVE, other, PYTHON).id


def test_a_first_installation_with_systemd() -> None:
    """Copied as the user, unpacked, written and started as root."""
    found = steps(facts("rpi4_bookworm"), "system", None)
    assert "copy /home/pi/.edge-agent-staging/wheels/numpy-2.whl" in found
    assert next(line for line in found if line.startswith("self")).startswith("self: sh -c")
    assert "root: mkdir -p -m 755 /opt/edge-agent" in found
    assert any(line.startswith("root: sh -c") and "/usr/local/bin/edge-agent" in line for line in found)
    assert "root: systemctl restart --no-block edge-agent.service" == found[-1]
    assert not any(line.startswith("edge-agent:") for line in found), (
        "there is nothing to try a release against"
    )


def test_an_upgrade_with_systemd() -> None:
    """The release goes on trial as the agent's own user, by the code that runs; nothing else is written."""
    existing = Installation("system", "/opt/edge-agent", "0.1.0-old", ("0.1.0-old",), ())
    found = steps(facts("rpi4_bookworm"), "system", existing, upgrade=True)
    (trial,) = [line for line in found if " release try " in line]
    assert trial.startswith(
        "edge-agent: /usr/bin/python3.11 -I /opt/edge-agent/releases/0.1.0-old/lib release"
    )
    assert trial.endswith(f"--id {WANTED.id} --seconds 60")
    assert not any("/usr/local/bin/edge-agent" in line or "edge-agent.service 644" in line for line in found)


def test_units_written_anew_count_without_a_restart() -> None:
    """systemd reads them again; where there is none, there is nothing to be read."""
    device = facts("rpi4_bookworm")
    (system,) = plan.reload(layout(device, "system"))
    assert isinstance(system, Run)
    assert ("root", ("systemctl", "daemon-reload")) == (system.user, system.command)
    (user,) = plan.reload(layout(device, "user"))
    assert isinstance(user, Run)
    assert (None, ("systemctl", "--user", "daemon-reload")) == (user.user, user.command)
    assert [] == plan.reload(layout(device, "plain"))


def test_what_is_there_is_not_sent_again() -> None:
    """A release that the device has is only started."""
    existing = Installation("plain", "/home/pi/.local/share/edge-agent", WANTED.id, (WANTED.id,), ())
    found = steps(facts("no_systemd"), "plain", existing)
    assert not any(line.startswith("copy") or " release " in line for line in found)


@pytest.mark.parametrize(
    ("case", "user", "expected"),
    [
        ("rpi4_bookworm", "root", ["sudo", "-n", "--", "id"]),
        ("rpi4_bookworm", "edge-agent", ["sudo", "-n", "-u", "edge-agent", "--", "id"]),
        ("rpi4_bookworm", None, ["id"]),
        ("rpi4_bookworm", "pi", ["id"]),
    ],
)
def test_who_runs_a_step(case: str, user: str | None, expected: list[str]) -> None:
    """sudo where it takes another user, and never a password prompt."""
    assert expected == list(install._as_user(Run("look", ("id",), user), facts(case)))


def test_removing_leaves_nothing_or_the_models() -> None:
    """Unit, launcher, root, state and user go; with keep_models, state and user stay."""
    device = facts("installed")
    where = layout(device, "system")
    (found,) = device.installed

    def commands(*, keep: bool) -> list[tuple[str, ...]]:
        return [step.command for step in plan.remove(where, found, keep_models=keep) if isinstance(step, Run)]

    every = commands(keep=False)
    assert {("rm", "-rf", "/opt/edge-agent"), ("rm", "-rf", "/var/lib/edge-agent")} <= {*every}
    assert ("userdel", "edge-agent") in every
    kept = commands(keep=True)
    assert ("rm", "-rf", "/var/lib/edge-agent") not in kept
    assert ("userdel", "edge-agent") not in kept
