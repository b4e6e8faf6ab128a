"""`edge deploy`: the whole road, from a model file to a measured deployment."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from edge_sdk.cli import output
from edge_sdk.cli.options import PlanOptions, calibrating, planning


@click.command("deploy", short_help="Convert a model, deploy it to a device and measure it.")
@planning
@calibrating
@output.device_option
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
@output.common
def command(
    path: Path,
    target: str,
    precision: str,
    io_kind: str,
    batch: int,
    calibration: str | None,
    preprocessing: Path | None,
    address: str,
    name: str | None,
    threads: int,
    no_bench: bool,
    folder: Path | None,
    json_to: str | None,
) -> None:
    """Convert MODEL, deploy it to a device, compare device and host, and measure the latency.

    On any failure the model that was active before stays active.
    """
    from device_agent.protocol import BenchmarkRequest
    from edge_sdk import pipeline
    from edge_sdk.report import text
    from edge_sdk.report.build import deploy_report

    clock = Clock()
    with ExitStack() as stack:
        progress = stack.enter_context(output.progress())
        with clock.step("plan"):
            progress("read the model", 0, 0)
            model, plan = PlanOptions(path, target, precision, io_kind, batch).plan()
        with clock.step("connect"):  # before the conversion: a device that is away is worth knowing first
            progress("reach the device", 0, 0)
            device = stack.enter_context(pipeline.device(address))
        with clock.step("convert"):
            conversion = pipeline.convert(
                model, plan, calibration=calibration, preprocessing=preprocessing, progress=progress
            )
        with clock.step("pack"):
            kept = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-")))
            bundle = pipeline.pack(conversion, kept, name=name)
        with clock.step("deploy"):
            deployment = pipeline.deploy(bundle, device, progress=progress)
        result = None
        if not no_bench:
            with clock.step("benchmark"):
                request = BenchmarkRequest(threads=threads)
                result = pipeline.benchmark(device, deployment.name, request, progress=progress)
    report = deploy_report(conversion, bundle, address, deployment.deployed, result, clock.timings_ns)
    output.emit(report.to_json(), json_to, lambda: text.print_deployment(report))


class Clock:
    """Wall time of each step on the host; `timings_ns` is step -> nanoseconds, in order."""

    def __init__(self) -> None:
        self.timings_ns: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the body."""
        begin = time.perf_counter_ns()
        yield
        self.timings_ns[name] = time.perf_counter_ns() - begin
