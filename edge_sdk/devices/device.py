"""`Device`: a target that can be reached through a transport, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from converters.progress import Progress, silent
from device_agent import codec
from device_agent.bundle import Bundle
from device_agent.errors import DeviceError, InvalidRequest, ProtocolError
from device_agent.protocol import (
    AgentInfo,
    BenchmarkRequest,
    BenchmarkResult,
    Compared,
    CompareRequest,
    Deployed,
    DeploymentStatus,
    DeployRequest,
    Event,
    HistoryEntry,
    Parity,
    Queried,
    QueryRequest,
    RuntimeDevice,
)
from device_agent.tensors import Tensor
from device_agent.trust import Offer
from edge_sdk import signing
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.base import Transport
from edge_sdk.devices.upload import push
from edge_sdk.signature import Signature
from targets.schema import Target

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
# one of several rounds is short: what drifts on the device shall meet every candidate
A_ROUND = BenchmarkRequest(warmup_iterations=10, min_iterations=20, min_seconds=0.25, max_seconds=10.0)


@frozen
class Deployment:
    """A bundle active on a device under a name; remembers the generation before it."""

    device: str
    deployed: Deployed
    sent_bytes: int
    signature: Signature | None = None  # None for a rollback

    @property
    def name(self) -> str:
        """The name it answers to."""
        return self.deployed.status.name

    @property
    def generation(self) -> int:
        """The generation that answers."""
        return self.deployed.status.generation

    @property
    def previous_generation(self) -> int | None:
        """What a rollback would bring back; None where there is nothing."""
        return self.deployed.status.previous_generation

    @property
    def parity(self) -> Parity:
        """The device against the host on the bundle's golden inputs."""
        return self.deployed.parity


