"""The wire between host and agent: HTTP/1.1 on the agent's Unix socket, JSON bodies of these types.

    GET    /edge/v1/agent                    AgentInfo
    GET    /edge/v1/lease                    held open by a host; an on-demand agent ends when none is left
    POST   /edge/v1/agent/keep               an on-demand agent becomes a lasting one
    POST   /edge/v1/agent/shutdown           ends the agent once its answer is sent
    HEAD   /edge/v1/blobs/{digest}           200 with Content-Length, or 404
    POST   /edge/v1/uploads                  Upload-Length, Upload-Digest -> 201, Location, Upload-Offset
    HEAD   /edge/v1/uploads/{id}             Upload-Offset, Upload-Length
    PATCH  /edge/v1/uploads/{id}             Upload-Offset, Upload-Checksum: sha256 <base64> -> 204
    GET    /edge/v1/models                   [DeploymentStatus]
    GET    /edge/v1/models/{name}            DeploymentStatus
    GET    /edge/v1/models/{name}/history    [HistoryEntry], oldest first
    GET    /edge/v1/models/{name}/signature  SignatureStatus, also of a name that nothing was deployed under
    DELETE /edge/v1/models/{name}            204
    POST   /edge/v1/models/{name}/deploy     DeployRequest -> events, the result a Deployed
    POST   /edge/v1/models/{name}/rollback   events, the result a Deployed
    POST   /edge/v1/models/{name}/benchmark  BenchmarkRequest -> events, the result a BenchmarkResult
    POST   /edge/v1/models/{name}/compare    CompareRequest -> events, the result a Compared
    POST   /edge/v1/models/{name}/query      QueryRequest -> Queried
    GET    /edge/v1/runtimes/{name}/devices  [RuntimeDevice]
    GET    /edge/v1/logs?lines=N&follow=1&level=info   JSON lines, oldest first
    GET    /metrics                          Prometheus text format 0.0.4
    GET    /v2, /v2/health/*, /v2/models/*   Open Inference Protocol v2

Uploads follow tus 1.0 (https://tus.io/protocols/resumable-upload): HEAD for the offset, PATCH at the
offset, a checksum per chunk; a 204 says that the chunk is on the medium, and PATCHes may be pipelined
(the first refusal is then the last answer). With `Upload-Receipt: ?1` a 104 comes before the 204, as soon
as no cut of the connection takes the chunk any more. `Upload-Digest: sha256:<hex>` is the digest of the
whole blob; asking again for a digest whose upload is unfinished answers with that upload and its offset.

Events are newline-delimited JSON (`application/x-ndjson`), each an `Event`; the last one has kind
`result` or `error`. Errors elsewhere are `EdgeError.to_json()` with the class's HTTP status. Every answer
has an `X-Request-Id`: the request's own where it brought one, else one made here; errors and log lines
that belong to the request carry it too. 429 comes with `Retry-After`; `Edge-Timeout-Ms` of an inference
is how long its client waits.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

PROTOCOL_VERSION = 1
EVENTS_MEDIA_TYPE = "application/x-ndjson"
RECEIPT = 104  # the status of an interim answer: the chunk is received (Upload Resumption Supported)


@frozen
class RuntimeInfo:
    """A runtime installed on the device."""

    name: str
    version: str


@frozen
class MachineState:
    """What disturbs a measurement, read at one moment; None where the machine does not say."""

    temperature_c: float | None
    governor: str | None
    frequency_hz: int | None
    load_1m: float
    memory_available_bytes: int


@frozen
class TrustInfo:
    """Which device this is, and what it asks of a bundle."""

    device_id: str  # empty where no agent has run yet
    target: str | None  # the board that it was told it is
    policy: str  # require; off: no signer was ever installed; accepts unsigned: told so when started
    signers: tuple[str, ...]  # fingerprints of the keys whose signature counts
    verifier: bool  # whether ssh-keygen is there, which checks them
    problem: str = ""  # why no signature counts just now


@frozen
class RuntimeDevice:
    """A processor that a runtime can use on the device, or one that it should and cannot.

    `name` is the runtime's (`CPU`, `GPU.0`, `NPU`), `title` the maker's. `capabilities` are what it computes
    in, in the runtime's words. `problem` is empty where it can be used; else why not (no driver).
    """

    name: str
    title: str
    capabilities: tuple[str, ...]
    problem: str = ""


@frozen
class PlacedOperator:
    """An operator of a loaded model, and where it runs.

    `sources` are the operators of the model's file that it was made of (none: the runtime added it).
    """

    name: str
    type: str
    device: str
    precision: str
    sources: tuple[str, ...]


@frozen
class Placement:
    """Where the operators of a loaded model run, read from the runtime, against what was planned.

    `departures` say of each operator that runs elsewhere than planned where that is.
    """

    device: str  # what was asked for
    operators: tuple[PlacedOperator, ...]
    departures: tuple[str, ...] = ()


@frozen
class OperatorTiming:
    """The time that one operator of a loaded model took."""

    name: str
    type: str
    kernel: str  # what computed it, in the runtime's words
    device: str
    ns: int


@frozen
class Profile:
    """Where the time of a run goes: means over `runs` runs that were measured with counters on.

    `unattributed_ns` is `latency_ns` less the operators' sum: the runtime's own work between them.
    `resolution_ns` is that of its counters in a single run.
    """

    runs: int
    latency_ns: int
    operators: tuple[OperatorTiming, ...]
    unattributed_ns: int
    resolution_ns: int = 1


@frozen
class AgentInfo:
    """The agent's description of itself and of its machine."""

    protocol: int
    agent_version: str
    pid: int
    hostname: str
    machine: str  # of the userland: x86_64, aarch64, armv7l
    word_bits: int  # 64 or 32, of the userland: `machine` alone lies on a 64-bit kernel
    system: str
    python: str
    cpu_model: str
    cpu_count: int
    ram_bytes: int
    disk_free_bytes: int
    runtimes: tuple[RuntimeInfo, ...]
    isolation: str  # of workers: `unit`, a sandboxed systemd unit each; `process`, which is weaker
    on_demand: bool
    state_dir: str
    state: MachineState
    release: str | None = None  # what `edge devices install` installed; None where it did not
    trust: TrustInfo | None = None  # None: an agent from before there were signatures
    isolation_gaps: tuple[str, ...] = ()  # what of the isolation this machine does not enforce
    memory_cgroup: bool | None = None  # whether the kernel can limit memory; None from an older agent


