"""The package openvino: imported without its telemetry, its errors without its own source files.

Telemetry is a thread that may reach for the network.
"""

from __future__ import annotations

import sys
from typing import Any

from device_agent.errors import RuntimeMissing

ERRORS = (RuntimeError, TypeError, ValueError)  # what the C++ side's refusals come out as
_TELEMETRY = "openvino_telemetry"
_OWN = ("Exception from", "Check '")  # such lines name OpenVINO's source files and conditions in them
_MESSAGE_LENGTH = 500


def package() -> Any:
    """The package.

    Raises:
        RuntimeMissing: it cannot be imported.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails: that is allowed for
    try:
        import openvino
    except ImportError as e:
        raise RuntimeMissing(
            "the runtime cannot be imported",
            where="openvino",
            got=str(e),
            next_step="Install openvino on the device.",
        ) from e
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino


def said(error: Exception) -> str:
    """What an error of OpenVINO's says, in one line."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(_OWN)]
    text = " ".join(" ".join(lines).split())
    return text[:_MESSAGE_LENGTH] or type(error).__name__
