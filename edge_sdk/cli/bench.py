"""`edge bench`: the latency of a deployed model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_sdk.cli import output, several

if TYPE_CHECKING:
    from converters.progress import Progress
    from edge_sdk.devices.device import Device


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
@click.option(
    "--profile", is_flag=True, help="Then measure again, with counters: where the time goes, by operator."
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="With --profile, list so many operators; the rest are one line.",
)
@click.option(
    "--hint",
    type=click.Choice(["latency", "throughput"]),
    help="What OpenVINO loads the model for, instead of what it was deployed with.",
)
@click.option(
    "--streams", type=click.IntRange(min=1), help="How many runs OpenVINO makes room for side by side."
)
@several.which
@output.common
def command(
    name: str,
    iterations: int,
    seconds: float,
    threads: int,
    profile: bool,
    top: int,
    hint: str | None,
    streams: int | None,
    addresses: tuple[str, ...],
    target: str | None,
    json_to: str | None,
) -> None:
    """Measure the latency of deployment NAME on its device: one run, inputs in place, outputs ready."""
    from device_agent.protocol import BenchmarkRequest, BenchmarkResult
    from edge_sdk.report import layout, text
    from edge_sdk.report.build import bench_report, latency_report

    request = BenchmarkRequest(
        min_iterations=iterations,
        min_seconds=seconds,
        max_seconds=max(BenchmarkRequest().max_seconds, seconds),
        threads=threads,
        profile=profile,
        hint=hint,
        streams=streams,
    )

    def work(device: Device, progress: Progress) -> BenchmarkResult:
        return device.benchmark(name, request, progress=progress)

    def row(result: BenchmarkResult) -> tuple[str, ...]:
        latency = latency_report(result)
        if latency is None:
            return ("nothing measured", str(result.generation), "-", "-", "-")
        points = (layout.seconds(point.value) for point in (latency.p50, latency.p90, latency.p99))
        return ("measured", str(result.generation), *points)

    shown = several.Shown(
        to_json=lambda device, result: bench_report(device, result).to_json(),
        text=lambda device, result: text.print_bench(bench_report(device, result), top),
        heads=("outcome", "generation", "p50", "p90", "p99"),
        row=row,
    )
    several.run(several.meant(addresses, target, name), work, shown, json_to)
