"""The file beside a generation's own that its runtime keeps what it compiled in; see `Options.cache`.

It is a worker's to write, so nothing here or on the host believes what it holds. It goes with its generation.
"""

from __future__ import annotations

import os
from pathlib import Path

from device_agent import durable
from device_agent.bundle import BundleConfig
from device_agent.execution import kind_of

COMPILED_FILE = "compiled.cache"  # no layer may have this title
_SPARE_BYTES = 1 << 20


def keeps(config: BundleConfig) -> bool:
    """Whether a bundle's runtime keeps what it compiles: for one processor, where it has a choice of them."""
    return config.execution is not None and not kind_of(config.execution.device)


def prepare(path: Path, model_bytes: int) -> int | None:
    """Make the file where it is missing.

    Args:
        path: of the file.
        model_bytes: of the model's files: what is compiled of them has about as many.

    Returns:
        How many bytes it may come to; None where there is no room for it.

    Raises:
        EdgeError: the medium refuses.
    """
    most = 2 * model_bytes + _SPARE_BYTES
    with durable.mapped("cannot look at a folder", path):
        there = path.stat().st_size if path.exists() else 0
        disk = os.statvfs(path.parent)
    if not there and most > disk.f_bavail * disk.f_frsize // 2:
        return None
    durable.make_scratch(path)
    return max(most, there)