@frozen
class DeploymentStatus:
    """One deployed model: the generation that answers, and the one a rollback would bring back."""

    name: str
    generation: int
    manifest_digest: str
    state: str  # a state of the activation machine; COMMITTED or ROLLED_BACK when at rest
    previous_generation: int | None
    runtime: str
    target: str
    size_bytes: int


@frozen
class HistoryEntry:
    """How one deployment or rollback ended."""

    generation: int
    manifest_digest: str
    outcome: str  # COMMITTED, ROLLED_BACK or FAILED
    reason: str
    finished_at: str  # ISO 8601, UTC, by the device's clock


@frozen
class SignatureStatus:
    """What was signed under a model's name."""

    highest_generation: int  # of the signers' count, that was committed; the next one must be greater
    statement: str = ""  # of what is active; empty where that is not signed
    signature: str = ""


@frozen
class TensorParity:
    """Device against host for one output, the worst over all golden samples.

    `max_abs_diff` is in the tensor's own unit: quantisation steps for an integer tensor.
    """

    name: str
    dtype: str
    max_abs_diff: float
    tolerance: float
    passed: bool


@frozen
class Parity:
    """Whether the device computes what the host computed, on the bundle's golden inputs."""

    samples: int
    tensors: tuple[TensorParity, ...]

    @property
    def passed(self) -> bool:
        """Every output of every sample is within its tolerance."""
        return all(tensor.passed for tensor in self.tensors)


