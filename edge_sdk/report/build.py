"""Reports built from what the road's stages gave: plan, conversion, bundle, deployment, benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from device_agent import protocol
from device_agent.bundle import Bundle
from device_agent.protocol import BenchmarkResult, Deployed
from edge_sdk.bench.statistics import summarize
from edge_sdk.report.result import (
    SCHEMA_VERSION,
    BenchReport,
    ConversionReport,
    ConvertReport,
    DeployReport,
    FidelityReport,
    LatencyReport,
    MachineReport,
    ModelReport,
    OutputFidelityReport,
    ParityReport,
    Placement,
    ProfileReport,
    RunsOnReport,
    RuntimeReport,
    SizesReport,
)

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.quantize.accuracy.fidelity import Fidelity
    from edge_sdk.saving import Saved
    from edge_sdk.signature import Signature


def conversion_report(
    conversion: Conversion, bundle: Bundle, runtime_version: str | None
) -> ConversionReport:
    """The report of a conversion that was packed.

    Args:
        conversion: what was made of the model.
        bundle: what it was packed as.
        runtime_version: the version that ran it on the device, None where it has not run.
    """
    model, plan, artifact = conversion.model, conversion.plan, conversion.artifact
    places = Counter((op.type, op.processor, op.reason) for op in plan.operators)
    return ConversionReport(
        model=ModelReport(
            name=model.name,
            path=str(model.path),
            format=model.format,
            sha256=model.sha256,
            operators=len(model.operators),
            parameters=model.parameters,
        ),
        target=plan.target,
        runtime=RuntimeReport(artifact.runtime, artifact.runtime_version, runtime_version),
        precision=artifact.precision,
        io=plan.recipe.io,
        placement=tuple(Placement(count, *place) for place, count in places.most_common()),
        operators=dict(Counter(artifact.operators).most_common()),
        float_operators=artifact.float_operators,
        execution=artifact.execution,
        rewrites={name: count for name, count in artifact.rewrites.items() if count},
        sizes_bytes=SizesReport(
            source=model.size_bytes,
            float32=conversion.baseline.size_bytes,
            deployed=artifact.size_bytes,
            bundle=bundle.size_bytes,
        ),
        fidelity=fidelity_report(conversion.fidelity),
        baseline_fidelity=fidelity_report(conversion.baseline_fidelity),
        notes=conversion.notes,
        search=conversion.search,
    )


def convert_report(conversion: Conversion, saved: Saved) -> ConvertReport:
    """The report of a conversion that was saved."""
    return ConvertReport(
        SCHEMA_VERSION,
        conversion_report(conversion, saved.bundle, None),
        str(saved.file),
        tuple(str(saved.file.with_name(title)) for title in conversion.artifact.titles),
        str(saved.bundle.path),
        saved.bundle.manifest_digest,
        None if saved.report is None else str(saved.report),
    )


def deploy_report(
    conversion: Conversion,
    bundle: Bundle,
    device: str,
    deployed: Deployed,
    result: BenchmarkResult | None,
    timings_ns: Mapping[str, int],
    signature: Signature | None = None,
) -> DeployReport:
    """The report of a deployment.

    Args:
        conversion: what was made of the model.
        bundle: what was pushed.
        device: the device's address.
        deployed: the agent's answer.
        result: the benchmark, None if none was run.
        timings_ns: step -> wall time on the host.
        signature: what was signed for it.
    """
    status = deployed.status
    return DeployReport(
        schema_version=SCHEMA_VERSION,
        conversion=conversion_report(conversion, bundle, None if result is None else result.runtime_version),
        device=device,
        name=status.name,
        parity=ParityReport(deployed.parity.passed, deployed.parity.samples, deployed.parity.tensors),
        runs_on=runs_on_report(deployed.placement),
        generation=status.generation,
        previous_generation=status.previous_generation,
        unchanged=deployed.unchanged,
        signature=signature,
        latency_ns=None if result is None else latency_report(result),
        latencies_ns=None if result is None else result.latencies_ns,
        load_ns=None if result is None else result.load_ns,
        from_cache=None if result is None else result.from_cache,
        first_load_ns=None if result is None else result.first_load_ns,
        peak_rss_bytes=None if result is None else result.peak_rss_bytes,
        machine=None if result is None else MachineReport(result.before, result.after),
        timings_ns=dict(timings_ns),
    )


def runs_on_report(placement: protocol.Placement | None) -> RunsOnReport | None:
    """Where the operators run; None where the runtime does not tell."""
    if placement is None:
        return None
    counts = Counter(operator.device for operator in placement.operators)
    return RunsOnReport(
        placement.device, dict(counts.most_common()), placement.departures, placement.operators
    )


def fidelity_report(fidelity: Fidelity | None) -> FidelityReport | None:
    """A fidelity with its overall figures: the worst of the outputs."""
    if fidelity is None:
        return None
    agreements = [o.top1_agreement for o in fidelity.outputs if o.top1_agreement is not None]
    ratios = [o.snr_db for o in fidelity.outputs if o.snr_db is not None]
    return FidelityReport(
        reference=fidelity.reference,
        data=fidelity.data,
        samples=fidelity.samples,
        top1_agreement=min(agreements, default=None),
        snr_db=min(ratios, default=None),
        outputs=tuple(
            OutputFidelityReport(o.name, o.top1_agreement, o.snr_db, o.max_abs_diff, o.reference_range)
            for o in fidelity.outputs
        ),
    )


def latency_report(result: BenchmarkResult) -> LatencyReport | None:
    """Percentiles of a benchmark's latencies; None if it has none."""
    summary = summarize(result.latencies_ns)
    if summary is None:
        return None
    return LatencyReport(summary.p50, summary.p90, summary.p99, summary.samples, result.threads)


def bench_report(device: str, result: BenchmarkResult) -> BenchReport:
    """The report of a benchmark on the device at that address."""
    return BenchReport(
        schema_version=SCHEMA_VERSION,
        device=device,
        name=result.name,
        generation=result.generation,
        runtime=result.runtime,
        runtime_version=result.runtime_version,
        latency_ns=latency_report(result),
        latencies_ns=result.latencies_ns,
        warmup_latencies_ns=result.warmup_latencies_ns,
        load_ns=result.load_ns,
        from_cache=result.from_cache,
        first_load_ns=result.first_load_ns,
        runs_per_second=result.runs_per_second,
        peak_rss_bytes=result.peak_rss_bytes,
        machine=MachineReport(result.before, result.after),
        runs_on=runs_on_report(result.placement),
        profile=profile_report(result),
    )


def profile_report(result: BenchmarkResult) -> ProfileReport | None:
    """Where a benchmark's time goes, the longest first; None if it was not asked."""
    profile, plain = result.profile, result.latencies_ns
    if profile is None:
        return None
    return ProfileReport(
        runs=profile.runs,
        latency_ns=profile.latency_ns,
        plain_latency_ns=round(sum(plain) / max(1, len(plain))),
        operators=tuple(sorted(profile.operators, key=lambda operator: -operator.ns)),
        unattributed_ns=profile.unattributed_ns,
        resolution_ns=profile.resolution_ns,
    )
