"""The faster of the runtimes that a device has, chosen by measuring on it what each makes of a model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from converters.progress import Progress, silent
from device_agent.errors import DeviceUnsuitable, InvalidRequest
from device_agent.protocol import BenchmarkRequest
from edge_sdk import candidates as making
from edge_sdk import pipeline, saving
from edge_sdk import samples as loading
from edge_sdk.bench.choice import LOOKS, Decision, choose, only, pooled
from edge_sdk.candidates import Candidate, Refused

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.model import Model
    from converters.partition.types import Plan
    from converters.quantize.samples.calibration import CalibrationSource
    from device_agent.bundle import Bundle, Execution
    from device_agent.protocol import Compared
    from edge_sdk.devices.device import Deployment, Device
    from targets.schema import Target

# A look is CALLS comparisons of ROUNDS rounds: each loads the models anew, so that where one happens to lie
# in memory is not taken for its speed. ROUNDS is even: each candidate is first as often as last.
CALLS, ROUNDS = 2, 6
REQUEST = BenchmarkRequest(warmup_iterations=5, min_iterations=20, min_seconds=0.1, max_seconds=2.0)


@frozen
class Candidates:
    """What a model was converted to, and what could not be made; to be measured on one device or several."""

    target: Target
    made: tuple[Candidate, ...]
    refused: tuple[Refused, ...]


@frozen
class Choice:
    """The candidate that was chosen for a device, and why.

    `refused` are those that could not be made or that the device cannot run; `compared` holds the latencies
    that `decision` was made on, None where only one candidate was left. `bundle` is the chosen one's.
    """

    device: str
    candidates: tuple[Candidate, ...]
    refused: tuple[Refused, ...]
    compared: Compared | None
    decision: Decision
    chosen: Candidate
    bundle: Bundle


@frozen
class Fastest:
    """What was chosen for a device, and its deployment."""

    choice: Choice
    deployment: Deployment


def deploy_fastest(
    model: Model,
    device: Device,
    *,
    target: Target | str | None = None,
    calibration: CalibrationSource | None = None,
    preprocessing: Path | None = None,
    validation: CalibrationSource | None = None,
    labels: Any = None,
    resume: str | Path | None = None,
    precision: str = "auto",
    execution: Execution | None = None,
    name: str | None = None,
    output: str | Path | None = None,
    request: BenchmarkRequest | None = None,
    sign_key: str | Path | None = None,
    progress: Progress = silent,
    **planning: Any,
) -> Fastest:
    """Convert a model for every runtime of a device, measure them in turns there, and deploy the fastest.

    Each must keep the accuracy that is asked for. With the precision `auto` the float32 model of each
    runtime is a candidate too, since int8 is not faster everywhere. Where no difference is found that would
    matter, the runtime that the board prefers is kept. What is not chosen leaves nothing on the device.

    Args:
        model: from `load`.
        device: an open device.
        target: what it is; the device's own if None.
        calibration: samples of real inputs, as `convert` takes them; the same for every runtime.
        preprocessing: how images become inputs, as for `convert`.
        validation: samples that accuracy is judged on, as for `convert`.
        labels: of the validation samples, as for `convert`.
        resume: a file that keeps what the searches tried; each runtime has its own, named after it.
        precision: as for `plan`.
        execution: how the runtimes with several processors run it; the others run it as they do.
        name: the deployment's name; made from the model's file name if None.
        output: the folder that the deployed bundle is kept in; it is not kept if None.
        request: how a candidate is measured in one of its turns; `REQUEST` on one thread if None.
        sign_key: the key to sign with; if None, one of yours that is a signer of the device.
        progress: called as `progress(what, done, total)`.
        planning: what else `plan` takes, for every runtime: `io`, `metric`, `max_drop`, ...

    Returns:
        What was chosen, by how much it is faster than the others, how certain that is, and its deployment.

    Raises:
        AccuracyMissed: no runtime keeps the accuracy; the error is that of the nearest.
        RuntimeMissing: the device has none of the target's runtimes.
        InvalidRequest: the device does not say what it is, and no `target` does.
        DeviceUnsuitable: every candidate failed on the device.
        EdgeError: nothing could be made, for the preferred runtime's reason; or what `convert` and `deploy`
            raise.
    """
    from targets.schema import load_target

    board = load_target(target) if isinstance(target, str) else target or device.target
    if board is None:
        raise InvalidRequest(
            "it is not known what the device is",
            where=device.name,
            next_step="Give its `target`: `edge targets list` shows them.",
        )
    found = candidates(
        model, board, (device,),
        calibration=calibration, preprocessing=preprocessing, validation=validation, labels=labels,
        resume=resume, precision=precision, execution=execution, progress=progress, **planning,
    )  # fmt: skip
    key = None if sign_key is None else Path(sign_key)
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        choice = choose_on(
            device, found, Path(folder), name=name, output=None if output is None else Path(output),
            request=request, sign_key=key, progress=progress,
        )  # fmt: skip
        deployment = pipeline.deploy(choice.bundle, device, sign_key=key, progress=progress)
    return Fastest(choice, deployment)


def candidates(
    model: Model,
    target: Target,
    devices: Sequence[Device],
    *,
    calibration: CalibrationSource | None = None,
    preprocessing: Path | None = None,
    validation: CalibrationSource | None = None,
    labels: Any = None,
    resume: str | Path | None = None,
    precision: str = "auto",
    execution: Execution | None = None,
    progress: Progress = silent,
    **planning: Any,
) -> Candidates:
    """A model converted for every runtime of a board that one of the devices has; see `deploy_fastest`."""
    from converters import registry
    from converters.convert import convert as run
    from converters.convert import generated
    from converters.quantize.scheme import AUTO

    refused: list[Refused] = []
    able: list[str] = []
    infos = [(device.name, device.describe()) for device in devices]
    for runtime in making.runtimes_of(target):
        lacks = [making.missing(info, target, runtime, name) for name, info in infos]
        if lacks and all(lacks):
            refused += [Refused(runtime, lack) for lack in lacks[:1] if lack is not None]
        else:
            able.append(runtime)
    samples, judged = loading.load(
        model, calibration, preprocessing=preprocessing, validation=validation, labels=labels,
        progress=progress,
    )  # fmt: skip

    def plan(runtime: str) -> Plan:
        how = execution if registry.backend(runtime).places else None
        return pipeline.plan(model, target, precision=precision, runtime=runtime, execution=how, **planning)

    def convert(runtime: str, plan: Plan, told: Progress) -> Conversion:
        kept = making.journal(resume, runtime)
        return run(model, plan, calibration=samples, validation=judged, resume=kept, progress=told)

    made, failed = making.made(
        able, plan, convert, samples=samples or generated(model), floats=precision == AUTO, progress=progress
    )
    if not made:
        raise making.none_made((*failed, *refused))
    return Candidates(target, made, (*refused, *failed))


def choose_on(
    device: Device,
    found: Candidates,
    folder: Path,
    *,
    name: str | None = None,
    output: Path | None = None,
    request: BenchmarkRequest | None = None,
    sign_key: Path | None = None,
    progress: Progress = silent,
) -> Choice:
    """Measure candidates on a device and choose one; nothing is deployed, and nothing stays on the device.

    Args:
        device: an open device.
        found: from `candidates`.
        folder: where their bundles are packed.
        name: as for `deploy_fastest`, and so the rest.
        output: where the chosen bundle is kept.
        request: how each is measured in one of its turns.
        sign_key: the key to sign with.
        progress: called as `progress(what, done, total)`.

    Raises:
        RuntimeMissing: the device has no runtime of any candidate.
        DeviceUnsuitable: every candidate failed on the device.
    """
    info = device.describe()
    runtimes = dict.fromkeys(each.runtime for each in found.made)
    lacks = {runtime: making.missing(info, found.target, runtime, device.name) for runtime in runtimes}
    able = tuple(each for each in found.made if lacks[each.runtime] is None)
    refused = (*found.refused, *(Refused(name, error) for name, error in lacks.items() if error is not None))
    if not able:
        raise making.none_made(refused)
    bundles = [
        saving.save_bundle(each.conversion, folder / str(number), name=name)
        for number, each in enumerate(able)
    ]
    labels = [each.label for each in able]
    compared, decision = measure(
        device, bundles, labels, request=request, sign_key=sign_key, progress=progress
    )
    if decision.chosen is None:
        raise DeviceUnsuitable(
            "every candidate failed on the device",
            where=device.name,
            got=decision.sentence,
            next_step="`edge devices doctor` looks at the device; `edge agent logs` shows what failed.",
        )
    number = labels.index(decision.chosen)
    chosen, bundle = able[number], bundles[number]
    if output is not None:
        bundle = saving.save_bundle(chosen.conversion, output, name=name)
    return Choice(device.name, able, refused, compared, decision, chosen, bundle)


def measure(
    device: Device,
    bundles: Sequence[Bundle],
    labels: Sequence[str],
    *,
    request: BenchmarkRequest | None = None,
    sign_key: Path | None = None,
    progress: Progress = silent,
) -> tuple[Compared | None, Decision]:
    """Compare bundles of one name on a device until the choice is settled, or LOOKS times.

    Args:
        device: an open device that has their runtimes.
        bundles: in order of preference.
        labels: what each is called.
        request: how each is measured in one of its turns.
        sign_key: the key to sign with.
        progress: called as `progress(what, done, total)`.

    Returns:
        What was measured, None for a single bundle; and the choice.
    """
    if len(bundles) == 1:
        return None, only(labels[0], bundles[0].config.runtime)
    most = LOOKS * CALLS
    measured: list[Compared] = []
    while True:

        def told(what: str, done: int, total: int, number: int = len(measured) + 1) -> None:
            progress(f"{what}, {number} of at most {most}", done, total)

        measured.append(
            device.compare(bundles, request or REQUEST, rounds=ROUNDS, sign_key=sign_key, progress=told)
        )
        if len(measured) % CALLS == 0:
            compared = reduce(pooled, measured)
            decision = choose(compared, labels)
            if decision.settled or len(measured) == most:
                return compared, decision
