"""Reports for people, on stdout: short, readable in 80 columns, ending with what to type next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from edge_sdk.bench.statistics import Percentile
from edge_sdk.report import layout, profile, quantization, running
from edge_sdk.report.layout import Row, seconds, size
from edge_sdk.report.result import BenchReport, ConversionReport, ConvertReport, DeployReport

if TYPE_CHECKING:
    from converters.partition.types import Plan
    from edge_sdk.report.result import FidelityReport


def print_deployment(report: DeployReport) -> None:
    """A deployment: what was converted and why so, how close it is, how fast, and what to type next."""
    conversion, name = report.conversion, report.name
    state = "was active already as" if report.unchanged else "is active as"
    before = report.previous_generation
    rows = [
        *_conversion_rows(conversion),
        ("Parity", _parity(report)),
        *running.rows(report.runs_on),
        *_latency_rows(report),
        ("Generation", f"{report.generation}" + (f", before it {before}" if before is not None else "")),
        ("Signed", str(report.signature or "not told")),
        ("Time", ", ".join(f"{step} {seconds(ns)}" for step, ns in report.timings_ns.items())),
    ]
    layout.show(f"{conversion.model.name} {state} {name!r} on {report.device}", rows)
    device = f" --device {report.device}"  # also local: without it a registered device may be meant
    if report.device == "fake":
        layout.lines(["", "The fake device is gone with everything on it; `--device local` keeps it."])
        return
    steps = [(f"edge bench {name} --threads 4{device}", "measure again")]
    if before is not None:
        steps.append((f"edge rollback {name}{device}", f"back to generation {before}"))
    steps.append((f"edge forward --port 8000{device}", "let any inference client use it"))
    layout.next_steps(steps)


def print_conversion(report: ConvertReport) -> None:
    """A conversion that was kept in a folder."""
    rows = [*_conversion_rows(report.conversion), ("Files", "\n".join((*report.files, report.bundle)))]
    layout.show(f"{report.conversion.model.name} is converted for {report.conversion.target}", rows)


def print_quantization(report: ConvertReport) -> None:
    """A quantised model: the search that found it, then what was made and where it lies."""
    conversion = report.conversion
    if conversion.search is None:
        print_conversion(report)
        return
    quantization.show(conversion.model.name, conversion.search)
    layout.lines([""])
    files = "\n".join(filter(None, (*report.files, report.bundle, report.report)))
    rest = _conversion_rows(evolve(conversion, search=None))  # what the search has not said
    rows = [row for row in rest if row[0] in ("Made", "Operators", "Float", "Note")]
    layout.show(f"{conversion.model.name} for {conversion.target}", [*rows, ("Files", files)])


def print_bench(report: BenchReport, top: int = profile.TOP) -> None:
    """A benchmark of a deployed model; of its profile the `top` operators that take longest."""
    rows = [
        ("Runtime", f"{report.runtime} {report.runtime_version}"),
        *running.rows(report.runs_on),
        *_latency_rows(report),
    ]
    if report.runs_per_second is not None:
        rows.append(("Throughput", f"{report.runs_per_second:.4g} runs per second side by side"))
    layout.show(f"{report.name}, generation {report.generation}, on {report.device}", rows)
    if report.profile is not None:
        layout.lines([""])
        median_ns = None if report.latency_ns is None else report.latency_ns.p50.value
        profile.show(report.profile, top, median_ns)


def print_plan(plan: Plan) -> None:
    """Every operator of a plan with its processor and the reason, then the refusals."""
    recipe = plan.recipe
    verdict = "can be made" if plan.accepted else "is refused"
    ends = f"{recipe.precision}, {recipe.io} ends"
    runtime = f"{plan.runtime} >= {plan.runtime_version}"
    if plan.execution is not None:
        runtime += f" {running.words(plan.execution)}"
    layout.lines([f"{plan.model} for {plan.target}: {verdict} ({runtime}, {ends})"])
    layout.lines(quantization.planned(recipe))
    shapes = [f"{name}{list(shape)}" for name, shape in plan.inputs.shapes.items()]
    fixed = [f"{name} is {value}" for name, value in plan.inputs.bound.items()]
    layout.lines([f"inputs: {', '.join(shapes + fixed)}"])
    layout.lines(f"stays open: {size}" for size in plan.inputs.dynamic)
    rows = [(str(op.index), op.type, op.name, op.processor or "-", op.reason) for op in plan.operators]
    layout.table(("#", "operator", "name", "runs on", "reason"), rows)
    layout.lines(f"refused: {refusal}" for refusal in plan.refusals)
    layout.lines(running.alternatives(plan.alternatives))


def _conversion_rows(report: ConversionReport) -> list[Row]:
    sizes, runtime = report.sizes_bytes, report.runtime
    ends = f"{report.io} in and out"
    kind = report.precision if not report.float_operators else f"{report.precision}, some float"
    version = runtime.version or f">= {runtime.minimum_version}"
    if report.execution is not None:
        version += f" {running.words(report.execution)}"
    compiled = sum(report.operators.values())
    share = f" ({100 * sizes.deployed / sizes.float32:.0f} %)" if sizes.float32 != sizes.deployed else ""
    rows = [
        ("Made", f"{report.precision} for {report.target}, {ends}, run by {runtime.name} {version}"),
        ("Operators", f"{report.model.operators} became {compiled} ({kind}): {_counts(report.operators)}"),
        ("Why", "\n".join(f"{p.count} x {p.type}: {p.reason}" for p in report.placement)),
    ]
    if report.float_operators:
        rows.append(("Float", _counts(Counter(report.float_operators))))
    if report.rewrites:
        rows.append(("Rewrites", _counts(report.rewrites)))
    compared = f"float32 {size(sizes.float32)}, deployed {size(sizes.deployed)}{share}"
    rows.append(("Size", f"source {size(sizes.source)}, {compared}, bundle {size(sizes.bundle)}"))
    if report.search is not None:
        rows.append(quantization.accuracy_row(report.search))
    rows.append(("Fidelity", _fidelity(report)))
    notes = report.notes if report.search is None else (*report.notes, *report.search.notes)
    if notes:
        rows.append(("Note", "\n".join(notes)))
    return rows


def _fidelity(report: ConversionReport) -> str:
    fidelity, baseline = report.fidelity, report.baseline_fidelity
    if fidelity is None:
        return "not compared: the runtime computes nothing"
    lines = [_agreement(fidelity)]
    if baseline is not None and report.precision != "float32":
        lines.append(f"(float32: {_agreement(baseline)})")
    lines.append(f"{fidelity.samples} samples of {fidelity.data} against {fidelity.reference}")
    return "\n".join(lines)


def _agreement(fidelity: FidelityReport) -> str:
    exact = all(output.snr_db is None for output in fidelity.outputs)
    ratio = "identical" if exact else f"SNR {fidelity.snr_db:.1f} dB"
    if fidelity.top1_agreement is None:
        return ratio
    return f"top-1 agreement {100 * fidelity.top1_agreement:.2f} %, {ratio}"


def _parity(report: DeployReport) -> str:
    parity = report.parity
    worst = ", ".join(
        f"{tensor.name} off by {tensor.max_abs_diff:g}{'' if 'float' in tensor.dtype else ' steps'}"
        f" ({tensor.tolerance:g} allowed)"
        for tensor in parity.tensors
    )
    verdict = "device and host agree" if parity.passed else "device and host differ"
    return f"{verdict} on {parity.samples} golden samples: {worst}"


def _latency_rows(report: BenchReport | DeployReport) -> list[Row]:
    latency, load_ns, peak, machine = (
        report.latency_ns,
        report.load_ns,
        report.peak_rss_bytes,
        report.machine,
    )
    if latency is None or load_ns is None or peak is None or machine is None:
        return [("Latency", "not measured")]
    lines = [f"{name} {_percentile(getattr(latency, name))}" for name in ("p50", "p90", "p99")]
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    confidence = f"{100 * latency.p50.confidence:.0f} % confidence intervals"
    lines.append(f"{latency.samples} runs on {threads}, {confidence}")
    loaded = seconds(load_ns)
    if report.from_cache:
        first = report.first_load_ns
        loaded += " from the cache" + (f", first load {seconds(first)}" if first is not None else "")
    return [
        ("Latency", "\n".join(lines)),
        ("Memory", f"peak {size(peak)} in the model's process, loaded in {loaded}"),
        ("Machine", layout.machine_state(machine.after)),
    ]


def _percentile(percentile: Percentile) -> str:
    if percentile.low is None or percentile.high is None:
        return f"{seconds(percentile.value)}, too few runs for an interval"
    interval = f"{seconds(percentile.low)} to {seconds(percentile.high)}"
    return f"{seconds(percentile.value)} ({interval})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
