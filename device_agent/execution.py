"""What may stand in an `Execution`: names of processors, hints, precisions.

CPU  GPU  GPU.1  NPU           one processor
AUTO  AUTO:GPU,CPU             the runtime chooses, of these where they are named
HETERO:GPU,CPU                 each operator on the first that can run it, or on its affinity's
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from device_agent.bundle import Execution

HINTS = ("latency", "throughput")
PRECISIONS = ("f32", "f16", "bf16")
MOST_STREAMS = 256
AUTO, HETERO = "AUTO", "HETERO"
_KINDS = (AUTO, HETERO, "MULTI", "BATCH")  # which only stand before others
_NAME = re.compile(r"[A-Z]{2,16}(\.[0-9]{1,3})?")
_FORMS = "CPU, GPU, GPU.<n>, NPU, AUTO, AUTO:<devices> or HETERO:<devices>"


def kind_of(device: str) -> str:
    """`AUTO`, `HETERO`, or empty for one processor."""
    kind = device.partition(":")[0]
    return kind if kind in (AUTO, HETERO) else ""


def named_in(device: str) -> tuple[str, ...]:
    """The processors that a device's name names, in its order; none for a plain `AUTO`."""
    kind, colon, names = device.partition(":")
    if colon:
        return tuple(names.split(","))
    return () if kind == AUTO else (device,)


def is_one_of(device: str, found: str) -> bool:
    """Whether the processor `found` is what `device` names: `GPU` is any GPU, and the first is `GPU.0`."""
    name, _, number = device.partition(".")
    other, _, own = found.partition(".")
    return name == other and (number in ("", own) or (number == "0" and not own))


def check(execution: Execution) -> Execution:
    """`execution` itself, if it is well formed; InvalidRequest names the field that is not."""
    names = named_in(execution.device)
    kind, colon, _ = execution.device.partition(":")
    well = len(set(names)) == len(names) and all(
        _NAME.fullmatch(name) and name.partition(".")[0] not in _KINDS for name in names
    )
    if not well or (colon and kind not in (AUTO, HETERO)):
        raise InvalidRequest(
            "not the name of a processor", where="device", got=repr(execution.device[:80]), expected=_FORMS
        )
    if execution.hint not in HINTS:
        raise InvalidRequest(
            "unknown hint", where="hint", got=repr(execution.hint[:80]), expected=" or ".join(HINTS)
        )
    if execution.precision not in (None, *PRECISIONS):
        raise InvalidRequest(
            "unknown precision",
            where="precision",
            got=repr(str(execution.precision)[:80]),
            expected=" or ".join(PRECISIONS),
        )
    if execution.streams is not None and not 1 <= execution.streams <= MOST_STREAMS:
        raise InvalidRequest(
            "not a number of streams",
            where="streams",
            got=str(execution.streams),
            expected=f"1 to {MOST_STREAMS}",
        )
    _check_affinities(execution, names)
    return execution


def _check_affinities(execution: Execution, names: tuple[str, ...]) -> None:
    if execution.affinities and kind_of(execution.device) != HETERO:
        raise InvalidRequest(
            "affinities need a device that leaves a choice",
            where="affinities",
            got=execution.device,
            expected="HETERO:<devices>",
        )
    for operator, device in execution.affinities.items():
        if device not in names:
            raise InvalidRequest(
                "an operator's affinity is to a processor that is not among the device's",
                where=operator[:200],
                got=repr(device[:80]),
                expected=" or ".join(names),
            )
