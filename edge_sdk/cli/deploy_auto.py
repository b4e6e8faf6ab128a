"""`edge deploy --runtime auto`: every runtime is tried on the device, the fastest is kept."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from edge_sdk.cli import output, several
from edge_sdk.cli.clock import Clock

if TYPE_CHECKING:
    from converters.model import Model
    from converters.progress import Progress
    from edge_sdk.cli.deploy import After
    from edge_sdk.cli.options import DataOptions, PlanOptions
    from edge_sdk.devices.device import Device
    from edge_sdk.fastest import Candidates
    from edge_sdk.report.choice import ChoiceReport
    from edge_sdk.report.result import DeployReport

HEADS = ("outcome", "generation", "parity", "p50", "p99", "chosen")


@frozen
class Outcome:
    """A deployment, and how its runtime was chosen."""

    deployed: DeployReport
    choice: ChoiceReport

    def to_json(self) -> dict[str, Any]:
        """The deployment's report with the choice under `choice`."""
        return {**self.deployed.to_json(), "choice": self.choice.to_json()}

    def row(self) -> tuple[str, ...]:
        """Its cells under HEADS."""
        from edge_sdk.report import choice, summary

        return (*summary.deploy_row(self.deployed), choice.choice_cell(self.choice))


def deploy(
    names: tuple[str, ...], options: PlanOptions, data: DataOptions, after: After, json_to: str | None
) -> int:
    """Deploy to one or more devices what is the fastest on each; the exit code of the worst.

    Args:
        names: the devices.
        options: what is planned; for every runtime of the target.
        data: the samples.
        after: what follows the conversions.
        json_to: of the command line.

    Raises:
        EdgeError: what failed, where there is one device only.
    """
    if len(names) == 1:
        _one(names[0], options, data, after, json_to)
        return 0
    return _several(names, options, data, after, json_to)


def _one(name: str, options: PlanOptions, data: DataOptions, after: After, json_to: str | None) -> None:
    from edge_sdk.devices.selection import open_device
    from edge_sdk.report import choice, text

    clock = Clock()
    with ExitStack() as stack:
        progress = stack.enter_context(output.progress())
        with clock.step("plan"):
            progress("read the model", 0, 0)
            model = options.load()
        with clock.step("connect"):
            progress("reach the device", 0, 0)
            device = stack.enter_context(open_device(name, options.target))
        with clock.step("convert"):
            found = _candidates(model, (device,), options, data, after, progress)
        outcome = _deployed(found, device, name, after, clock, progress)

    def show() -> None:
        choice.print_choice(outcome.choice)
        text.print_deployment(outcome.deployed)

    output.emit(outcome.to_json(), json_to, show)


def _several(
    names: tuple[str, ...], options: PlanOptions, data: DataOptions, after: After, json_to: str | None
) -> int:
    from device_agent.errors import EdgeError
    from edge_sdk import packing
    from edge_sdk.devices import fleet
    from edge_sdk.report import summary

    clock = Clock()
    with ExitStack() as stack:
        progress = stack.enter_context(output.progress(live=False))
        with clock.step("plan"):
            progress("read the model", 0, 0)
            model = options.load()
        devices, reached = several.connected(names, options.target, stack, progress)
        with clock.step("convert"):
            there = tuple(
                devices[name] for name, found in reached.items() if not isinstance(found, EdgeError)
            )
            found = _candidates(model, there, options, data, after, progress)

        def one(name: str) -> Outcome:
            own = reached[name]
            if isinstance(own, EdgeError):
                raise own

            def shown(what: str, done: int, total: int) -> None:
                progress(f"{name}: {what}", done, total)

            folder = None if after.folder is None else after.folder / packing.deployment_name(name)
            return _deployed(found, devices[name], name, evolve(after, folder=folder), own, shown)

        outcomes = fleet.for_each(names, one)
    output.emit(
        summary.to_json(outcomes, lambda _name, outcome: outcome.to_json()),
        json_to,
        lambda: summary.print_outcomes(outcomes, HEADS, Outcome.row),
    )
    return summary.exit_code(outcomes)


def _candidates(
    model: Model,
    devices: tuple[Device, ...],
    options: PlanOptions,
    data: DataOptions,
    after: After,
    progress: Progress,
) -> Candidates:
    """The model for every runtime of the target that a device has."""
    from device_agent.errors import AccuracyMissed
    from edge_sdk import fastest
    from targets.schema import load_target

    accuracy = data.accuracy
    try:
        return fastest.candidates(
            model, load_target(options.target), devices,
            calibration=data.calibration, preprocessing=data.preprocessing, validation=accuracy.validation,
            labels=accuracy.labels, resume=accuracy.resume, execution=options.running.execution,
            progress=progress, **options.asked(),
        )  # fmt: skip
    except AccuracyMissed as missed:
        after.keep(missed)
        raise


def _deployed(
    found: Candidates, device: Device, name: str, after: After, clock: Clock, progress: Progress
) -> Outcome:
    """Measure the candidates on a device, and deploy the one that is chosen."""
    from edge_sdk import fastest, pipeline
    from edge_sdk.report.build import deploy_report
    from edge_sdk.report.choice import choice_report

    request = evolve(fastest.REQUEST, threads=after.threads or 1)
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        with clock.step("compare"):
            choice = fastest.choose_on(
                device, found, Path(folder), name=after.name, output=after.folder, request=request,
                sign_key=after.sign_key, progress=progress,
            )  # fmt: skip
        with clock.step("deploy"):
            deployment = pipeline.deploy(choice.bundle, device, sign_key=after.sign_key, progress=progress)
        with clock.step("benchmark", shown=after.threads is not None):
            result = after.measure(device, deployment.name, progress)
    report = deploy_report(
        choice.chosen.conversion, choice.bundle, name, deployment.deployed, result, clock.timings_ns,
        deployment.signature,
    )  # fmt: skip
    return Outcome(report, choice_report(choice))
