"""The launcher: which release it starts, whatever an attempt left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_sdk.devices.bootstrap import layout as layouts
from edge_sdk.devices.bootstrap.layout import Layout

# stand-ins for releases: each writes its name to a file and does one thing
QUICK = "import os, sys; print(os.environ['EDGE_AGENT_RELEASE'], *sys.argv[1:], flush=True)"
STAYS = QUICK + "\nimport time\nwhile True: time.sleep(0.05)"
FAILS = QUICK + "\nsys.exit(7)"


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    """A root with release `old`, current, and a state folder."""
    found = Layout(
        "plain", f"{tmp_path}/ro ot", f"{tmp_path}/state", f"{tmp_path}/edge-agent", None, None, ""
    )
    Path(found.state).mkdir()
    add(found, "old", QUICK)
    (Path(found.root) / "current").symlink_to("releases/old")
    launcher = Path(found.launcher)
    launcher.write_text(layouts.launcher(found))
    launcher.chmod(0o755)
    return found


def add(where: Layout, name: str, code: str) -> None:
    lib = Path(where.root) / "releases" / name / "lib"
    lib.mkdir(parents=True)
    (lib / "__main__.py").write_text(code)
    (lib.parent / "python").write_text(sys.executable + "\n")


def trial(where: Layout, text: str, *, begun: bool = False) -> Path:
    path = Path(where.state) / "trial"
    path.write_text(text)
    if begun:
        path.with_name("trial.begun").touch()
    return path


def serve(where: Layout) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [where.launcher, "serve", "a b"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def started(where: Layout) -> list[str]:
    """The releases that a run of `serve` started, in order."""
    with serve(where) as process:
        out, _ = process.communicate(timeout=60)
    assert ["serve a b"] * len(out.splitlines()) == [line.partition(" ")[2] for line in out.splitlines()]
    return [line.partition(" ")[0] for line in out.splitlines()]


def left(where: Layout) -> list[str]:
    return sorted(path.name for path in Path(where.state).iterdir())


def test_the_current_release(where: Layout) -> None:
    """Without a trial it becomes the current release, its arguments unchanged."""
    assert ["old"] == started(where)


def test_a_trial_that_ends_early(where: Layout) -> None:
    """The new release is started once, and the one before it in its place."""
    add(where, "new", FAILS)
    trial(where, "new 60\n")
    assert ["new", "old"] == started(where)
    assert [] == left(where)
    assert ["old"] == started(where)


def test_a_trial_that_is_not_confirmed_in_time(where: Layout) -> None:
    """When its seconds have passed it is ended."""
    add(where, "new", STAYS)
    trial(where, "new 1\n")
    assert ["new", "old"] == started(where)
    assert [] == left(where)


@pytest.mark.parametrize(
    "text", ["new 60\n", "gone 60\n", "../old 60\n", "", "\n", ".old 60\n"], ids=range(6)
)
def test_a_trial_that_was_begun_or_makes_no_sense(where: Layout, text: str) -> None:
    """After a power cut in a trial, or with a file that names no release, the current one is started."""
    add(where, "new", STAYS)
    trial(where, text, begun=text == "new 60\n")
    assert ["old"] == started(where)
    assert [] == left(where)


def test_a_confirmed_trial_stays(where: Layout) -> None:
    """Once the trial is settled, the new release runs for as long as it likes, past its seconds."""
    add(where, "new", STAYS)
    path = trial(where, "new 2\n")
    with serve(where) as process:
        assert process.stdout is not None
        assert "new serve a b\n" == process.stdout.readline()
        path.unlink()
        time.sleep(4)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert "" == out


def test_being_ended_in_a_trial(where: Layout) -> None:
    """A stop ends the release on trial and starts nothing; the next start goes back."""
    add(where, "new", STAYS)
    trial(where, "new 60\n")
    with serve(where) as process:
        assert process.stdout is not None
        assert "new serve a b\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert "" == out
    assert ["trial", "trial.begun"] == left(where)
    assert ["old"] == started(where)
