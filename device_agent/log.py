"""The agent's log: one JSON object a line on stderr, for journald, and the newest kept in memory.

Nothing is written to the device's disk by the agent itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from attrs import define, field

LEVELS = ("debug", "info", "warning", "error")
MAX_LINES = 1000
MAX_LINE_BYTES = 8192
MAX_KEPT_BYTES = 1 << 20
_logger = logging.getLogger("edge-agent")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class _JsonLines(logging.Formatter):
    """A record as one line: when, how grave, what, for which request, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        line = _row(record)
        text = json.dumps(line, default=str)
        if len(text) > MAX_LINE_BYTES:  # its longest values go, not the line
            line = {key: str(value)[: MAX_LINE_BYTES // 8] for key, value in list(line.items())[:8]}
            text = json.dumps(line)
        return text


def _row(record: logging.LogRecord) -> dict[str, Any]:
    milliseconds = int(record.msecs)
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{milliseconds:03}Z",
        "level": record.levelname.lower(),
        "event": record.getMessage(),
        **getattr(record, "fields", {}),
    }
    asked = request_id.get()
    if asked is not None:
        line["request_id"] = asked
    if record.exc_info:
        line["traceback"] = _FORMATTER.formatException(record.exc_info)
    return line


_FORMATTER = _JsonLines()


@define
class Ring:
    """The newest lines, by number; bounded in lines and in bytes. Used from the event loop's thread, but for
    `add`.
    """

    lines: deque[tuple[int, int, str]] = field(factory=deque)  # number, level, text
    added: int = 0
    _bytes: int = 0
    _waiting: set[asyncio.Event] = field(factory=set)
    _loop: asyncio.AbstractEventLoop | None = None

    def add(self, level: int, text: str) -> None:
        """Keep a line; from any thread."""
        self.added += 1
        self._bytes += len(text)
        self.lines.append((self.added, level, text))
        while len(self.lines) > MAX_LINES or self._bytes > MAX_KEPT_BYTES:
            self._bytes -= len(self.lines.popleft()[2])
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def newest(self, count: int, level: str) -> list[tuple[int, str]]:
        """The last `count` lines that are at least that grave, oldest first, with their numbers."""
        least = logging.getLevelName(level.upper())
        found = [(number, text) for number, grave, text in list(self.lines) if grave >= least]
        return found[-count:] if count else []

    async def follow(self, after: int, level: str, until: asyncio.Event) -> AsyncIterator[str]:
        """Every line after a number, as they come; the oldest are left out where they come too fast."""
        self._loop = asyncio.get_running_loop()
        came = asyncio.Event()
        self._waiting.add(came)
        ending = asyncio.ensure_future(until.wait())
        coming = None
        try:
            while True:
                last = ending.done()
                came.clear()
                for number, text in self.newest(MAX_LINES, level):
                    if number > after:
                        yield text
                    after = max(after, number)
                if last:
                    return
                coming = asyncio.ensure_future(came.wait())
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if coming is not None:
                coming.cancel()
            self._waiting.discard(came)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()


RING = Ring()


class _Keeping(logging.Handler):
    """Keeps lines in the ring."""

    def emit(self, record: logging.LogRecord) -> None:
        RING.add(record.levelno, self.format(record))


def to_stderr() -> None:
    """Send every logger's lines to stderr in our form; a reader that went away is no reason to fail."""
    logging.raiseExceptions = False
    handlers = [logging.StreamHandler(sys.stderr), _Keeping()]
    for handler in handlers:
        handler.setFormatter(_FORMATTER)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def event(what: str, **fields: object) -> None:
    """Write one event with its fields."""
    _logger.info(what, extra={"fields": fields})


def warning(what: str, **fields: object) -> None:
    """Write something that went wrong and was dealt with."""
    _logger.warning(what, extra={"fields": fields})


def fault(what: str, error: BaseException, **fields: object) -> None:
    """Write an error that nobody expected, with its traceback."""
    _logger.error(what, exc_info=error, extra={"fields": {**fields, "error": repr(error)}})
