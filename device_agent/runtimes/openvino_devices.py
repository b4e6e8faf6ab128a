"""Which processors OpenVINO has here, and how it is told to use them. Nothing here imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from device_agent import device_nodes
from device_agent.bundle import Execution
from device_agent.errors import WorkerFailed
from device_agent.execution import AUTO, is_one_of, kind_of, named_in
from device_agent.protocol import RuntimeDevice
from device_agent.runtimes.base import Options

_CPU, _NPU = "CPU", "NPU"
RUN_ONLY = (
    "INFERENCE_NUM_THREADS",
    "ENABLE_CPU_PINNING",
    "PERF_COUNT",
)  # what is compiled does not depend on these


def absent(device: str, present: Sequence[str]) -> WorkerFailed | None:
    """The refusal of a device that names a processor which is not here; None where all are.

    Args:
        device: of an `Execution`.
        present: OpenVINO's names of the processors that it has.
    """
    missing = [name for name in named_in(device) if not any(is_one_of(name, found) for found in present)]
    if not missing:
        return None
    return WorkerFailed(
        f"OpenVINO has no {' and no '.join(missing)} here, only {' and '.join(present) or 'nothing'}",
        got=problem_of(missing[0], present) or None,
        next_step="Choose another with --device-kind, or install the driver of the one that is missing.",
    )


def lacking(present: Sequence[str]) -> tuple[RuntimeDevice, ...]:
    """The processors that the kernel shows and OpenVINO does not, each with its problem."""
    return device_nodes.unlisted(device_nodes.device_nodes(), present)


def problem_of(name: str, present: Sequence[str]) -> str:
    """Why a processor is not among those present; empty where nothing shows that the machine has it."""
    return next((device.problem for device in lacking(present) if is_one_of(name, device.name)), "")


def properties(execution: Execution, options: Options, present: Sequence[str]) -> dict[str, Any]:
    """What a model is compiled with: OpenVINO's properties by name.

    Those of one processor go to that processor where OpenVINO only hands on to it (AUTO, HETERO).
    https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes.html
    """
    found: dict[str, Any] = {"PERFORMANCE_HINT": execution.hint.upper()}
    if options.profile:
        found["PERF_COUNT"] = True
    kind, names = kind_of(execution.device), named_in(execution.device)
    if not kind:
        return found | _own(execution.device, execution, options)
    each = {name: _own(name, execution, options) for name in names or present}
    found["DEVICE_PROPERTIES"] = {name: own for name, own in each.items() if own}
    if kind == AUTO:
        # else the CPU computes until the chosen processor is ready: neither measured nor placed twice alike
        found["ENABLE_STARTUP_FALLBACK"] = False
        if execution.strict and names and names[0] != _CPU:
            found["ENABLE_RUNTIME_FALLBACK"] = False  # a run that fails is not tried elsewhere
    return found


def compiled_with(properties: dict[str, Any]) -> dict[str, Any]:
    """Those of the properties that what is compiled depends on."""
    return {
        name: compiled_with(value) if isinstance(value, dict) else value
        for name, value in properties.items()
        if name not in RUN_ONLY
    }


def _own(name: str, execution: Execution, options: Options) -> dict[str, Any]:
    kind = name.partition(".")[0]
    found: dict[str, Any] = {}
    if kind == _CPU:
        found["INFERENCE_NUM_THREADS"] = options.threads
        # it would bind the caller to the first core for each run: 2 us, and every worker to the same core
        found["ENABLE_CPU_PINNING"] = False
    if execution.precision is not None and (kind != _NPU or execution.precision == "f16"):
        found["INFERENCE_PRECISION_HINT"] = execution.precision  # an NPU has no other
    if execution.streams is not None and kind != _NPU:  # which has one
        found["NUM_STREAMS"] = execution.streams
    return found
