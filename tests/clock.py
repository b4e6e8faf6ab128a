"""Processes whose wall clock is wrong; their monotonic clock is right.

Python imports `sitecustomize` before all else, in the agent as in its workers. libfaketime would do the same
for any program, but its release 0.9.10 breaks `time.sleep` past 2038.
"""

from __future__ import annotations

import os
from pathlib import Path

CLOCKS = {"1970": 10, "2006": 1_164_000_000, "2046": 2_426_000_000}  # year -> seconds since the epoch

CUSTOMIZE = """
import datetime, os, time

_begin = float(os.environ["EDGE_TEST_CLOCK"])
_real, _gmtime, _localtime = time.time, time.gmtime, time.localtime
_started = _real()


def _now():
    return _begin + _real() - _started


time.time = _now
time.time_ns = lambda: int(_now() * 1e9)
time.gmtime = lambda seconds=None: _gmtime(_now() if seconds is None else seconds)
time.localtime = lambda seconds=None: _localtime(_now() if seconds is None else seconds)


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_now(), tz)


datetime.datetime = _Datetime
"""


def shifted(folder: Path, year: str) -> dict[str, str]:
    """The environment of a Python process that believes that it begins in that year.

    Args:
        folder: for the module that does it; it may be there already.
        year: one of CLOCKS.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(CUSTOMIZE)
    search = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": search, "EDGE_TEST_CLOCK": str(CLOCKS[year])}
