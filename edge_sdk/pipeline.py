"""The road as functions: load, plan, convert, pack, deploy, benchmark. Each is a place to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.progress import Progress, silent
from device_agent.protocol import BenchmarkRequest, BenchmarkResult

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.model import Model
    from converters.partition.types import Plan
    from converters.quantize.calibration import CalibrationSource
    from device_agent.bundle import Bundle
    from device_agent.statement import Selector
    from edge_sdk.devices.device import Deployment, Device
    from edge_sdk.signature import Signature
    from targets.schema import Target


def load(path: str | Path, *, batch: int = 1) -> Model:
    """Read a model file and check it.

    Args:
        path: `model.onnx`; the file's ending names its format.
        batch: what an open batch dimension becomes.

    Raises:
        FileMissing: no such file.
        InvalidModel: truncated, corrupt, of an unknown format, or with open dimensions beside the batch.
        InvalidRequest: `batch` is less than 1.
    """
    from converters import registry
    from converters.shaping import Shaping
    from device_agent.errors import InvalidRequest

    if batch < 1:
        raise InvalidRequest("the batch must be at least 1", got=str(batch))
    return registry.reader_for(Path(path)).read(Path(path), Shaping(batch))


def plan(model: Model, target: Target | str, *, precision: str = "int8", io: str = "integer") -> Plan:
    """Decide what becomes of a model on a target; writes nothing and opens no socket.

    Args:
        model: from `load`.
        target: a board, its name (`rpi4`) or the path of a board file.
        precision: `int8` (full-integer, per-channel weights) or `float32`.
        io: whether an int8 model's own inputs and outputs are `integer` or `float`.

    Returns:
        The plan; `plan.refusals` holds what cannot be done and why, empty if all can.

    Raises:
        UnknownTarget: no board of that name.
        InvalidRequest: an unknown precision or kind of ends.
    """
    from converters.partition import planner
    from converters.partition.types import Recipe
    from targets.schema import load_target

    board = load_target(target) if isinstance(target, str) else target
    recipe = Recipe(precision, "float" if precision == "float32" else io)
    return planner.plan(model, board, recipe=recipe)


def convert(
    model: Model,
    plan: Plan,
    *,
    calibration: CalibrationSource | None = None,
    preprocessing: Path | None = None,
    progress: Progress = silent,
) -> Conversion:
    """Make the compiled model a plan describes, and compare it with the source model.

    Args:
        model: from `load`.
        plan: from `plan`, for this model.
        calibration: an `.npz` or `.npy` file, a folder of images, `module:function`, or arrays
            (`float32[N, ...]` or a dict of them by input name). Needed for int8.
        preprocessing: how images become inputs (a TOML file); `preprocessing.toml` in the folder if None.
        progress: called as `progress(what, done, total)`.

    Raises:
        UnsupportedOperator: the plan holds refusals.
        CalibrationError: calibration data is needed and absent, or does not fit the model.
        QuantizationError: the model cannot be quantised as planned.
        FidelityError: the converted float model does not compute what the source model computes.
    """
    from converters.convert import convert as run
    from converters.quantize.calibration import load_calibration

    samples = None
    if calibration is not None:
        samples = load_calibration(calibration, model, preprocessing=preprocessing)
    return run(model, plan, calibration=samples, progress=progress)


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
        DiskFull: no room on the device.
        DeviceError: anything else on the device or the way to it.
    """
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
