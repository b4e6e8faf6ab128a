"""The times that OpenVINO's devices count of their operators (`PERF_COUNT`), as means over runs.

The CPU keeps the mean over all runs since the model was compiled, other devices the last run's times. Both
count whole microseconds: a run's time is rounded down, and so is the CPU's mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from device_agent.protocol import OperatorTiming

RESOLUTION_NS = 1000
_HALF_NS = RESOLUTION_NS // 2  # what rounding down loses on average
_CPU = "CPU"
_SUBGRAPH = re.compile(r"^subgraph\d+: ")  # which HETERO puts before the names of operators


@frozen
class _Counted:
    type: str
    kernel: str
    mean_ns: int  # as the device tells it


class Timings:
    """Means over the runs since `reset`.

    Args:
        request: the infer request that runs the model; none of that model has run yet, nor does another.
        devices: operator -> its device; `device` for those that it does not name.
        device: one of the device's names.
    """

    def __init__(self, request: Any, devices: Mapping[str, str], device: str) -> None:
        self._request = request
        self._devices = devices
        self._device = device
        self._runs = 0  # since the model was compiled
        self._before = 0  # of them, those before `reset`
        self._means_before: dict[str, _Counted] = {}
        self._sums_ns: dict[str, int] = {}  # of devices that keep the last run only
        self._sampled = {device, *devices.values()} != {_CPU}

    def ran(self) -> None:
        """The request has run once more."""
        self._runs += 1
        if self._sampled:
            for name, counted in self._read().items():
                self._sums_ns[name] = self._sums_ns.get(name, 0) + counted.mean_ns

    def reset(self) -> None:
        """Leave out the runs up to now."""
        self._before = self._runs
        self._means_before = self._read() if self._runs else {}
        self._sums_ns = {}

    def means(self) -> tuple[OperatorTiming, ...]:
        """What was counted, in execution order; empty before there was a run."""
        if self._runs == self._before:
            return ()
        return tuple(self._timing(name, counted) for name, counted in self._read().items())

    def _timing(self, name: str, counted: _Counted) -> OperatorTiming:
        device = self._devices.get(_SUBGRAPH.sub("", name), self._device)
        count = self._runs - self._before
        if device == _CPU:
            before = self._means_before.get(name)
            sum_ns = self._runs * counted.mean_ns - self._before * (before.mean_ns if before else 0)
            roundings = 2 if counted.mean_ns else 1  # a mean of nothing was hardly rounded
        else:
            sum_ns = self._sums_ns[name]
            roundings = 1
        mean_ns = max(0, round(sum_ns / count)) + roundings * _HALF_NS
        return OperatorTiming(name, counted.type, counted.kernel, device, mean_ns)

    def _read(self) -> dict[str, _Counted]:
        return {
            row.node_name: _Counted(row.node_type, row.exec_type, round(row.real_time.total_seconds() * 1e9))
            for row in self._request.profiling_info
            if row.status == row.Status.EXECUTED
        }
