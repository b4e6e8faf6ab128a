"""An agent installed on this machine in a home of its own: the whole life of an installation."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from device_agent.errors import ActivationFailed, DeviceError, InvalidRequest
from edge_sdk.devices.bootstrap import install as bootstrap
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.bootstrap.install import Outcome
from edge_sdk.devices.device import Device
from edge_sdk.devices.local_remote import LocalRemote
from edge_sdk.devices.transports.local import LocalTransport
from targets.schema import load_target
from tests.edge_sdk.conftest import MakeBundle
from tests.edge_sdk.devices.bootstrap.conftest import Patch, processes, silent, tree

pytestmark = pytest.mark.slow

NULL = load_target("null")
TRIAL_S = 20


def install(home: Path, archive: Archive, *, upgrade: bool = False, trial_s: int = TRIAL_S) -> Outcome:
    """Install with the plain supervisor, which every machine has."""
    return bootstrap.install(
        LocalRemote(home),
        NULL,
        service="plain",
        archive=archive,
        upgrade=upgrade,
        trial_s=trial_s,
        progress=silent,
    )


def uninstall(home: Path, *, keep_models: bool = False) -> Outcome:
    return bootstrap.uninstall(LocalRemote(home), keep_models=keep_models, progress=silent)


def device(home: Path) -> Device:
    return Device("local", NULL, LocalTransport(home / ".local/state/edge-agent"))


def release_that_answers(home: Path) -> str | None:
    with device(home) as found:
        return found.describe().release


def releases(home: Path) -> set[str]:
    return {path.name for path in (home / ".local/share/edge-agent/releases").iterdir()}


def gone(home: Path) -> bool:
    """Whether every process of the installation ends; the shell's own `sleep 1` may be in its last second."""
    deadline = time.monotonic() + 20
    while processes(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes(home)


def test_the_whole_life(home: Path, archive: Archive, patched: Patch, make_bundle: MakeBundle) -> None:
    """Install, deploy, a broken upgrade that reverts, a good one, a second run of each, uninstall."""
    (home / ".local").mkdir()
    (home / ".local" / "mine").write_text("not yours")
    before = tree(home)

    first = install(home, archive)
    assert ("installed", "plain", None) == (first.action, first.service, first.previous)
    assert first.agent is not None
    assert first.release == first.agent.release == release_that_answers(home)
    assert "unchanged" == install(home, archive).action
    with device(home) as found:
        assert "COMMITTED" == found.deploy(make_bundle()).deployed.status.state

    broken = patched("device_agent/server.py", "raise SystemExit(3)\n")
    with pytest.raises(ActivationFailed, match=r"did not prove itself \(status 3\)"):
        install(home, broken, upgrade=True)
    assert first.release == release_that_answers(home)
    assert {first.release} == releases(home)

    second = install(home, patched("device_agent/note.txt", "second"), upgrade=True)
    assert ("upgraded", first.release, ()) == (second.action, second.previous, second.outdated)
    assert second.release == release_that_answers(home)
    assert {first.release, second.release} == releases(home)
    supervise = home / ".local/share/edge-agent/supervise"
    supervise.write_text(supervise.read_text() + "# of another version\n")
    third = install(home, patched("device_agent/note.txt", "third"), upgrade=True)
    assert (str(supervise),) == third.outdated
    assert {second.release, third.release} == releases(home)
    with device(home) as found:
        assert ["toy"] == [one.name for one in found.deployments()]

    removed = uninstall(home)
    assert "removed" == removed.action
    assert gone(home)
    assert before == tree(home)
    assert "nothing" == uninstall(home).action


def test_a_release_that_hangs_is_ended(home: Path, archive: Archive, patched: Patch) -> None:
    """A new release that neither ends nor answers has its time, and no more."""
    first = install(home, archive)
    hanging = patched("device_agent/server.py", "import time\ntime.sleep(1000)\n")
    with pytest.raises(ActivationFailed, match="back to the one before"):
        install(home, hanging, upgrade=True, trial_s=2)
    assert first.release == release_that_answers(home)
    uninstall(home)
    assert gone(home)


def test_a_first_release_that_does_not_start_leaves_nothing(home: Path, patched: Patch) -> None:
    """An installation that does not answer is removed again, and its last words are in the error."""
    before = tree(home)
    with pytest.raises(DeviceError, match=r"does not answer.*no such luck"):
        install(home, patched("device_agent/server.py", "raise SystemExit('no such luck')\n"), trial_s=1)
    assert gone(home)
    assert before == tree(home)


def test_a_first_release_that_does_not_start_leaves_what_was_kept(
    home: Path, archive: Archive, patched: Patch, make_bundle: MakeBundle
) -> None:
    """Models kept from an earlier installation survive a later one that fails."""
    install(home, archive)
    with device(home) as found:
        found.deploy(make_bundle())
    uninstall(home, keep_models=True)
    with pytest.raises(DeviceError, match="does not answer"):
        install(home, patched("device_agent/server.py", "raise SystemExit(3)\n"), trial_s=1)
    assert gone(home)
    install(home, archive)
    with device(home) as found:
        assert ["toy"] == [one.name for one in found.deployments()]
    uninstall(home)
    assert gone(home)


def test_models_can_be_kept(home: Path, archive: Archive, make_bundle: MakeBundle) -> None:
    """What was deployed is there for the next installation, or for an uninstallation that keeps nothing."""
    before = tree(home)
    install(home, archive)
    with device(home) as found:
        found.deploy(make_bundle())
    uninstall(home, keep_models=True)
    assert gone(home)
    install(home, archive)
    with device(home) as found:
        assert ["toy"] == [one.name for one in found.deployments()]
    uninstall(home, keep_models=True)
    assert "removed" == uninstall(home).action
    assert gone(home)
    assert before == tree(home)
    assert "nothing" == uninstall(home).action


def test_an_agent_on_demand_is_not_removed(home: Path) -> None:
    """The state of an agent that no installation made stays, whatever is uninstalled."""
    (home / ".local/state/edge-agent/blobs").mkdir(parents=True)
    before = tree(home)
    assert "nothing" == uninstall(home).action
    assert before == tree(home)


def test_a_killed_agent_comes_back(home: Path, archive: Archive) -> None:
    """The supervisor starts it again, and `connect` starts a supervisor that is gone."""
    first = install(home, archive)
    assert first.agent is not None
    os.kill(first.agent.pid, 9)
    deadline = time.monotonic() + 30
    while (found := _status(home)) is None or found["pid"] == first.agent.pid:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for pid in processes(home):
        os.kill(pid, 9)
    assert _status(home) is None
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    subprocess.run([home / ".local/bin/edge-agent", "connect"], input=b"", env=environment, check=True)
    assert _status(home) is not None
    uninstall(home)
    assert gone(home)


def _status(home: Path) -> dict[str, int] | None:
    done = subprocess.run([home / ".local/bin/edge-agent", "status"], capture_output=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else None


def test_a_dry_run_does_nothing(home: Path, archive: Archive) -> None:
    """It says what would be done."""
    outcome = bootstrap.install(
        LocalRemote(home), NULL, service="plain", archive=archive, dry_run=True, progress=silent
    )
    assert "planned" == outcome.action
    assert {"copy the agent", "write the launcher", "start the agent"} <= {*outcome.steps}
    assert [] == list(home.iterdir())


def test_what_cannot_be_done(home: Path, archive: Archive) -> None:
    """Nothing to upgrade; another kind of service than the one that is there."""
    with pytest.raises(DeviceError, match="no agent is installed"):
        install(home, archive, upgrade=True)
    install(home, archive)
    with pytest.raises(InvalidRequest, match="another kind of service"):
        bootstrap.install(LocalRemote(home), NULL, service="user", archive=archive, progress=silent)
    uninstall(home)


def test_a_corrupt_copy_is_refused(home: Path, archive: Archive) -> None:
    """A file that arrives other than it was sent never becomes a release."""

    class Corrupting(LocalRemote):
        def put(self, source: Path, destination: str, **more: object) -> None:
            super().put(source, destination, **more)  # type: ignore[arg-type] # the very arguments it got
            if destination.endswith("edge-agent.pyz"):
                with (self.home / destination).open("ab") as file:
                    file.write(b"\0")

    with pytest.raises(DeviceError, match=r"not the one sent"):
        bootstrap.install(
            Corrupting(home), NULL, service="plain", archive=archive, trial_s=1, progress=silent
        )
    assert {} == tree(home)
