"""What is tried on the device and leaves nothing on it: comparisons of bundles, and questions to runtimes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from device_agent import candidate, contest, log, runtimes
from device_agent.activator import Activator
from device_agent.bundle import Manifest, check_digest
from device_agent.candidate import Candidate, digests_of
from device_agent.contest import Contest, Emit
from device_agent.errors import DeploymentConflict, InvalidRequest
from device_agent.protocol import (
    Compared,
    CompareRequest,
    DeployRequest,
    Queried,
    QueryRequest,
    RuntimeDevice,
)
from device_agent.serving import Serving
from device_agent.store import Store
from device_agent.trust import Offer

MAX_DEVICES = 16
MAX_DEVICE_LENGTH = 80


DEVICES_S = 5.0  # for which an answer about processors holds


@frozen
class Bare:
    """What a worker is started with that is to load nothing."""

    runtime: str
    model: Path = Path("/dev/null")

    @property
    def label(self) -> str:
        """What to call it in errors and logs."""
        return f"runtime {self.runtime}"

    def parts(self) -> dict[str, Path]:
        """None."""
        return {}


def check(asked: QueryRequest) -> QueryRequest:
    """`asked` itself, if it can be done; InvalidRequest otherwise."""
    names = asked.devices
    if not 1 <= len(names) <= MAX_DEVICES or not all(0 < len(name) <= MAX_DEVICE_LENGTH for name in names):
        raise InvalidRequest(
            "not names of a runtime's processors",
            where="devices",
            got=repr(names)[:200],
            expected=f"1 to {MAX_DEVICES} of 1 to {MAX_DEVICE_LENGTH} characters",
        )
    return asked


class Trials:
    """Runs uploaded bundles without activating them: one comparison or query at a time, on a quiet machine.

    A bundle is run only if it could be deployed: admitted as a deployment of it is, statement and all. But
    no generation is made and nothing is recorded, so that the same statement deploys it afterwards.
    """

    def __init__(self, store: Store, activator: Activator, serving: Serving) -> None:
        self._store = store
        self._activator = activator
        self._serving = serving
        self._under_way = ""
        self._asking = asyncio.Lock()
        self._devices: dict[tuple[str, str], tuple[float, tuple[RuntimeDevice, ...]]] = {}

    async def compare(self, name: str, asked: CompareRequest, emit: Emit) -> Compared:
        """Measure bundles in turns. What the losers brought goes when the winner is deployed.

        Args:
            name: that each of them could be deployed under.
            asked: the bundles, and how to measure.
            emit: called once every bundle has been admitted, and then all the time.

        Raises:
            InvalidRequest: the request makes no sense.
            DeploymentConflict: another comparison or query, or an operation on the model, is under way.
            EdgeError: a bundle could not be deployed; as `Activator.deploy`.
        """
        contest.check(asked)
        began = time.monotonic()
        with self._alone("comparison"), self._activator.claim(name):
            admitted = [await self._admit(name, offered) for offered in asked.candidates]
            digests = frozenset().union(*(digests_of(*pair) for pair in admitted))
            with self._store.compared(name, digests):
                candidates = [await self._read(*pair) for pair in admitted]
                found = await Contest(candidates, asked, self._serving, emit).run(name)
        failed = sum(row.error is not None for row in found.candidates)
        seconds = round(time.monotonic() - began, 3)
        log.event("compared", model=name, candidates=len(candidates), left_out=failed, seconds=seconds)
        return found

    async def query(self, name: str, asked: QueryRequest) -> Queried:
        """Ask a bundle's runtime which operators of its model each of its processors can run.

        Args:
            name: that the bundle could be deployed under.
            asked: the bundle and the processors.

        Raises:
            InvalidRequest: the request makes no sense, or the runtime cannot be asked.
            EdgeError: as of `compare`; WorkerFailed where the runtime fails.
        """
        check(asked)
        with self._alone("query"):
            digest, manifest = await self._admit(name, asked.bundle)
            with self._store.in_use(digests_of(digest, manifest)):
                bundle = await self._read(digest, manifest)
                async with self._serving.worker_of(bundle) as worker:
                    return await worker.query(bundle.config, asked.devices)

    async def devices(self, runtime: str) -> tuple[RuntimeDevice, ...]:
        """The processors that a runtime has here, as of the last few seconds: some can be unplugged.

        Raises:
            RuntimeMissing: it is not installed.
            InvalidRequest: it cannot be asked.
        """
        version = runtimes.check(runtime, "0")
        async with self._asking:  # one worker for all who ask at once
            asked_at, found = self._devices.get((runtime, version), (-math.inf, ()))
            if time.monotonic() - asked_at > DEVICES_S:
                async with self._serving.worker_of(Bare(runtime)) as worker:
                    found = await worker.devices(runtime)
                self._devices[runtime, version] = (time.monotonic(), found)
        return found

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Keep off every other comparison or query: it would be measured."""
        if self._under_way:
            raise DeploymentConflict(
                f"a {self._under_way} is under way on this device",
                next_step="Wait for it to end and try again.",
            )
        self._under_way = what
        try:
            yield
        finally:
            self._under_way = ""

    async def _admit(self, name: str, offered: DeployRequest) -> tuple[str, Manifest]:
        digest = check_digest(offered.manifest_digest)
        manifest, _ = await self._activator.admit(name, digest, Offer(offered.statement, offered.signature))
        return digest, manifest

    async def _read(self, digest: str, manifest: Manifest) -> Candidate:
        return await asyncio.to_thread(candidate.read, self._store, digest, manifest)
