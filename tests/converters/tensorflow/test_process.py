"""The TensorFlow process from outside: it ends, crashes, hangs and idles without harm."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converters.tensorflow import process
from converters.tensorflow.process import TensorFlow, last_words
from device_agent.errors import InvalidModel, MissingDependency


@pytest.fixture
def made(keras_samples) -> Iterator[Callable[..., TensorFlow]]:
    """Makes TensorFlow processes that end with the test."""
    started: list[TensorFlow] = []

    def make(**options: float) -> TensorFlow:
        started.append(TensorFlow(**options))
        return started[-1]

    yield make
    for each in started:
        each.stop()


def ask(tensorflow: TensorFlow, path: Path) -> None:
    head = {"kind": "convert", "format": "keras", "path": str(path), "sha256": "", "batch": 1, "shapes": []}
    empty = b"\x02\0\0\0\0\0\0\0{}"
    tensorflow.ask(head, empty, about=str(path))


def once_started(tensorflow: TensorFlow, act: Callable[[int], None]) -> threading.Thread:
    """Calls `act` with the child's process id as soon as there is one."""

    def wait() -> None:
        while (pid := tensorflow.pid) is None:
            pass
        act(pid)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_crash(made, keras_samples):
    """A crash is an InvalidModel that names the file and the signal; the next question starts anew."""
    tensorflow = made()
    thread = once_started(tensorflow, lambda pid: os.kill(pid, signal.SIGABRT))
    with pytest.raises(InvalidModel, match=r"small\.keras: TensorFlow crashed.*SIGABRT"):
        ask(tensorflow, keras_samples / "small.keras")
    thread.join()
    with pytest.raises(InvalidModel, match="weights alone"):
        ask(tensorflow, keras_samples / "alone.weights.h5")


def test_a_hang(made, keras_samples):
    """No answer in time is an InvalidModel, and the child is dead."""
    tensorflow = made(answer_s=0.5)
    pids: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)

    thread = once_started(tensorflow, stop)
    with pytest.raises(InvalidModel, match=r"small\.keras: TensorFlow did not answer.*0\.5 s"):
        ask(tensorflow, keras_samples / "small.keras")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_ctrl_c(made, keras_samples):
    """Ctrl-C while it works ends the child."""
    tensorflow = made()
    pids: list[int] = []

    def interrupt(pid: int) -> None:
        pids.append(pid)
        os.kill(os.getpid(), signal.SIGINT)

    thread = once_started(tensorflow, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask(tensorflow, keras_samples / "small.keras")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_idle(made, keras_samples):
    """A child that nobody asks ends by itself; the next question starts another."""
    tensorflow = made(idle_s=0.1)
    pids = []
    for _ in range(2):
        with pytest.raises(InvalidModel, match="weights alone"):
            ask(tensorflow, keras_samples / "alone.weights.h5")
        pids.append(tensorflow.pid)
        os.waitid(os.P_PID, pids[-1], os.WEXITED | os.WNOWAIT)
    assert pids[0] != pids[1]


def test_the_asker_is_gone(made, keras_samples):
    """A child whose asker is gone ends, whatever it was doing."""
    tensorflow = made()
    with pytest.raises(InvalidModel, match="weights alone"):
        ask(tensorflow, keras_samples / "alone.weights.h5")
    tensorflow._running.process.stdin.close()
    assert 0 == tensorflow._running.process.wait(timeout=60)


def test_missing(monkeypatch, keras_samples):
    """Without TensorFlow the error names the extra, and nothing is started."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    tensorflow = TensorFlow()
    with pytest.raises(MissingDependency, match=r"pip install 'edge-deployment-sdk\[keras\]'"):
        ask(tensorflow, keras_samples / "small.keras")
    assert tensorflow.pid is None


def test_environment():
    """The child has no GPU, Keras on TensorFlow, and nothing of the user's settings of either."""
    own = {"KERAS_BACKEND": "torch", "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": "/mine", "HOME": "/home/me"}
    child = process._environment(own, "/tmp/x")
    assert ("tensorflow", "-1", "/tmp/x") == (
        child["KERAS_BACKEND"],
        child["CUDA_VISIBLE_DEVICES"],
        child["KERAS_HOME"],
    )
    assert "TF_USE_LEGACY_KERAS" not in child
    assert "/mine" in child["PYTHONPATH"].split(os.pathsep)
    assert "/home/me" == child["HOME"]


@pytest.mark.parametrize(
    ("chatter", "said"),
    [
        ("", []),
        (
            "starting\nF0000 00:00 x.cc:3] Check failed: a == b\nmore\n",
            ["F0000 00:00 x.cc:3] Check failed: a == b"],
        ),
        ("one\ntwo  words\n", ["two words"]),
        ("Traceback\nMemoryError: no\nbye", ["MemoryError: no"]),
    ],
)
def test_last_words(chatter, said):
    """Of what a dead process said, the line that tells why."""
    assert said == last_words(chatter)
