"""A child that does what it is asked: answers, prints, fails, dies, hangs."""

import os
import signal
import sys
import threading

from converters.readers import child
from device_agent.errors import InvalidModel, InvalidRequest
from device_agent.frames import Frame


def _print(_: Frame) -> Frame:
    print("by Python")
    os.write(1, b"below it")
    return Frame({"kind": "printed"})


def _refuse(_: Frame) -> Frame:
    raise InvalidRequest("not like this")


def _fail(_: Frame) -> Frame:
    return Frame({"kind": str(1 / 0)})


def _crash(_: Frame) -> Frame:
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return Frame({})


def _hang(_: Frame) -> Frame:
    threading.Event().wait()
    return Frame({})


if __name__ == "__main__":
    handlers = {
        "echo": lambda frame: Frame({"kind": "echoed"}, frame.payload),
        "pid": lambda _: Frame({"kind": "pid", "pid": os.getpid()}),
        "print": _print,
        "refuse": _refuse,
        "fail": _fail,
        "crash": _crash,
        "hang": _hang,
    }
    child.serve(handlers, lambda frame, e: InvalidModel(f"{frame.kind} failed", got=type(e).__name__))
