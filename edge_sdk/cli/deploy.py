"""`edge deploy`: the whole road, from a model file to a measured deployment."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen
from click.core import ParameterSource

from edge_sdk.cli import deploy_auto, deploy_bundle, output, several
from edge_sdk.cli.accuracy import AccuracyOptions, keeping
from edge_sdk.cli.clock import Clock
from edge_sdk.cli.options import DataOptions, PlanOptions, ShapeOptions, calibrating, planning
from edge_sdk.cli.running import AUTO, RuntimeOptions

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.model import Model
    from converters.partition.types import Plan
    from converters.progress import Progress
    from device_agent.errors import AccuracyMissed
    from device_agent.protocol import BenchmarkResult
    from edge_sdk.devices.device import Device
    from edge_sdk.report.result import DeployReport


@click.command("deploy", short_help="Convert a model, deploy it to a device and measure it.")
@planning
@calibrating
@keeping
@output.deploy_devices_option
@click.option("--name", help="The deployment's name on the device; made from the file's name by default.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the benchmark.")
@click.option("--no-bench", is_flag=True, help="Deploy without measuring.")
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep the bundle in DIR.",
)
@click.option(
    "--sign-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The SSH key to sign with; by default one of yours that is a signer of the device.",
)
@output.common
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    running: RuntimeOptions,
    batch: int,
    shapes: ShapeOptions,
    calibration: str | None,
    preprocessing: Path | None,
    fold_preprocessing: bool,
    accuracy: AccuracyOptions,
    addresses: tuple[str, ...],
    name: str | None,
    threads: int,
    no_bench: bool,
    folder: Path | None,
    sign_key: Path | None,
    json_to: str | None,
) -> None:
    """Convert MODEL, deploy it to one or more devices, compare device and host, and measure the latency.

    A bundle's folder in place of MODEL is deployed as it is, and not measured. A device that has signers
    takes signed bundles only: each is signed for it with your SSH key, unless `edge sign` has done so.

    Without --target the registered device's is taken; without --device the only registered device of the
    target (this machine for local, a temporary agent for null). On any failure the model that was active
    before stays active; so it does where the accuracy that is asked for cannot be kept (exit code 15), and
    the best that was found is then kept in DIR. With several devices the exit code is that of the worst.

    With --runtime auto the model is converted for each runtime of the target, all are measured in turns on
    the device, and the fastest is activated.
    """
    given = ctx.get_parameter_source("target") is not ParameterSource.DEFAULT
    names, target = _resolve(addresses, target, given=given)
    if deploy_bundle.is_bundle(path):
        _check_bundle(running)
        ctx.exit(deploy_bundle.deploy(path, names, sign_key, json_to))
    options = PlanOptions(path, target, precision, io_kind, batch, shapes, accuracy.search, running)
    data = DataOptions(calibration, preprocessing, accuracy, fold_preprocessing)
    after = After(name, folder, None if no_bench else threads, sign_key)
    if running.runtime == AUTO:
        _check_auto(running, data)
        ctx.exit(deploy_auto.deploy(names, options, data, after, json_to))
    if len(names) == 1:
        _deploy_to_one(names[0], options, data, after, json_to)
        return
    code = _deploy_to_several(names, options, data, after, json_to)
    if code:
        ctx.exit(code)


@frozen
class After:
    """What follows the conversion: the deployment's name, where the bundle is kept, threads if measured,
    the key to sign with."""

    name: str | None
    folder: Path | None
    threads: int | None
    sign_key: Path | None

    def bundle_folder(self, stack: ExitStack) -> Path:
        """Where the bundle goes; a temporary folder unless it is to be kept."""
        return self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-")))

    def place(self, conversion: Conversion, device: Device, progress: Progress) -> Conversion:
        """The conversion with a processor for each operator, where it is to be spread over several."""
        from edge_sdk import placing

        return placing.place(conversion, device, name=self.name, sign_key=self.sign_key, progress=progress)

    def keep(self, missed: AccuracyMissed) -> None:
        """Keep the best that was found where a folder was named, and what was tried in the error."""
        from edge_sdk import saving
        from edge_sdk.report import quantization

        missed.report = quantization.document(missed.best, missed.best.search)
        if self.folder is not None:
            saving.save_bundle(missed.best, self.folder, name=self.name)

    def measure(self, device: Device, name: str, progress: Progress) -> BenchmarkResult | None:
        """Benchmark a deployment; None where that is not asked for."""
        from device_agent.protocol import BenchmarkRequest

        if self.threads is None:
            return None
        return device.benchmark(name, BenchmarkRequest(threads=self.threads), progress=progress)


def _check_bundle(running: RuntimeOptions) -> None:
    """A bundle says itself what runs it, and how: options that say otherwise are refused."""
    from device_agent.errors import InvalidRequest

    if running != RuntimeOptions():
        raise InvalidRequest(
            "a bundle says itself which runtime runs it, and how",
            got="options of the runtime, and a bundle",
            next_step="Deploy the model that it was made from with them, or the bundle without.",
        )


def _check_auto(running: RuntimeOptions, data: DataOptions) -> None:
    """The runtimes are compared as each runs by itself: what only one of them could be told is refused."""
    from device_agent.errors import InvalidRequest

    if data.fold:
        raise InvalidRequest(
            "only a model for OpenVINO can hold its preprocessing",
            got="--fold-preprocessing with --runtime auto",
            next_step="Choose `--runtime openvino`, or leave it away.",
        )
    if running.execution is not None:
        raise InvalidRequest(
            "the runtimes are compared as each runs usually",
            got="--runtime auto with how OpenVINO is to run the model",
            next_step="Say that with `--runtime openvino`, or leave it away.",
        )


def _resolve(addresses: tuple[str, ...], target: str, *, given: bool) -> tuple[tuple[str, ...], str]:
    """The devices and the target that the command line means."""
    from device_agent.errors import InvalidRequest
    from edge_sdk.devices import selection

    twice = {name for name in addresses if addresses.count(name) > 1}
    if twice:
        raise InvalidRequest("a device is named twice", where="--device", got=", ".join(sorted(twice)))
    if not addresses:
        return (selection.choose(target),), target
    if not given:
        return addresses, selection.target_of(addresses, target)
    for address in addresses:
        selection.check_target(address, target)
    return addresses, target


def _deploy_to_one(
    address: str,
    options: PlanOptions,
    data: DataOptions,
    after: After,
    json_to: str | None,
) -> None:
    from edge_sdk import pipeline, placing, saving
    from edge_sdk.devices.selection import open_device
    from edge_sdk.report import text
    from edge_sdk.report.build import deploy_report
    from targets.schema import load_target

    clock = Clock()
    with ExitStack() as stack:
        progress = stack.enter_context(output.progress())
        with clock.step("plan"):
            progress("read the model", 0, 0)
            model, plan = options.plan()
        with clock.step("connect"):  # before the conversion: a device that is away is worth knowing first
            progress("reach the device", 0, 0)
            device = stack.enter_context(open_device(address, options.target))
            placing.check(plan, load_target(options.target), device)
        with clock.step("convert"):
            conversion = _converted(model, plan, data, after, progress)
        with clock.step("place", shown=placing.spreads(conversion)):
            conversion = after.place(conversion, device, progress)
        with clock.step("pack"):
            bundle = saving.save_bundle(conversion, after.bundle_folder(stack), name=after.name)
        with clock.step("deploy"):
            deployment = pipeline.deploy(bundle, device, sign_key=after.sign_key, progress=progress)
        with clock.step("benchmark", shown=after.threads is not None):
            result = after.measure(device, deployment.name, progress)
    report = deploy_report(
        conversion,
        bundle,
        address,
        deployment.deployed,
        result,
        clock.timings_ns,
        deployment.signature,
    )
    output.emit(report.to_json(), json_to, lambda: text.print_deployment(report))


def _deploy_to_several(
    names: tuple[str, ...],
    options: PlanOptions,
    data: DataOptions,
    after: After,
    json_to: str | None,
) -> int:
    """One conversion for all devices; the exit code of the worst.

    Where a runtime spreads the model over processors, each device has a bundle of its own, made from that.
    """
    from device_agent.errors import EdgeError
    from edge_sdk import packing, pipeline, placing, saving
    from edge_sdk.devices import fleet
    from edge_sdk.report import summary
    from edge_sdk.report.build import deploy_report
    from targets.schema import load_target

    clock = Clock()
    with ExitStack() as stack:
        progress = stack.enter_context(output.progress(live=False))
        with clock.step("plan"):
            progress("read the model", 0, 0)
            model, plan = options.plan()
        board = load_target(options.target)
        devices, reached = several.connected(names, options.target, stack, progress)

        def check(name: str) -> Clock:
            own = reached[name]
            if isinstance(own, EdgeError):
                raise own
            placing.check(plan, board, devices[name])
            return own

        reached = several.any_of(fleet.for_each(names, check))
        with clock.step("convert"):
            converted = _converted(model, plan, data, after, progress)
        folder = after.bundle_folder(stack)
        with clock.step("pack"):
            packed = saving.save_bundle(converted, folder, name=after.name)

        def deploy(name: str) -> DeployReport:
            own = reached[name]
            if isinstance(own, EdgeError):
                raise own

            def shown(what: str, done: int, total: int) -> None:
                progress(f"{name}: {what}", done, total)

            conversion, bundle = converted, packed
            if placing.spreads(converted):
                with own.step("place"):
                    conversion = after.place(converted, devices[name], shown)
                    place = folder / packing.deployment_name(name)
                    bundle = saving.save_bundle(conversion, place, name=after.name)
            with own.step("deploy"):
                deployment = pipeline.deploy(bundle, devices[name], sign_key=after.sign_key, progress=shown)
            with own.step("benchmark", shown=after.threads is not None):
                result = after.measure(devices[name], deployment.name, shown)
            timings = {**clock.timings_ns, **own.timings_ns}
            return deploy_report(
                conversion, bundle, name, deployment.deployed, result, timings, deployment.signature
            )

        outcomes = fleet.for_each(names, deploy)
    output.emit(
        summary.to_json(outcomes, lambda _name, report: report.to_json()),
        json_to,
        lambda: summary.print_outcomes(outcomes, summary.DEPLOY_HEADS, summary.deploy_row),
    )
    return summary.exit_code(outcomes)


def _converted(model: Model, plan: Plan, data: DataOptions, after: After, progress: Progress) -> Conversion:
    """The conversion; one that misses its accuracy is kept where a folder was named, and refused."""
    from device_agent.errors import AccuracyMissed

    try:
        return data.convert(model, plan, progress)
    except AccuracyMissed as missed:
        after.keep(missed)
        raise