@frozen
class DeployRequest:
    """Activate the bundle whose manifest blob has this digest (all its blobs are already uploaded).

    `statement` is the text that its signer signed, see `statement`; `signature` is armored SSHSIG.
    """

    manifest_digest: str
    statement: str = ""
    signature: str = ""


@frozen
class QueryRequest:
    """Which operators of an uploaded bundle's model each of these devices of its runtime can run."""

    bundle: DeployRequest
    devices: tuple[str, ...]


@frozen
class QueriedDevice:
    """The operators, by name, that a device of the runtime can run; `problem`: why it cannot be asked."""

    device: str
    operators: tuple[str, ...]
    problem: str = ""


@frozen
class Queried:
    """The answer to a QueryRequest, in its order. `operators` are all that the model has."""

    operators: tuple[str, ...]
    devices: tuple[QueriedDevice, ...]


@frozen
class Deployed:
    """The result of a deployment or rollback that was committed."""

    status: DeploymentStatus
    parity: Parity
    unchanged: bool = False  # the same manifest was active already: nothing was written
    placement: Placement | None = None  # None: a runtime that does not tell


@frozen
class BenchmarkRequest:
    """How to measure: at least `min_iterations` and `min_seconds`, at most `max_seconds`."""

    warmup_iterations: int = 10
    min_iterations: int = 200
    min_seconds: float = 1.0
    max_seconds: float = 60.0
    threads: int = 1
    profile: bool = False  # count the time of each operator as well, in runs of their own
    hint: str | None = None  # latency or throughput instead of what the bundle says
    streams: int | None = None  # as `hint`


@frozen
class BenchmarkResult:
    """Raw latencies of one model in its worker; percentiles are computed from them, never stored.

    A latency is one `run` of the runtime: inputs already in place, outputs ready to be read.
    """

    name: str
    generation: int
    runtime: str
    runtime_version: str
    threads: int
    load_ns: int
    warmup_latencies_ns: tuple[int, ...]
    latencies_ns: tuple[int, ...]
    peak_rss_bytes: int
    before: MachineState
    after: MachineState
    from_cache: bool = False  # whether `load_ns` is of a load from what was compiled before
    first_load_ns: int | None = None  # of the load that compiled it; None where nothing is kept
    profile: Profile | None = None
    placement: Placement | None = None
    runs_per_second: float | None = None  # with as many runs side by side as the runtime likes (throughput)


@frozen
class CompareRequest:
    """Measure uploaded bundles of one name in turns, without activating any.

    In each of `rounds` rounds each candidate is measured once as `request` says, the order turning round.
    """

    candidates: tuple[DeployRequest, ...]
    request: BenchmarkRequest
    rounds: int = 8


@frozen
class Measured:
    """One candidate of a comparison. `error` (`EdgeError.to_json()`) tells why it was not measured.

    `latencies_ns` are those of each round, in order.
    """

    manifest_digest: str
    runtime: str
    runtime_version: str = ""
    load_ns: int = 0
    latencies_ns: tuple[tuple[int, ...], ...] = ()
    peak_rss_bytes: int = 0
    parity: Parity | None = None
    placement: Placement | None = None
    error: dict[str, Any] | None = None


@frozen
class Compared:
    """The answer to a CompareRequest, in its order. Nothing of it stays on the device."""

    name: str
    threads: int
    candidates: tuple[Measured, ...]
    before: MachineState
    after: MachineState


@frozen
class Event:
    """One line of an event stream.

    kind `state`: the activation machine entered `state`. `progress`: `done` of `total` iterations or
    bytes. `result`: `result` holds the answer. `error`: `error` holds `EdgeError.to_json()`.
    """

    kind: str
    message: str = ""
    state: str | None = None
    done: int | None = None
    total: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = field(default=None)
