"""Keeps what native libraries write to the terminal off it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Send everything written to standard error to the debug log, below Python too.

    LiteRT announces its delegate by writing to file descriptor 2 (no setting turns that off), the
    quantiser draws progress bars and warns about its own use of LiteRT. The descriptor belongs to the
    whole process, so keep what runs inside short.
    """
    with tempfile.TemporaryFile() as chatter:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(chatter.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=UserWarning, module="ai_edge_")
                yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            chatter.seek(0)
            if text := chatter.read().decode(errors="replace").strip():
                logging.getLogger(__name__).debug(text)