class Device:
    """A device; use it as a context manager, within which its agent can be reached.

    Args:
        name: the name or address it goes by.
        target: what it is; None where it is an address that nothing is known of.
        transport: how to reach it.
        keys: gives the user's key files for it, of which one may be a signer.
    """

    def __init__(
        self,
        name: str,
        target: Target | None,
        transport: Transport,
        keys: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        self._keys = keys
        self.name = name
        self.target = target
        self._transport = transport
        self._client: AgentClient | None = None

    def __enter__(self) -> Device:
        self._transport.open()
        self._client = AgentClient(self._transport)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._transport.close()

    @property
    def client(self) -> AgentClient:
        """The agent's routes.

        Raises:
            DeviceError: the device is not open.
        """
        if self._client is None:
            raise DeviceError(
                "the device is not open",
                where=self.name,
                next_step="Use it as a context manager: `with edge_sdk.device(...) as device:`.",
            )
        return self._client

    @property
    def transport(self) -> Transport:
        """How the device is reached."""
        return self._transport

    def describe(self) -> AgentInfo:
        """The machine as its agent sees it: architecture, memory, runtimes, temperature."""
        return self.client.agent()

    def deployments(self) -> tuple[DeploymentStatus, ...]:
        """Every model deployed on the device."""
        return self.client.models()

    def deploy(
        self, bundle: Bundle, *, sign_key: Path | None = None, progress: Progress = silent
    ) -> Deployment:
        """Push a bundle and activate it; on any failure the model before it stays active.

        Args:
            bundle: its config's name is the deployment's.
            sign_key: the key to sign with; if None, one of the user's that is a signer of the device.
            progress: called as `progress(what, done, total)`.

        Raises:
            UntrustedSigner: the device takes signed bundles only, and the user has no key that it trusts.
            ActivationFailed: the device cannot load the model, or computes something else than the host.
            DeploymentConflict: another deployment of the same name is under way.
            DeviceError: anything else; see device_agent.errors.
        """
        offer, signature = self._signed(bundle, sign_key)
        sent = push(self.client, bundle, progress)
        events = self.client.deploy(bundle.config.name, bundle.manifest_digest, offer)
        return Deployment(self.name, _result(events, Deployed, progress, "activate"), sent, signature)

    def rollback(self, name: str, *, progress: Progress = silent) -> Deployment:
        """Bring back the generation before the active one.

        Raises:
            UnknownModel: no such deployment.
            NothingToRollBack: it has no earlier generation.
        """
        return Deployment(self.name, _result(self.client.rollback(name), Deployed, progress, "roll back"), 0)

    def remove(self, name: str) -> None:
        """Remove a deployment; UnknownModel where there is none of that name."""
        self.client.remove(name)

    def benchmark(
        self, name: str, request: BenchmarkRequest | None = None, *, progress: Progress = silent
    ) -> BenchmarkResult:
        """Measure a deployment's latency in its worker; see `edge_sdk.benchmark`."""
        events = self.client.benchmark(name, request or BenchmarkRequest())
        return _result(events, BenchmarkResult, progress, "measure")

    def compare(
        self,
        bundles: Sequence[Bundle],
        request: BenchmarkRequest | None = None,
        *,
        rounds: int = 8,
        sign_key: Path | None = None,
        progress: Progress = silent,
    ) -> Compared:
        """Push bundles of one name and measure them in turns, without activating any.

        What they brought stays until one of them is deployed, at most an hour: then the others' is removed.

        Args:
            bundles: the candidates, two or more.
            request: how to measure one in one round; if None, `A_ROUND`.
            rounds: in each of which each is measured once.
            sign_key: as for `deploy`.
            progress: called as `progress(what, done, total)`.

        Returns:
            What was measured of each bundle, in their order; one that failed carries its error.

        Raises:
            InvalidRequest: the bundles are not of one name, or too few or too many.
            DeploymentConflict: another comparison is under way on the device, or an operation on the model.
            EdgeError: one of them could not be deployed; as for `deploy`.
        """
        names = {bundle.config.name for bundle in bundles}
        if len(names) != 1:
            raise InvalidRequest(
                "bundles that are compared have one name", got=", ".join(sorted(names)) or "no bundle"
            )
        offered = tuple(self._offered(bundle, sign_key) for bundle in bundles)
        for bundle in bundles:
            push(self.client, bundle, progress)
        events = self.client.compare(names.pop(), CompareRequest(offered, request or A_ROUND, rounds))
        return _result(events, Compared, progress, "compare")

    def query(
        self,
        bundle: Bundle,
        devices: Sequence[str],
        *,
        sign_key: Path | None = None,
        progress: Progress = silent,
    ) -> Queried:
        """Push a bundle and ask its runtime which operators each of its processors can run.

        Args:
            bundle: which is not activated.
            devices: the runtime's names of the processors.
            sign_key: as for `deploy`.
            progress: called as `progress(what, done, total)`.

        Raises:
            InvalidRequest: the runtime cannot be asked.
            EdgeError: as for `compare`.
        """
        request = QueryRequest(self._offered(bundle, sign_key), tuple(devices))
        push(self.client, bundle, progress)
        return self.client.query(bundle.config.name, request)

    def runtime_devices(self, runtime: str) -> tuple[RuntimeDevice, ...]:
        """The processors that a runtime can use on the device, and those that it should and cannot.

        Raises:
            RuntimeMissing: the runtime is not installed there.
            InvalidRequest: it cannot be asked.
        """
        return self.client.runtime_devices(runtime)

    def _signed(self, bundle: Bundle, sign_key: Path | None) -> tuple[Offer, Signature]:
        return signing.prepare(
            self.describe().trust,
            bundle,
            lambda: self.client.signature(bundle.config.name),
            self._keys,
            sign_key=sign_key,
        )

    def _offered(self, bundle: Bundle, sign_key: Path | None) -> DeployRequest:
        offer, _ = self._signed(bundle, sign_key)
        return DeployRequest(bundle.manifest_digest, offer.statement, offer.signature)

    def infer(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a deployed model once.

        Args:
            name: the deployment's name.
            inputs: every input of the model by name, in its dtype and shape.

        Returns:
            Every output by name.

        Raises:
            UnknownModel: no such deployment.
            InvalidRequest: an input is missing or does not fit.
        """
        import numpy as np

        tensors = {
            key: Tensor(array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes())
            for key, array in inputs.items()
        }
        return {
            key: np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
            for key, tensor in self.client.infer(name, tensors).items()
        }

    def logs(
        self, lines: int = 100, *, level: str = "info", follow: bool = False
    ) -> Iterator[dict[str, object]]:
        """The newest lines of the agent's log, oldest first; with `follow`, then those to come."""
        return self.client.logs(lines, level, follow=follow)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """How every deployment and rollback of a model ended, oldest first."""
        return self.client.history(name)


def _result(events: Iterator[Event], kind: type[T], progress: Progress, what: str) -> T:
    """The result that an event stream ends with; its other events go to `progress`.

    States of the activation machine are shown by name, anything else as `what`.
    """
    for event in events:
        if event.kind == "result":
            try:
                return codec.from_json(event.result, kind, where=what)
            except InvalidRequest as e:
                raise ProtocolError("the agent's answer has another form", where=what, got=e.got) from e
        label = f"{what}: {event.state}" if event.state is not None else what
        progress(label, event.done or 0, event.total or 0)
    raise ProtocolError("the agent's answer ended without a result", where=what)
