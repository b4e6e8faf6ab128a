"""The road as functions: load, plan, convert, pack, deploy, benchmark. Each is a place to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from converters.progress import Progress, silent
from device_agent.protocol import BenchmarkRequest, BenchmarkResult

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.model import Model
    from converters.optimize import Optimization
    from converters.partition.types import Plan
    from converters.preflight import Preflight
    from converters.quantize.samples.calibration import CalibrationSource
    from device_agent.bundle import Bundle, Execution
    from device_agent.statement import Selector
    from edge_sdk.devices.device import Deployment, Device
    from edge_sdk.signature import Signature
    from targets.schema import Target


def load(
    path: str | Path | object,
    *,
    batch: int = 1,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    bind: Mapping[str, object] | None = None,
    dynamic: Mapping[str, int | Sequence[int]] | None = None,
    layout: str = "keep",
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
) -> Model:
    """Read a model file, or take a model as it is in memory; fix its inputs and check it.

    Args:
        path: `model.onnx`; the file's ending names its format, or what is in the folder. Or a
            `torch.nn.Module`, a `torch.export.ExportedProgram` or a `keras.Model`.
        batch: what an open batch dimension becomes.
        input_shapes: whole shapes of inputs, as the source names and lays them out.
        bind: inputs that become constants: a number, a bool, an array, or the name of an `.npy` file.
        dynamic: axes of inputs (the first is 0) that stay open in the compiled model and can be resized in
            the runtime; it starts with the size that the axis has here.
        layout: how image inputs and outputs of a channel-first model lie in the compiled one: `keep` or
            `nhwc`.
        example_inputs: of a torch module only: the positional arguments of its `forward`, as a tuple of
            tensors; their shapes become the model's.
        example_kwargs: of a torch module only: the keyword arguments of its `forward`.

    Raises:
        FileMissing: no such file.
        InvalidModel: truncated, corrupt, of an unknown format, or with a dimension that stays open.
        InvalidRequest: `batch` is less than 1, or what is asked of the inputs does not fit the file; a
            module without examples, in training mode, or not on the CPU; or examples for a file.
        MissingDependency: the package that reads the format is not installed.
    """
    from converters import registry
    from converters.binding import array_of
    from converters.readers import keras, torch_module
    from converters.shaping import Shaping
    from device_agent.errors import InvalidRequest

    if batch < 1:
        raise InvalidRequest("the batch must be at least 1", got=str(batch))
    shaping = Shaping(
        batch=batch,
        input_shapes={name: tuple(shape) for name, shape in (input_shapes or {}).items()},
        bind={name: array_of(value) for name, value in (bind or {}).items()},
        layout=layout,
        dynamic={
            name: (axes,) if isinstance(axes, int) else tuple(axes) for name, axes in (dynamic or {}).items()
        },
    )
    if torch_module.is_torch(path):
        return torch_module.read(path, example_inputs, example_kwargs, shaping)
    if example_inputs is not None or example_kwargs is not None:
        raise InvalidRequest("example inputs are for a torch module in memory", where=str(path))
    if not isinstance(path, str | Path):
        return keras.from_memory(path, shaping)
    return registry.reader_for(Path(path)).read(Path(path), shaping)


def optimize(path: str | Path, output: str | Path | None = None, *, fix_shapes: bool = False) -> Optimization:
    """Make a `.tflite` file leaner without changing what it computes, and prove that.

    Args:
        path: `model.tflite`, float or quantised.
        output: where the result is written; nowhere if None.
        fix_shapes: let axes that a run may resize be what the file states; more rewrites apply then.

    Returns:
        The rewritten file (`data`), what each rewrite did (`account`), the costs before and after, and how
        the outputs of both compare on generated inputs.

    Raises:
        FileMissing: no such file.
        InvalidModel: not TFLite, corrupt, or it holds what a rewrite would lose or what cannot be run here.
        FidelityError: the rewritten file computes something else; nothing is written.
        OutputError: the result cannot be written, or would replace the file it was made from.
    """
    from converters.optimize import optimize as run
    from device_agent.errors import OutputError

    source, target = Path(path), None if output is None else Path(output)
    if target is not None and target.resolve() == source.resolve():
        raise OutputError("the result would replace the model it was made from", where=str(target))
    made = run(source, fix_shapes=fix_shapes)
    if target is not None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(made.data)
        except OSError as e:
            raise OutputError("cannot write the file", where=str(target), got=str(e)) from e
    return made


def plan(
    model: Model,
    target: Target | str,
    *,
    precision: str = "auto",
    io: str = "integer",
    metric: str | None = None,
    max_drop: float | None = None,
    confidence: float = 0.95,
    prove: bool = False,
    ranges: str | None = None,
    repairs: Sequence[str] | None = None,
    time_budget: float | None = None,
    memory_budget: int | None = None,
    judge: bool = False,
    runtime: str | None = None,
    execution: Execution | None = None,
) -> Plan:
    """Decide what becomes of a model on a target; writes nothing and opens no socket.

    Args:
        model: from `load`.
        target: a board, its name (`rpi4`) or the path of a board file.
        precision: `auto` (full-integer int8, and more where that costs accuracy), `int8`, `int16x8`,
            `dynamic`, `weight-int8`, `weight-int4`, `float16` or `float32`.
        io: whether the inputs and outputs of a model that computes in integers are `integer` or `float`.
        metric: what accuracy is: a name or `module:function`; by the data and the outputs if None.
        max_drop: how much worse than float the result may be, in the metric's unit; the metric's own default
            if None.
        confidence: of the bounds of the drop.
        prove: the upper bound of the drop must be within `max_drop`, not only the drop itself.
        ranges: how the ranges of activations are chosen: `minmax`, `percentile`, `mse` or `octav`.
        repairs: what is mended before rounding; `auto` tries each of them, all that it knows if None.
        time_budget: seconds after which a search stops.
        memory_budget: bytes of this process that a search may take.
        judge: judge a named precision too; `metric`, `max_drop` or `prove` ask for that as well.
        runtime: that of the board which is to run it: `litert`, `openvino`; the board's preferred if None.
        execution: how a runtime with several processors is to run it; an empty `device` is the board's
            processor, a `precision` of None float32 where the device has it. The usual if None.

    Returns:
        The plan; `plan.refusals` holds what cannot be done and why, empty if all can. Where it is not,
        `plan.alternatives` says what the board's other runtimes would do.

    Raises:
        UnknownTarget: no board of that name.
        InvalidRequest: an unknown precision, kind of ends, range method or repair, or a senseless number;
            the board lacks the runtime, or the runtime what is asked of it.
        MissingDependency: the runtime's converter is not installed.
    """
    from converters.partition import planner
    from converters.partition.types import Accuracy, Recipe
    from targets.schema import load_target

    board = load_target(target) if isinstance(target, str) else target
    asked = Accuracy(metric, max_drop, confidence, prove, time_budget, memory_budget)
    judged = judge or precision == "auto" or metric is not None or max_drop is not None or prove
    named = None if repairs is None else tuple(repairs)
    recipe = Recipe(precision, io, ranges, named, accuracy=asked if judged else None)
    made = planner.plan(model, board, recipe=recipe, runtime=runtime, execution=execution)
    return planner.with_alternatives(made, model, board, recipe=recipe)


def inspect(model: Model, target: Target | str | None = None, *, precision: str | None = None) -> Preflight:
    """Look at a model before anything is made of it; writes nothing, runs nothing and opens no socket.

    Args:
        model: from `load`.
        target: a board to compare it with, its name (`rpi4`) or the path of a board file.
        precision: `int8` or `float32` on that board; what `plan` would take if None.

    Returns:
        Operators, work and memory of the model, every refusal with its reason, and whether it fits.

    Raises:
        UnknownTarget: no board of that name.
        InvalidModel: operators of a TFLite file do not fit their tensors.
        InvalidRequest: the board or the model cannot be had in `precision`.
    """
    from converters.preflight import preflight
    from targets.schema import load_target

    board = load_target(target) if isinstance(target, str) else target
    if board is not None and board.ram_bytes is None and board.architecture == "host":
        board = evolve(board, ram_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return preflight(model, board, precision=precision)


def convert(
    model: Model,
    plan: Plan,
    *,
    calibration: CalibrationSource | None = None,
    preprocessing: Path | None = None,
    validation: CalibrationSource | None = None,
    labels: Any = None,
    resume: str | Path | None = None,
    fold_preprocessing: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """Make the compiled model a plan describes, and compare it with the source model.

    Args:
        model: from `load`.
        plan: from `plan`, for this model.
        calibration: an `.npz` or `.npy` file, a folder of images, `module:function`, or arrays
            (`float32[N, ...]` or a dict of them by input name). Needed where activations are quantised.
        preprocessing: how images become inputs (a TOML file); `preprocessing.toml` in the folder if None.
        validation: samples that accuracy is judged on, as `calibration`; the calibration samples if None.
        labels: of the validation samples: a file or an array, `[N, ...]`; a file of samples may hold them.
        resume: a file that keeps what a search tried, to go on from there.
        fold_preprocessing: the compiled model takes pixels (`uint8[N, H, W, C]`) and prepares them itself;
            for OpenVINO, calibrated with a folder of images.
        progress: called as `progress(what, done, total)`.

    Raises:
        UnsupportedOperator: the plan holds refusals.
        CalibrationError: calibration data is needed and absent, or does not fit the model.
        QuantizationError: the model cannot be quantised as planned.
        FidelityError: the converted float model does not compute what the source model computes.
        MetricError: the metric cannot judge the model with these labels.
        AccuracyMissed: no candidate keeps the accuracy that the plan asks for; `best` of the error is the
            conversion that came nearest.
        BudgetExceeded: the search does not fit the memory it may use.
        InvalidRequest: labels without samples, or for samples that can be read only once.
    """
    from converters.convert import convert as run
    from edge_sdk import samples

    calibrating, judged = samples.load(
        model, calibration, preprocessing=preprocessing, validation=validation, labels=labels,
        progress=progress,
    )  # fmt: skip
    if fold_preprocessing:
        from converters.openvino import pixels

        pixels.check(plan.runtime, None if calibrating is None else calibrating.preprocessing, plan.model)
    made = run(
        model,
        plan,
        calibration=calibrating,
        validation=judged,
        resume=None if resume is None else Path(resume),
        progress=progress,
    )
    return pixels.taking_pixels(made) if fold_preprocessing else made


def pack(conversion: Conversion, path: str | Path, *, name: str | None = None) -> Bundle:
    """Write a conversion as a bundle: an OCI image layout in the folder `path`.

    Args:
        conversion: from `convert`.
        path: the folder; a bundle in it is replaced.
        name: the deployment's name on devices; made from the model's file name if None.

    Raises:
        InvalidRequest: `name` cannot name a deployment.
        OutputError: the folder cannot be written.
    """
    from edge_sdk import packing

    return packing.pack(conversion, Path(path), name=name)


def device(address: str = "local", *, target: str | None = None) -> Device:
    """A device to deploy to, to be used as a context manager.

    Args:
        address: `local` is this machine (its agent is started on demand); `fake` is an agent with a
            temporary store, gone afterwards; a name of `edge devices add`; or an SSH address,
            `user@host[:port]` or `ssh://user@host:port`.
        target: the board that an address which is not registered is; unknown if None.

    Raises:
        InvalidRequest: none of these.
        HostKeyRefused: on entering the context, when the host is not known by the key it shows.
        AgentUnreachable: on entering the context, when no agent answers.
    """
    from edge_sdk.devices.selection import open_device

    return open_device(address, target)


def open_bundle(path: str | Path) -> Bundle:
    """The bundle in a folder that `pack` wrote.

    Raises:
        FileMissing: there is none.
        InvalidBundle: it is damaged.
    """
    from device_agent.bundle import read_bundle

    return read_bundle(Path(path))


def sign(
    bundle: Bundle | str | Path,
    key: str | Path,
    selector: Selector,
    *,
    generation: int,
    least_agent: str | None = None,
) -> Signature:
    """Sign a bundle for devices that cannot be asked now, and keep that in its folder.

    Args:
        bundle: from `pack`, or its folder.
        key: a private key file, or the .pub file of a key that the SSH agent holds.
        selector: the devices it is for: `Selector(devices=(id, ...), targets=(board, ...))`.
        generation: greater than every one that was signed for this model before.
        least_agent: agents older than this refuse it.

    Raises:
        FileMissing: no bundle or no key there.
        UntrustedSigner: the key cannot sign.
        MissingDependency: there is no ssh-keygen.
    """
    from device_agent.bundle import Bundle
    from edge_sdk import signing
    from edge_sdk.signature import Signature

    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    found = signing.key_at(Path(key))
    least = least_agent or signing.LEAST_AGENT
    signing.store(opened, signing.sign(opened, found, selector, generation, least_agent=least))
    return Signature(True, found.public.fingerprint, found.label, generation)


def deploy(
    bundle: Bundle,
    device: Device,
    *,
    sign_key: str | Path | None = None,
    progress: Progress = silent,
) -> Deployment:
    """Push a bundle to a device and activate it; on any failure the model before it stays active.

    Args:
        bundle: from `pack`; one that `sign` has signed is sent as it was signed.
        device: an open device.
        sign_key: the key to sign with; if None, one of yours that is a signer of the device.
        progress: called as `progress(what, done, total)`.

    Raises:
        UntrustedSigner: the device takes signed bundles only, and you have no key that it trusts.
        ActivationFailed: the device does not compute what the host computed, or cannot load the model.
        DeploymentConflict: another deployment of the same model is under way.
        DeviceUnsuitable: it has no processor of the kind that the bundle is for, or no driver for it.
        DiskFull: no room on the device.
        DeviceError: anything else on the device or the way to it.
    """
    from edge_sdk import placing

    placing.check_bundle(bundle, device)
    key = None if sign_key is None else Path(sign_key)
    return device.deploy(bundle, sign_key=key, progress=progress)


def benchmark(
    device: Device, name: str, request: BenchmarkRequest | None = None, *, progress: Progress = silent
) -> BenchmarkResult:
    """Measure a deployed model's latency on its device.

    Args:
        device: an open device.
        name: the deployment's name.
        request: iterations, seconds and threads; the defaults of `BenchmarkRequest` if None.
        progress: called as `progress(what, done, total)`.

    Raises:
        UnknownModel: no such deployment.
        WorkerFailed: the model's worker crashed or hung.
    """
    return device.benchmark(name, request or BenchmarkRequest(), progress=progress)
