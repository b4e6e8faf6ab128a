"""How a runtime with several processors is to run a model: what may be asked, and what a plan makes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from targets.schema import Processor

HINTS = ("latency", "throughput")
VIRTUAL = ("AUTO", "HETERO")  # they hand a model on to other devices
# what float operators can be asked to compute in
# (https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes.html)
PRECISIONS = {"CPU": ("f32", "f16", "bf16"), "GPU": ("f32", "f16"), "NPU": ("f16",)}
KINDS = tuple(PRECISIONS)
_NAMES = "CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU"
_DEVICE = re.compile(rf"({'|'.join(KINDS)})(\.\d+)?")


@frozen
class DeviceKind:
    """A device that OpenVINO is asked for.

    `virtual` is empty, `AUTO` or `HETERO`. `devices` are those named: one, or for a virtual one those it may
    hand on to, the preferred one first; empty for plain `AUTO`.
    """

    virtual: str
    devices: tuple[str, ...]

    def __str__(self) -> str:
        """As OpenVINO spells it: `HETERO:GPU,CPU`."""
        named = ",".join(self.devices)
        return f"{self.virtual}:{named}" if self.virtual and named else self.virtual or named

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of processor named: `CPU`, `GPU`, `NPU`."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.devices))


def device_kind(text: str) -> DeviceKind:
    """What a text such as `GPU`, `AUTO` or `HETERO:GPU,CPU` asks for; upper or lower case.

    Raises:
        InvalidRequest: it is no such text.
    """
    virtual, colon, rest = text.strip().upper().partition(":")
    if virtual not in VIRTUAL:
        if not _DEVICE.fullmatch(text.strip().upper()):
            raise InvalidRequest("no device kind", got=repr(text), expected=_NAMES)
        return DeviceKind("", (text.strip().upper(),))
    names = tuple(name.strip() for name in rest.split(",")) if colon else ()
    if not names and virtual == "HETERO":
        raise InvalidRequest(
            "HETERO needs the devices to spread a model over, the preferred one first",
            got=repr(text),
            expected="HETERO:GPU,CPU",
        )
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise InvalidRequest(
                f"no device that {virtual} can hand a model on to",
                where=text,
                got=repr(name),
                expected="CPU, GPU, GPU.1 or NPU",
            )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequest("a device is named twice", where=text, got=twice)
    return DeviceKind(virtual, names)


def settled_execution(asked: Execution | None, processor: Processor) -> Execution:
    """How the model will be run: what was asked, and the usual where nothing was.

    Args:
        asked: an empty `device` means the processor's own, a `precision` of None float32 where the device
            has it, so that host and device compute alike.
        processor: of the board; its name is that of a kind of device.

    Raises:
        InvalidRequest: an unknown device, hint or precision, or one that the device does not have.
    """
    asked = asked or Execution(device="")
    name = processor.name.upper().rstrip("0123456789")
    kind = device_kind(asked.device or (name if name in KINDS else "CPU"))
    if asked.hint not in HINTS:
        raise InvalidRequest("unknown hint", got=repr(asked.hint), expected=" or ".join(HINTS))
    if asked.streams is not None and asked.streams < 1:
        raise InvalidRequest("streams are counted from 1", got=str(asked.streams))
    common = precisions_in(kind)
    if asked.precision is not None and asked.precision not in common:
        raise InvalidRequest(
            f"{kind} does not compute in that precision",
            where="--inference-precision",
            got=asked.precision,
            expected=" or ".join(common),
        )
    return evolve(asked, device=str(kind), precision=asked.precision or common[0])


def precisions_in(kind: DeviceKind) -> tuple[str, ...]:
    """What every device of a kind computes float operators in, the most exact first.

    f16 is what all have; where any device may be chosen (`AUTO`), those of a CPU.
    """
    has = [PRECISIONS[each] for each in kind.kinds] or [PRECISIONS["CPU"]]
    return tuple(name for name in PRECISIONS["CPU"] if all(name in each for each in has))
