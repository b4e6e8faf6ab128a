"""The agent's command in a process that is forked from this one: all its code, without Python's start."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from device_agent import releases, server  # noqa: F401 - imported once, here
from device_agent.main import main
from tests.device_agent.harness import Client


@define
class Process:
    """A forked process that runs the agent's command."""

    pid: int
    log: Path
    _go: int
    _status: int | None = field(default=None)

    def go(self) -> None:
        """Let it begin."""
        os.write(self._go, b"+")

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status; negative: the signal that ended it."""
        deadline = time.monotonic() + timeout_s
        while not self.ended:
            if time.monotonic() > deadline:
                raise AssertionError(f"process {self.pid} does not end:\n{self.log.read_text()[-500:]}")
            time.sleep(0.002)
        return self._status or 0

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None


@contextmanager
def forked(arguments: list[str], log: Path) -> Iterator[Process]:
    """The command with these arguments, once `go` is called; it is dead when the context ends."""
    log.write_text("")
    begin, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(go)
            _become(arguments, log, begin)
            status = 0
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else 1
        finally:
            os._exit(status)
    os.close(begin)
    process = Process(pid, log, go)
    try:
        yield process
    finally:
        os.close(go)
        if not process.ended:
            os.kill(pid, signal.SIGKILL)
            process.wait()


def _become(arguments: list[str], log: Path, begin: int) -> None:
    descriptor = os.open(log, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - pytest may have replaced it
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - as above
    if os.read(begin, 1):
        main(arguments)


@contextmanager
def agent(state: Path) -> Iterator[tuple[Process, Client]]:
    """A forked agent that answers."""
    with forked(["serve", "--state-dir", str(state)], state.with_suffix(".log")) as process:
        process.go()
        yield process, answering(process, state)


def answering(process: Process, state: Path) -> Client:
    """A client of an agent, as soon as it answers."""
    client = Client(state / "agent.sock")
    deadline = time.monotonic() + 60
    while True:
        try:
            client.json("GET", "/edge/v1/agent")
        except OSError:
            if process.ended or time.monotonic() > deadline:
                raise AssertionError(f"the agent did not start:\n{process.log.read_text()[-500:]}") from None
            time.sleep(0.002)
        else:
            return client
