"""Where a model's operators run on a device with several processors: asked, planned, and read back."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from converters.progress import Progress, silent
from device_agent.errors import DeviceUnsuitable, UnsupportedOperator
from device_agent.execution import HETERO, is_one_of, kind_of, named_in
from edge_sdk import packing
from edge_sdk.candidates import missing

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.partition.types import Plan
    from device_agent.bundle import Bundle, Execution
    from device_agent.protocol import Queried, RuntimeDevice
    from edge_sdk.devices.device import Device
    from targets.schema import Target

TOLD = 5  # operators that an error names


def check(plan: Plan, target: Target, device: Device) -> None:
    """Refuse a device that cannot run what a plan makes, before it is made.

    Only of runtimes with several processors; others are looked for when the bundle is there.

    Raises:
        RuntimeMissing: the device does not have the runtime, or one that is too old.
        DeviceUnsuitable: it has no processor of the kind that the plan is for, or no driver for it.
    """
    if plan.execution is None:
        return
    lack = missing(device.describe(), target, plan.runtime, device.name)
    if lack is not None:
        others = [name for each in target.processors for name in each.backends if name != plan.runtime]
        if others:
            lack.next_step = f"{lack.next_step} `--runtime {others[0]}` does without it."
        raise lack
    check_processors(plan.execution, device.runtime_devices(plan.runtime), device.name)


def check_bundle(bundle: Bundle, device: Device) -> None:
    """Refuse a device without the processor that a bundle names, before it is sent.

    Raises:
        DeviceUnsuitable: as of `check`.
        RuntimeMissing: the device does not have the runtime.
    """
    config = bundle.config
    if config.execution is not None and any(name != "CPU" for name in named_in(config.execution.device)):
        check_processors(config.execution, device.runtime_devices(config.runtime), device.name)


def check_processors(execution: Execution, there: Sequence[RuntimeDevice], where: str) -> None:
    """Refuse a way of running that names a processor which is not there, or has no driver.

    Args:
        execution: how the model is to be run.
        there: what the runtime has on the device.
        where: the device.

    Raises:
        DeviceUnsuitable: says which processor lacks, why as far as the device can tell, and what there is.
    """
    usable = [each for each in there if not each.problem]
    for name in named_in(execution.device):
        if any(is_one_of(name, each.name) for each in usable):
            continue
        problems = [each.problem for each in there if each.problem and is_one_of(name, each.name)]
        has = ", ".join(f"{each.name} ({each.title})" for each in usable)
        first = usable[0].name.partition(".")[0] if usable else "CPU"
        why = f"On the device: {problems[0].rstrip('.')}. " if problems else ""
        raise DeviceUnsuitable(
            f"the device has no {name} that OpenVINO can use",
            where=where,
            got=has or "no processor at all",
            expected=name if execution.device == name else f"{name}, for {execution.device}",
            next_step=f"{why}`--device-kind {first}` takes what is there.",
        )


def place(
    conversion: Conversion,
    device: Device,
    *,
    name: str | None = None,
    sign_key: str | Path | None = None,
    progress: Progress = silent,
) -> Conversion:
    """A conversion for `HETERO` with a processor named for each operator, as the device says what can run it.

    Any other conversion is given back as it is. The model is sent to the device, and activated by nobody.

    Args:
        conversion: from `edge_sdk.convert`.
        device: an open device.
        name: that it will be deployed by; made from the model's file name if None.
        sign_key: the key to sign with; if None, one of yours that is a signer of the device.
        progress: called as `progress(what, done, total)`.

    Raises:
        UnsupportedOperator: no processor of those named can run an operator.
        EdgeError: as `edge_sdk.deploy` does.
    """
    execution = conversion.artifact.execution
    if execution is None or not spreads(conversion):
        return conversion
    devices = named_in(execution.device)
    key = None if sign_key is None else Path(sign_key)
    progress("ask the device where operators can run", 0, 0)
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        bundle = packing.pack(conversion, Path(folder) / "bundle", name=name)
        queried = device.query(bundle, devices, sign_key=key, progress=progress)
    made = evolve(execution, affinities=assigned(queried, conversion.model.path.name))
    return evolve(
        conversion,
        artifact=evolve(conversion.artifact, execution=made),
        plan=evolve(conversion.plan, execution=made),
    )


def spreads(conversion: Conversion) -> bool:
    """Whether the operators of a conversion may run on different processors, as the plan decides."""
    execution = conversion.artifact.execution
    return execution is not None and kind_of(execution.device) == HETERO


def assigned(queried: Queried, where: str = "") -> dict[str, str]:
    """Each operator's processor: the first of those asked, in their order, that can run it.

    Args:
        queried: which operators each can run.
        where: the model, for the error.

    Raises:
        UnsupportedOperator: none of them can run an operator; names it, and what each said.
    """
    takers = [(each.device, frozenset(each.operators)) for each in queried.devices]
    found = {
        operator: next((device for device, takes in takers if operator in takes), "")
        for operator in queried.operators
    }
    left = [operator for operator, device in found.items() if not device]
    if left:
        problems = "; ".join(f"{each.device}: {each.problem}" for each in queried.devices if each.problem)
        names = ", ".join(each.device for each in queried.devices)
        raise UnsupportedOperator(
            f"{len(left)} of {len(found)} operators run on none of {names}",
            where=where,
            got=", ".join(left[:TOLD]) + (f"; {problems}" if problems else ""),
            next_step="Name another device too, such as `HETERO:GPU,CPU`: a CPU runs every operator.",
        )
    return found
