"""What a conversion, a deployment and a benchmark did, measured. Their JSON is API: docs/report-schema.md.

A field's name is its key in the JSON; a `ConversionReport` inside another report is flattened into it.
Percentiles never stand alone: the raw latencies they were computed from are in the report beside them.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from converters.quantize.search.types import Search
from device_agent import codec
from device_agent.bundle import Execution
from device_agent.protocol import MachineState, OperatorTiming, PlacedOperator, TensorParity
from edge_sdk.bench.statistics import Percentile
from edge_sdk.signature import Signature

SCHEMA_VERSION = 1


@frozen
class ModelReport:
    """The source model. `parameters` counts the elements of its constants."""

    name: str
    path: str
    format: str
    sha256: str
    operators: int
    parameters: int


@frozen
class RuntimeReport:
    """The runtime that runs the model; `version` is the device's, None where nothing was measured."""

    name: str
    minimum_version: str
    version: str | None


@frozen
class Placement:
    """How many source operators of a type go to a processor for the same reason; None: folded away."""

    count: int
    type: str
    processor: str | None
    reason: str


@frozen
class SizesReport:
    """Sizes in bytes: the source file, the float32 and the deployed compiled file, the bundle's blobs."""

    source: int
    float32: int
    deployed: int
    bundle: int


@frozen
class OutputFidelityReport:
    """One output against the source model's, in the output's own unit; `snr_db` is None if identical."""

    name: str
    top1_agreement: float | None
    snr_db: float | None
    max_abs_diff: float
    reference_range: float


@frozen
class FidelityReport:
    """The deployed model against the source model in the source's own runtime.

    The overall figures are the worst of the outputs; None where no output has one.
    """

    reference: str
    data: str
    samples: int
    top1_agreement: float | None
    snr_db: float | None
    outputs: tuple[OutputFidelityReport, ...]


@frozen
class ParityReport:
    """The device against the host on the bundle's golden inputs."""

    passed: bool
    samples: int
    tensors: tuple[TensorParity, ...]


@frozen
class RunsOnReport:
    """Where the operators of the loaded model run on the device, as its runtime told.

    `devices` counts them by processor; `departures` say of each that runs elsewhere than planned where that
    is. `operators` are all of them, as the runtime made them of the model.
    """

    device: str  # what was asked for
    devices: dict[str, int]
    departures: tuple[str, ...]
    operators: tuple[PlacedOperator, ...]


@frozen
class LatencyReport:
    """Percentiles of the latency in nanoseconds, over `samples` runs on `threads` threads."""

    p50: Percentile
    p90: Percentile
    p99: Percentile
    samples: int
    threads: int


@frozen
class MachineReport:
    """The device's state before and after the benchmark."""

    before: MachineState
    after: MachineState


@frozen
class ConversionReport:
    """What became of the model, why, and how close it stays to its source.

    `search` is what a search for a precision found, None where there was none.
    """

    model: ModelReport
    target: str
    runtime: RuntimeReport
    precision: str
    io: str
    placement: tuple[Placement, ...]
    operators: dict[str, int]
    float_operators: tuple[str, ...]
    execution: Execution | None
    rewrites: dict[str, int]
    sizes_bytes: SizesReport
    fidelity: FidelityReport | None
    baseline_fidelity: FidelityReport | None
    notes: tuple[str, ...]
    search: Search | None


@frozen
class ConvertReport:
    """The result of `edge convert` and `edge quantize`: the conversion and the files it left.

    `report` is `quantization.json`, None where nothing was searched.
    """

    schema_version: int
    conversion: ConversionReport
    file: str
    files: tuple[str, ...]  # that one, and the others of the model: an IR's weights
    bundle: str
    manifest_digest: str
    report: str | None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return _flat(self)


@frozen
class DeployReport:
    """The result of `edge deploy`. The benchmark's fields are None where none was run."""

    schema_version: int
    conversion: ConversionReport
    device: str
    name: str
    parity: ParityReport
    runs_on: RunsOnReport | None
    generation: int
    previous_generation: int | None
    unchanged: bool
    signature: Signature | None
    latency_ns: LatencyReport | None
    latencies_ns: tuple[int, ...] | None
    load_ns: int | None
    from_cache: bool | None
    first_load_ns: int | None
    peak_rss_bytes: int | None
    machine: MachineReport | None
    timings_ns: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return _flat(self)


def _flat(report: ConvertReport | DeployReport) -> dict[str, Any]:
    data: dict[str, Any] = codec.to_json(report)
    version, conversion = data.pop("schema_version"), data.pop("conversion")
    return {"schema_version": version, **conversion, **data}


@frozen
class ProfileReport:
    """Where the time of a run goes, as `Profile` has it; the operators that take longest first.

    `plain_latency_ns` is the mean of the runs that were measured without counters.
    """

    runs: int
    latency_ns: int
    plain_latency_ns: int
    operators: tuple[OperatorTiming, ...]
    unattributed_ns: int
    resolution_ns: int


@frozen
class BenchReport:
    """One benchmark of a deployed model, with percentiles beside its raw latencies.

    `runs_per_second` is None where it was not loaded for throughput, `profile` where none was asked for.
    """

    schema_version: int
    device: str
    name: str
    generation: int
    runtime: str
    runtime_version: str
    latency_ns: LatencyReport | None
    latencies_ns: tuple[int, ...]
    warmup_latencies_ns: tuple[int, ...]
    load_ns: int
    from_cache: bool
    first_load_ns: int | None
    runs_per_second: float | None
    peak_rss_bytes: int
    machine: MachineReport
    runs_on: RunsOnReport | None
    profile: ProfileReport | None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data, in the order of the fields."""
        data: dict[str, Any] = codec.to_json(self)
        return data
