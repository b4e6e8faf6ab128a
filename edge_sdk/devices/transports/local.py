"""The agent of this user on this machine, started on demand."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from device_agent import home
from device_agent.errors import AgentUnreachable, DeviceError, EdgeError
from device_agent.protocol import AgentInfo
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.connection import AgentConnection, Lease

START_TIMEOUT_S = 20.0
LINGER_S = 1.5  # an agent without leases has closed its socket well before
END_TIMEOUT_S = 5.0  # and has ended before this
STARTS = 3  # one may find the lock taken by an agent that is just ending
POLL_S = 0.01
LOG_BYTES = 1 << 20  # past this a new log is begun and the old one kept beside it


class LocalTransport:
    """Reaches the agent whose state is in `state_dir`; see `Transport`.

    Args:
        state_dir: the user's own state folder if None.
        address: what to call it in messages.
    """

    def __init__(self, state_dir: Path | None = None, *, address: str = "local") -> None:
        self.address = address
        self.state_dir = (state_dir or home.default_state_dir()).absolute()
        self._lease: Lease | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where an agent that was started here writes."""
        return self.state_dir / "agent.log"

    def open(self) -> None:
        """Use the agent that answers, or start one; several hosts may do so at once."""
        deadline = time.monotonic() + START_TIMEOUT_S
        starts = 0
        log_from = 0
        while True:
            try:
                self._take_lease()
                return
            except AgentUnreachable as e:
                alive = self._process is not None and self._process.poll() is None
                if time.monotonic() > deadline or (not alive and starts == STARTS):
                    self._end_process()
                    raise self._no_start(log_from) from e
            if not alive:
                log_from = self._start_agent()
                starts += 1
            time.sleep(POLL_S)

    def dial(self) -> socket.socket:
        """A new connection to the agent's Unix socket."""
        path = home.socket_path(self.state_dir)
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(os.fsencode(path))
        except OSError as e:
            stream.close()
            raise AgentUnreachable(
                "no agent answers",
                where=self.address,
                got=f"{os.strerror(e.errno or 0)} at {path}",
                next_step="`edge agent start` starts one that stays.",
            ) from e
        return stream

    def close(self) -> None:
        """Give the lease up, and wait until an on-demand agent that no other host uses has ended."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        try:
            info = self._describe()  # asked now: it may have become a lasting agent since
        except DeviceError:
            info = None  # it has died
        lease.release()
        if info is not None and info.on_demand:
            self._await_end(info.pid)

    def _await_end(self, pid: int) -> None:
        """Wait until the agent has ended; one that still answers after a while is held by another host."""
        begin = time.monotonic()
        while not ended(pid):
            waited = time.monotonic() - begin
            if waited > END_TIMEOUT_S or (
                waited > LINGER_S and home.answers(home.socket_path(self.state_dir))
            ):
                return
            time.sleep(POLL_S)

    def _take_lease(self) -> None:
        lease = Lease(AgentConnection(self.dial), self.address)
        try:
            self._describe()
        except EdgeError:
            lease.release()
            raise
        self._lease = lease

    def _describe(self) -> AgentInfo:
        client = AgentClient(self)
        try:
            return client.agent()
        finally:
            client.close()

    def _start_agent(self) -> int:
        """Start an agent; the length of the log before its first line."""
        home.make_private(self.state_dir)
        serve = ["serve", "--on-demand", "--state-dir", str(self.state_dir)]
        try:
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))
            with self.log.open("ab") as log:
                before = log.tell()
                # -P and cwd: a folder called device_agent where the user happens to be is not our agent
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "device_agent", *serve],
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the host; the agent ends when its lease does
                )
        except OSError as e:
            raise AgentUnreachable("cannot start an agent", where=self.address, got=str(e)) from e
        # collects the exit status whenever it ends, also long after `close`
        threading.Thread(target=self._process.wait, daemon=True).start()
        return before

    def _end_process(self) -> None:
        """Wait for the agent started here, and end it where it does not end by itself."""
        if self._process is None:
            return
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()

    def _no_start(self, log_from: int) -> DeviceError:
        try:
            with self.log.open("rb") as log:
                log.seek(log_from)
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return AgentUnreachable(
            "the agent did not start",
            where=self.address,
            got="; ".join(lines[-3:]) or "nothing in its log",
            next_step=f"Its log is {self.log}; `edge doctor` checks what it needs.",
        )


def ended(pid: int) -> bool:
    """Whether a process has ended, also one whose parent has not collected it yet."""
    try:
        os.kill(pid, 0)
        # the state is the first field after the name, which is in brackets: proc_pid_stat(5)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except ProcessLookupError:
        return True
    except FileNotFoundError:
        return Path("/proc/self").exists()  # it ended just now; without /proc the signal alone decides
