"""How a runtime with several processors is to run a model: what may be asked, and what a plan makes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve

from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest
from device_agent.execution import AUTO, HETERO, check, named_in

if TYPE_CHECKING:
    from targets.schema import Processor

# what each kind of device can be asked to compute float operators in, the most exact first; see the property
# inference_precision of https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes.html
PRECISIONS = {"CPU": ("f32", "f16", "bf16"), "GPU": ("f32", "f16"), "NPU": ("f16",)}
_DEVICE = re.compile(rf"({'|'.join(PRECISIONS)})(\.\d{{1,3}})?")
_NAMES = "CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU"


def device_kind(text: str) -> str:
    """A device as OpenVINO spells it: of `gpu`, `auto` or `Hetero: gpu, cpu`, say.

    Raises:
        InvalidRequest: it names no device of OpenVINO.
    """
    virtual, colon, rest = text.strip().upper().partition(":")
    if virtual not in (AUTO, HETERO):
        if not _DEVICE.fullmatch(text.strip().upper()):
            raise InvalidRequest("not a kind of device", got=repr(text), expected=_NAMES)
        return text.strip().upper()
    names = [name.strip() for name in rest.split(",")] if colon else []
    if not names and virtual == HETERO:
        raise InvalidRequest(
            "HETERO needs the devices to spread a model over, the preferred one first",
            got=repr(text),
            expected="HETERO:GPU,CPU",
        )
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise InvalidRequest(
                f"not a device that {virtual} can hand a model on to",
                where=text,
                got=repr(name),
                expected="CPU, GPU, GPU.1 or NPU",
            )
        if names.count(name) > 1:
            raise InvalidRequest("a device is named twice", where=text, got=name)
    return ":".join(filter(None, (virtual, ",".join(names))))


def settled_execution(asked: Execution | None, processor: Processor) -> Execution:
    """How the model will be run: what was asked, and the usual where nothing was.

    Args:
        asked: an empty `device` means the processor's own; a `precision` of None the most exact that all
            devices it names have, which is float32 but on an NPU, so that host and device compute alike.
        processor: of the board; its name is that of a kind of device.

    Raises:
        InvalidRequest: an unknown device, hint or precision, or one that the device does not have.
    """
    asked = asked or Execution(device="")
    own = processor.name.upper().rstrip("0123456789")
    device = device_kind(asked.device or (own if own in PRECISIONS else "CPU"))
    able = precisions_in(device)
    made = check(evolve(asked, device=device, precision=asked.precision or able[0]))
    if made.precision not in able:
        raise InvalidRequest(
            f"{device} does not compute in that precision",
            where="inference precision",
            got=made.precision,
            expected=" or ".join(able),
        )
    return made


def precisions_in(device: str) -> tuple[str, ...]:
    """What every processor that a device's name names computes float operators in, the most exact first.

    Where the runtime may choose any (`AUTO`), it takes no NPU, and what it takes has those of a GPU.
    """
    kinds = [name.partition(".")[0] for name in named_in(device)] or ["GPU"]
    return tuple(name for name in PRECISIONS["CPU"] if all(name in PRECISIONS[kind] for kind in kinds))
