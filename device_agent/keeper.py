"""The keeper: the small process above a worker that ends all of it when the agent lets go of it.

Its stdin is a connection to the agent: made by systemd for a unit of its own, or by the agent itself.

    agent -> keeper   one line of JSON, an `Order`, with the descriptors of frames, stderr, model file, the
                      model's other files and, where there is one, the file that keeps what was compiled
    keeper -> agent   one line of JSON, an `Ending`, when the worker has ended and nothing of it is left

The end of the connection ends the worker, and with it whatever it started.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, evolve, frozen

from device_agent import codec, confine, tree, worker_main
from device_agent.bundle import MAX_FILES
from device_agent.limits import Limits
from device_agent.worker_main import Material

MAX_ORDER_BYTES = 1 << 16
ORDER_FILES = 3  # at least: frames, stderr, model
WATCH_S = 0.05  # how often tasks are counted where the kernel does not limit them
FEED_S = 5.0  # how often systemd hears from a keeper: a worker might have stopped it
TOO_MANY_TASKS, OUT_OF_MEMORY = "tasks", "memory"
POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)


@frozen
class Order:
    """How a worker is to be kept.

    `unit`: systemd does the containing. `hide`: folders it shall not see, where that can be had. `files`:
    the titles of the model's other files, in the order of their descriptors. `cache_bytes`: to how many the
    file may come that keeps what was compiled, whose descriptor is the last; None where there is none.
    """

    limits: Limits
    unit: bool
    hide: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    cache_bytes: int | None = None


@frozen
class Ending:
    """How a worker ended: exit status, or a signal's number below zero; `limit`: one that it broke."""

    status: int
    limit: str | None = None


@define
class _Worker:
    pid: int
    count_up_to: int | None  # tasks, where the keeper must count them
    limit: str | None = None


def main() -> None:
    """Keep one worker; ends with it."""
    _feed()  # a starved machine has taken its time to come here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is the agent's to handle
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    order, files = _receive(control)
    frames_file, stderr_file, *model_files = files
    os.dup2(stderr_file, 2)
    os.dup2(2, 1)
    os.close(stderr_file)
    gaps: tuple[str, ...] = ()
    alone = False
    # RLIMIT_NPROC does not hold for root, and without systemd there is no control group
    counts = order.limits.worker_tasks if not order.unit and os.getuid() == 0 else None
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if counts is not None:
        with suppress(PermissionError):  # to get a turn among the processes of a worker that makes too many
            os.setpriority(os.PRIO_PROCESS, 0, niceness - 10)
    if not order.unit:
        _go_first()  # now: /proc is read only from here on
        alone, gaps = confine.separate(order.hide)
        gaps = (*gaps, "no memory control group")
    confine.adopt_orphans()
    child = os.fork()
    if not child:
        control.close()
        if counts is not None:  # a unit's system call filter refuses it
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        _work(order, frames_file, model_files, gaps)
    for file in (frames_file, *model_files):
        os.close(file)
    ending = _tend(control, _Worker(child, counts))
    if not alone:
        tree.end(os.getpid())
    control.sendall(codec.dumps(ending).encode() + b"\n")
    control.close()
    os._exit(0)  # nothing to tidy: the first process of a namespace takes all others with it


def _receive(control: socket.socket) -> tuple[Order, list[int]]:
    """The agent's order and its descriptors; SystemExit where it left without one."""
    text, files = b"", []
    while not text.endswith(b"\n"):
        chunk, came, _, _ = socket.recv_fds(control, MAX_ORDER_BYTES, ORDER_FILES + MAX_FILES + 1)
        if not chunk:
            raise SystemExit(0)
        text += chunk
        files += came
    order = codec.from_json(text, Order, where="the agent's order")
    if len(files) != ORDER_FILES + len(order.files) + (order.cache_bytes is not None):
        raise SystemExit(2)
    return order, files


def _work(order: Order, frames_file: int, model_files: Sequence[int], gaps: tuple[str, ...]) -> None:
    """Become the worker."""
    confine.die_with_parent()
    os.setsid()
    if order.unit:
        _go_first()
    pid = tree.own_pid()
    for file in model_files:
        os.set_inheritable(file, False)
    if not order.unit:
        confine.limit_tasks(order.limits)
    limits = order.limits
    file_bytes = max(limits.worker_file_bytes, order.cache_bytes or 0)
    confine.give_up(evolve(limits, worker_file_bytes=file_bytes), memory=not order.unit)
    status = 1
    try:
        worker_main.run(socket.socket(fileno=frames_file), _material(order, model_files), pid, gaps)
        status = 0
    finally:
        os._exit(status)  # not to unwind into the keeper's part


def _material(order: Order, files: Sequence[int]) -> Material:
    """The model's files, by the names that this process can open them under."""
    model, *others = (Path(f"/proc/self/fd/{file}") for file in files)
    cache = others.pop() if order.cache_bytes is not None else None
    return Material(model, dict(zip(order.files, others, strict=True)), cache)


def _go_first() -> None:
    """Be the first to be ended where memory runs out: before the agent, and a worker before its keeper."""
    Path("/proc/self/oom_score_adj").write_text("1000")


def _tend(control: socket.socket, worker: _Worker) -> Ending:
    """Wait for the worker's end, or bring it about when the agent lets go or a limit is broken."""
    end_of_child = os.pidfd_open(worker.pid)
    poll = select.poll()
    poll.register(control, POLLRDHUP | select.POLLHUP)
    poll.register(end_of_child, select.POLLIN)
    step_s = WATCH_S if worker.count_up_to is not None else FEED_S if "NOTIFY_SOCKET" in os.environ else None
    began_with = _memory_kills()
    own = tree.own_pid()
    fed = time.monotonic()
    _feed()
    while not (ready := poll.poll(None if step_s is None else step_s * 1000)):
        most = worker.count_up_to
        if most is not None and tree.tasks(own, most) >= most:
            worker.limit = TOO_MANY_TASKS
            break
        if time.monotonic() - fed >= FEED_S:
            fed = time.monotonic()
            _feed()
    if not any(file == end_of_child for file, _ in ready):
        os.kill(worker.pid, signal.SIGKILL)
    _, status = os.waitpid(worker.pid, 0)
    limit = worker.limit or (OUT_OF_MEMORY if _memory_kills() > began_with else None)
    return Ending(os.waitstatus_to_exitcode(status), limit)


def _memory_kills() -> int:
    """How often our control group lost a process for want of memory; 0 where nobody counts."""
    try:
        line = next(
            row for row in Path("/proc/self/cgroup").read_text().splitlines() if row.startswith("0::")
        )
        events = Path("/sys/fs/cgroup" + line.removeprefix("0::") + "/memory.events").read_text()
    except (OSError, StopIteration):
        return 0
    rows = dict(row.split(" ", 1) for row in events.splitlines())
    return int(rows.get("oom_kill", "0"))


def _feed() -> None:
    """Tell systemd, where it asks, that this keeper lives."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    # where it cannot be told, systemd draws its own conclusions
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"WATCHDOG=1", name)


if __name__ == "__main__":
    main()
