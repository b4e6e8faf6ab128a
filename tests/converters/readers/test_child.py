"""A child process: what it answers, and what becomes of it when it dies, hangs or is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from converters.readers import child
from converters.readers.child import Child
from device_agent.errors import FileMissing, InvalidModel, InvalidRequest, MissingDependency

MODULE = "tests.converters.readers.obedient"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def obedient():
    with Child(MODULE, "Obedience") as process:
        yield process


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _ask(process: Child, kind: str, payload: bytes = b"", seconds: float = 60.0):
    return process.ask({"kind": kind}, payload, where="net.pt2", seconds=seconds)


def test_arrays_there_and_back(obedient):
    """Arrays keep their bits, dtypes and shapes, those without axes or elements too."""
    arrays = {
        "a": np.arange(6, dtype=np.int64).reshape(2, 3),
        "b": np.array(True),
        "c": np.zeros((0, 2), np.float16),
    }
    got = child.unpack(_ask(obedient, "echo", child.pack(arrays)).payload)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, got[name], strict=True)


def test_prints_are_no_answers(obedient):
    """What a framework prints, below Python too, does not get among the answers."""
    assert "printed" == _ask(obedient, "print").kind


def test_an_error_keeps_its_class(obedient):
    """An EdgeError of the child is raised here as what it is; any other, what the child makes of it."""
    with pytest.raises(InvalidRequest, match="not like this"):
        _ask(obedient, "refuse")
    with pytest.raises(InvalidModel, match="ZeroDivisionError"):
        _ask(obedient, "fail")
    assert "printed" == _ask(obedient, "print").kind  # it goes on after both


def test_death(obedient):
    """A child that dies is an InvalidModel with the signal and its last words; so is every later request."""
    with pytest.raises(InvalidModel, match="SIGSEGV; last words") as caught:
        _ask(obedient, "crash")
    assert "net.pt2" == caught.value.where
    with pytest.raises(InvalidModel, match="died"):
        _ask(obedient, "print")


def test_hang(obedient):
    """A child that does not answer in time is killed, and that is an InvalidModel."""
    pid = int(_ask(obedient, "pid").head["pid"])
    with pytest.raises(InvalidModel, match=r"did not finish within 0\.2 s"):
        _ask(obedient, "hang", seconds=0.2)
    assert not _alive(pid)


def test_the_last_reference_ends_it():
    """A child that nobody can ask any more is ended, without a warning."""
    process = Child(MODULE, "Obedience")
    pid = int(_ask(process, "pid").head["pid"])
    del process
    assert not _alive(pid)


def test_ctrl_c():
    """Ctrl-C while a child computes ends both, and the child does not see the signal."""
    code = (
        "import sys\n"
        "from converters.readers.child import Child\n"
        f"process = Child({MODULE!r}, 'Obedience')\n"
        "try:\n"
        "    print(process.ask({'kind': 'pid'}, where='', seconds=60).head['pid'], flush=True)\n"
        "    process.ask({'kind': 'hang'}, where='', seconds=60)\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as parent:
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        assert 7 == parent.wait(60)
    assert not _alive(pid)


def test_a_killed_parent():
    """A child that computes ends with the process that asked it, even when that is killed."""
    code = (
        "from converters.readers.child import Child\n"
        f"process = Child({MODULE!r}, 'Obedience')\n"
        "print(process.ask({'kind': 'pid'}, where='', seconds=60).head['pid'], flush=True)\n"
        "process.ask({'kind': 'hang'}, where='', seconds=60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while _alive(pid) and not _defunct(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _defunct(pid: int) -> bool:
    """Whether it has ended and waits for whoever inherited it."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_digest(tmp_path):
    """The digest of several files is that of their bytes one after the other."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    expected = "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"
    assert (expected, 2) == child.digest(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileMissing):
        child.digest(tmp_path / "c")


def test_a_missing_package():
    """A package that is not installed is named, with what installs it."""
    with pytest.raises(MissingDependency, match=r"pip install 'edge-deployment-sdk\[torch\]'"):
        child.require("json", "a_package_that_nobody_has", extra="torch")
