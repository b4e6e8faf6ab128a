"""Runtimes that run models: `get(name)` finds one; its package is imported only when it loads a model."""

from __future__ import annotations

from device_agent.errors import RuntimeMissing
from device_agent.protocol import RuntimeInfo
from device_agent.runtimes.base import Runtime
from device_agent.runtimes.litert import LiteRT
from device_agent.runtimes.null import Null
from device_agent.runtimes.openvino import OpenVINO
from device_agent.runtimes.tflite import TFLite
from device_agent.versions import numbers

_RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime for runtime in (LiteRT(), TFLite(), OpenVINO(), Null())
}
_INSTALL = "`edge devices install DEVICE --runtime {}` brings it."


def get(name: str) -> Runtime:
    """The runtime of that name, installed or not.

    Raises:
        RuntimeMissing: this version of the agent knows none of that name.
    """
    if name not in _RUNTIMES:
        raise RuntimeMissing("unknown runtime", got=repr(name[:80]), expected=", ".join(_RUNTIMES))
    return _RUNTIMES[name]


def installed() -> tuple[RuntimeInfo, ...]:
    """The runtimes that are installed here, with their versions."""
    found = ((runtime.name, runtime.version()) for runtime in _RUNTIMES.values())
    return tuple(RuntimeInfo(name, version) for name, version in found if version is not None)


def check(name: str, least_version: str) -> str:
    """The installed version of a runtime, if it is at least `least_version`.

    Raises:
        RuntimeMissing: it is not installed, or older.
    """
    version = get(name).version()
    if version is None:
        raise RuntimeMissing(
            "the runtime is not installed on the device", where=name, next_step=_INSTALL.format(name)
        )
    if numbers(version) < numbers(least_version):
        raise RuntimeMissing(
            "the runtime on the device is too old",
            where=name,
            got=version,
            expected=f">= {least_version}",
            next_step=_INSTALL.format(name),
        )
    return version
