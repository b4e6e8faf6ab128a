"""Adds a runtime that misbehaves on command to every Python that has this folder on PYTHONPATH.

Nothing in the product knows of it: Python itself imports a `sitecustomize` that it finds at its start.
"""

import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from device_agent import codec, runtimes
from device_agent.errors import WorkerFailed
from device_agent.runtimes.base import DEFAULT
from device_agent.runtimes.null import NullSession, _Model

TRIGGER = 254  # the first byte of an input that makes a model misbehave
RUNS = []  # one for each that was triggered


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def abort():
    os.abort()


def hang():
    while True:
        time.sleep(3600)


def spin():
    while True:
        pass


def memory():
    held = []
    while True:
        held.append(b"x" * (64 << 20))


def reserve():
    held = []
    while True:
        # asked for and not touched: refused at once however slow the machine
        held.append(mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def fork_bomb():
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def thread_bomb():
    while True:
        try:
            threading.Thread(target=spin, daemon=True).start()
        except RuntimeError:
            time.sleep(1)


def flood_stdout():
    while True:
        os.write(1, b"o" * 65536)


def flood_stderr():
    while True:
        os.write(2, b"e" * 65536)


def write_file():
    Path("/var/tmp/written-by-a-model").write_bytes(b"x")
    raise WorkerFailed("a file was written")


def open_socket():
    try:
        socket.create_connection(("127.0.0.1", 9), 1)
    except ConnectionRefusedError:
        raise WorkerFailed("the host's network was reached") from None


def talk_to_agent():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.environ["MISBEHAVE_AGENT_SOCKET"])
    raise WorkerFailed("the agent was reached")


def _frames():
    """The descriptor of the socket that frames go to."""
    for file in Path("/proc/self/fd").iterdir():
        try:
            if str(file.readlink()).startswith("socket:"):
                return int(file.name)
        except OSError:
            continue
    raise WorkerFailed("no socket")


def giant_answer():
    file = _frames()
    os.write(file, struct.pack("!II", 20, (1 << 32) - 1))
    while True:
        os.write(file, bytes(65536))


def garbage_answer():
    os.write(_frames(), os.urandom(4096))
    hang()


def last_words():
    sys.stderr.write("y" * 100_000 + "\nthese are the last words\n")
    sys.stderr.flush()
    segfault()


def kill_everyone():
    """Ends or stops whatever it can, its own keeper above all."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (os.getppid(), -1):
            try:
                os.kill(pid, number)
            except OSError:
                continue
    hang()


def nothing():
    """Does not misbehave."""


def segfault_later():
    """Not in the golden samples: only when it is measured."""
    RUNS.append(None)
    if len(RUNS) > 4:
        segfault()


def hang_later():
    """As `segfault_later`."""
    RUNS.append(None)
    if len(RUNS) > 4:
        hang()


def sleep():
    time.sleep(1.0)


class Session(NullSession):
    """The null function, unless the input begins with TRIGGER."""

    what = ""

    def invoke(self):
        first = next(iter(self._in_place.values())).data[:1]
        if first == bytes([TRIGGER]):
            globals()[self.what]()
        super().invoke()


class Misbehaving:
    name = "misbehaving"

    def version(self):
        return "1.0"

    def load(self, path, options=DEFAULT):
        asked = json.loads(path.read_bytes())
        if asked["load"]:
            globals()[asked["load"]]()
        model = codec.from_json(json.dumps(asked["model"]).encode(), _Model, where=path.name)
        session = Session(model.inputs, model.outputs)
        session.what = asked["infer"]
        return session


runtimes._RUNTIMES["misbehaving"] = Misbehaving()
