"""The agent's log: one JSON object a line on stderr, for journald and for people."""

from __future__ import annotations

import json
import logging
import sys
import time

_logger = logging.getLogger("edge-agent")


class _JsonLines(logging.Formatter):
    """A record as one line: when, how grave, what, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def to_stderr() -> None:
    """Send every logger's lines to stderr in our form; a reader that went away is no reason to fail."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def event(what: str, **fields: object) -> None:
    """Write one event with its fields."""
    _logger.info(what, extra={"fields": fields})


def fault(what: str, error: BaseException, **fields: object) -> None:
    """Write an error that nobody expected, with its traceback."""
    _logger.error(what, exc_info=error, extra={"fields": {**fields, "error": repr(error)}})
