"""`edge bench`: the latency of a deployed model."""

from __future__ import annotations

import click

from edge_sdk.cli import output


@click.command("bench", short_help="Measure the latency of a deployed model.")
@click.argument("name")
@click.option(
    "--iterations", type=click.IntRange(min=1), default=200, show_default=True, help="Run at least so often."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Measure at least so long, or 50,000 runs.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the runtime.")
@output.device_option
@output.common
def command(
    name: str, iterations: int, seconds: float, threads: int, address: str, json_to: str | None
) -> None:
    """Measure the latency of deployment NAME on its device: one run, inputs in place, outputs ready."""
    from device_agent.protocol import BenchmarkRequest
    from edge_sdk import pipeline
    from edge_sdk.report import text
    from edge_sdk.report.build import bench_report

    request = BenchmarkRequest(
        min_iterations=iterations,
        min_seconds=seconds,
        max_seconds=max(BenchmarkRequest().max_seconds, seconds),
        threads=threads,
    )
    with output.progress() as progress, pipeline.device(address) as device:
        result = pipeline.benchmark(device, name, request, progress=progress)
    report = bench_report(address, result)
    output.emit(report.to_json(), json_to, lambda: text.print_bench(report))
