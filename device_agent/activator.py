"""Deploys, rolls back, removes and recovers: does what `activation` decides, to the store and the serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Protocol

from attrs import define

from device_agent import activation, log, statement
from device_agent.activation import Action, Facts, ModelRecord, State, next_state
from device_agent.admission import examine
from device_agent.bundle import Manifest, check_digest, check_name
from device_agent.errors import (
    DeploymentConflict,
    DeviceError,
    EdgeError,
    NothingToRollBack,
    UnknownModel,
)
from device_agent.protocol import (
    Deployed,
    DeploymentStatus,
    Event,
    HistoryEntry,
    Parity,
    SignatureStatus,
)
from device_agent.records import RecordFile
from device_agent.store import Generation, Store
from device_agent.trust import UNSIGNED, Highest, Offer, Signed, Trust

Emit = Callable[[Event], None]


class Live(Protocol):
    """What the activator needs of the serving side; see `serving.Serving`."""

    def switch(self, name: str, generation: Generation | None) -> None:
        """Let this generation answer from now on, or nothing."""
        ...

    async def preflight(self, generation: Generation) -> Parity:
        """Check a generation that is not live yet; ActivationFailed if it is not fit."""
        ...

    async def probe(self, name: str) -> Parity:
        """Check what is live, the way that requests go; ActivationFailed if it is not fit."""
        ...

    async def retire(self, name: str) -> None:
        """Give up what the generations of a model that are not live still hold."""
        ...


@define
class _Run:
    """An operation under way. `begin` changes the record, `manifest` is staged (None: it is on disk)."""

    name: str
    begin: Callable[[ModelRecord], ModelRecord]
    manifest: Manifest | None
    signed: Signed | None = None
    generation: Generation | None = None
    parity: Parity | None = None


class Activator:
    """The only one who changes what is deployed. Used from the event loop's thread; the disk's work is
    done in other threads.
    """

    def __init__(self, models: Store, records: RecordFile, live: Live, trust: Trust | None = None) -> None:
        self._store = models
        self._trust = trust or Trust(models.root)
        self._records = records
        self._live = live
        self._busy: set[str] = set()  # models with an operation under way
        self._states: dict[str, State] = {}  # where those operations are
        self._generations: dict[str, Generation] = {}  # what is live

    def start(self) -> None:
        """Bring every model to rest, whatever state the agent was ended in; then what is active is live."""
        if not self._records.found:
            self._rebuild()
        self._recall_signed()
        for name in sorted({*self._records.models, *self._store.names()}):
            action, generation = self._decide(name, "the agent ended in the middle of it")
            self._switch(name, generation)
            try:
                self._settle(name, action, generation)
                self._store.discard(name, self._records.get(name).kept)
            except EdgeError as e:  # a medium that takes no writes is no reason not to answer
                log.event("cannot record the recovery", model=name, reason=str(e))

    # what is deployed

    def status(self, name: str) -> DeploymentStatus:
        """One deployed model; UnknownModel where nothing of that name is active."""
        check_name(name)
        generation = self._generations.get(name)
        if generation is None:
            raise UnknownModel(
                "no such model is deployed",
                got=name,
                expected=", ".join(sorted(self._generations)) or "none is deployed",
            )
        record = self._records.get(name)
        return DeploymentStatus(
            name=name,
            generation=generation.number,
            manifest_digest=generation.manifest_digest,
            state=self._states.get(name, record.state).value,
            previous_generation=record.previous,
            runtime=generation.config.runtime,
            target=generation.config.target,
            size_bytes=generation.size_bytes,
        )

    def statuses(self) -> tuple[DeploymentStatus, ...]:
        """Every deployed model, by name."""
        return tuple(self.status(name) for name in sorted(self._generations))

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """How the operations on a model ended, oldest first; UnknownModel where there were none."""
        record = self._records.models.get(check_name(name))
        if record is None:
            raise UnknownModel("nothing of that name was ever deployed", got=name)
        return record.history

    def signature(self, name: str) -> SignatureStatus:
        """What was signed under a name, deployed or not."""
        highest = self._records.get(check_name(name)).signed
        active = self._generations.get(name)
        if active is None:
            return SignatureStatus(highest)
        return SignatureStatus(highest, *self._store.statement(name, active.number))

    # operations

    async def deploy(self, name: str, manifest_digest: str, emit: Emit, offer: Offer = UNSIGNED) -> Deployed:
        """Activate an uploaded bundle; when it raises, what was active before still is.

        Args:
            name: the deployment's, which the bundle must carry as well.
            manifest_digest: of a manifest blob that is here.
            emit: called at every state entered; nothing has been written if it was never called.
            offer: what was signed.

        Raises:
            EdgeError: it is not signed as the device asks for; see `trust`.
            DeploymentConflict: another operation on that name is under way.
            InvalidBundle: the bundle makes no sense, or is not all here, or is damaged.
            RuntimeMissing: the device cannot run it.
            ActivationFailed: preflight or probe failed.
            DiskFull: no room.
        """
        digest = check_digest(manifest_digest)
        with self._claim(name):
            signed = await asyncio.to_thread(self._authorize, name, digest, offer)
            manifest = await asyncio.to_thread(examine, self._store, name, digest)
            if signed is not None:
                signed.check_blobs(manifest)
            active = self._generations.get(name)
            if active is not None and active.manifest_digest == digest:
                emit(_entered(State.PROBING))
                parity = await self._live.probe(name)
                if signed is not None:
                    await asyncio.to_thread(self._adopt, name, active.number, signed)
                self._store.release(active)
                return Deployed(self.status(name), parity, unchanged=True)
            generation = 0 if signed is None else signed.generation
            run = _Run(name, lambda r: activation.begin_deploy(r, digest, generation), manifest, signed)
            return await self._drive(run, emit)

    async def rollback(self, name: str, emit: Emit) -> Deployed:
        """Activate the generation before the active one; errors as for `deploy`.

        Raises:
            UnknownModel: nothing of that name is active.
            NothingToRollBack: there is no generation before it.
        """
        with self._claim(name):
            previous = self.status(name).previous_generation
            if previous is None:
                raise NothingToRollBack(
                    "there is no earlier generation", where=name, next_step="Deploy another bundle instead."
                )
            digest = (await asyncio.to_thread(self._store.generation, name, previous)).manifest_digest
            run = _Run(name, lambda record: activation.begin_rollback(record, previous, digest), None)
            return await self._drive(run, emit)

    async def remove(self, name: str) -> None:
        """Remove a model and what only it needs; UnknownModel where nothing of that name is active."""
        with self._claim(name):
            self.status(name)
            await asyncio.to_thread(self._records.update, name, activation.forget)  # this is the commit
            self._store.release(self._generations[name])
            self._switch(name, None)
            log.event("removed", model=name)
            await self._live.retire(name)
            await asyncio.to_thread(self._tidy, name)

    # the machine

    async def _drive(self, run: _Run, emit: Emit) -> Deployed:
        """Go from state to state until one is terminal; a run that is cancelled is left to the next start."""
        state = next_state(State.IDLE, succeeded=True)
        failure: Exception | None = None
        while not state.terminal:
            self._states[run.name] = state
            emit(_entered(state))
            try:
                succeeded = await self._work(state, run, str(failure))
            except Exception as e:  # noqa: BLE001 - a mistake of ours must not leave a model half active either
                log.event("state failed", model=run.name, state=state.value, reason=str(e))
                failure, succeeded = failure or e, False
            state = next_state(state, succeeded=succeeded)
        self._states[run.name] = state
        emit(_entered(state))
        await self._live.retire(run.name)
        if failure is None and run.generation is not None:
            self._store.release(run.generation)
        if run.signed is not None:
            await asyncio.to_thread(self._keep_signed)
        await asyncio.to_thread(self._tidy, run.name)
        if failure is not None:
            raise failure
        status = self.status(run.name)
        log.event("activated", model=run.name, generation=status.generation, digest=status.manifest_digest)
        return Deployed(status, run.parity or Parity(0, ()))

    async def _work(self, state: State, run: _Run, reason: str) -> bool:
        """What a state is there for; False where a rollback found nothing to go back to."""
        name, generation = run.name, run.generation
        if state is State.STAGING:
            if (
                self._records.get(name).intent is not None
            ):  # the medium refused to record how the last run ended
                await self._rest(name, "its end could not be recorded")
            run.generation = await asyncio.to_thread(self._stage, run)
        elif state is State.PREFLIGHT and generation is not None:
            run.parity = await self._live.preflight(generation)
        elif state is State.ACTIVATING and generation is not None:
            # the model has run since its files were read back: are they still what was signed?
            if run.signed is not None:
                await asyncio.to_thread(
                    self._store.verify, name, generation.number, generation.manifest_digest
                )
            await asyncio.to_thread(self._store.activate, name, generation.number)
            self._switch(name, generation)
        elif state is State.PROBING:
            run.parity = await self._live.probe(name)
            await asyncio.to_thread(self._records.update, name, lambda r: activation.commit(r, _now()))
        elif state is State.ROLLING_BACK:
            return await self._rest(name, reason)
        return True

    def _stage(self, run: _Run) -> Generation:
        """Record the intent, then make the generation and read it back."""
        intent = self._records.update(run.name, run.begin).intent
        if intent is None:
            raise DeviceError("an operation began without an intent", where=run.name)
        if run.manifest is not None:
            self._store.stage(run.name, intent.target, intent.manifest_digest, run.manifest)
        if run.signed is not None:
            self._store.keep_statement(run.name, intent.target, run.signed.text, run.signed.signature)
        return self._store.verify(run.name, intent.target, intent.manifest_digest)

    async def _rest(self, name: str, reason: str) -> bool:
        """Go back to what was committed; whether that answers now."""
        action, generation = await asyncio.to_thread(self._decide, name, reason)
        self._switch(name, generation)  # first, so that it answers even if the medium takes no writes
        await asyncio.to_thread(self._settle, name, action, generation)
        return action.serve is not None and action.outcome is not State.FAILED

    def _decide(self, name: str, reason: str) -> tuple[Action, Generation | None]:
        """What brings a model to rest, and the generation that is to answer then."""
        intact = frozenset(n for n in self._store.numbers(name) if self._store.intact(name, n))
        action = activation.recover(self._records.get(name), Facts(self._store.current(name), intact), reason)
        return action, None if action.serve is None else self._store.generation(name, action.serve)

    def _settle(self, name: str, action: Action, generation: Generation | None) -> None:
        """Let the link name what answers, then record how an operation ended, where one did."""
        if action.serve != self._store.current(name):
            self._store.activate(name, action.serve)
        if action.outcome is not None:
            digest = generation.manifest_digest if generation is not None else ""
            self._records.update(name, lambda r: activation.settle(r, action, digest, _now()))
            log.event("recovered", model=name, serves=action.serve, outcome=action.outcome.value)

    def _switch(self, name: str, generation: Generation | None) -> None:
        if generation is None:
            self._generations.pop(name, None)
        else:
            self._generations[name] = generation
        self._live.switch(name, generation)

    def _tidy(self, name: str) -> None:
        """Remove what nothing needs any more; that it is not removed harms nobody, so it never fails."""
        try:
            self._store.discard(name, self._records.get(name).kept)
            self._store.collect_blobs(self._store.referenced())
        except EdgeError as e:
            log.event("cannot collect garbage", model=name, reason=str(e))

    def _rebuild(self) -> None:
        """Records from the links, where both slots were lost (or the state folder is new)."""
        for name in self._store.names():
            current, numbers = self._store.current(name), self._store.numbers(name)
            if current is None or not self._store.intact(name, current):
                continue
            digest = self._store.generation(name, current).manifest_digest
            record = ModelRecord(max(numbers), current, None, digest, State.COMMITTED)
            self._records.put(name, record)

    def _authorize(self, name: str, digest: str, offer: Offer) -> Signed | None:
        active = self._generations.get(name)
        text = "" if active is None else self._store.statement(name, active.number)[0]
        highest = self._records.get(name).signed
        return self._trust.authorize(name, digest, offer, highest=highest, active=text)

    def _adopt(self, name: str, number: int, signed: Signed) -> None:
        """What is active was signed anew: that statement is not to be used again for anything else."""
        if signed.text == self._store.statement(name, number)[0]:
            return
        self._records.update(name, lambda r: activation.raise_signed(r, signed.generation))
        self._store.keep_statement(name, number, signed.text, signed.signature)
        self._keep_signed()

    def _keep_signed(self) -> None:
        """Copy the highest of the signers' generations out of the records, which may be lost."""
        highest = {name: record.signed for name, record in self._records.models.items() if record.signed}
        self._trust.keep(Highest(highest, self._records.signed_floor))

    def _recall_signed(self) -> None:
        """Where records were lost, or written by an agent that knew of no signatures: the highest stay."""
        kept = self._trust.recall()
        found = dict(kept.models)
        if not self._records.found:
            for name in self._store.names():
                for number in self._store.numbers(name):
                    found[name] = max(found.get(name, 0), self._signed_generation(name, number))
        try:
            self._records.raise_signed_floor(kept.floor)
            for name, generation in found.items():
                if generation > self._records.get(name).signed:
                    self._records.update(name, partial(activation.raise_signed, generation=generation))
        except EdgeError as e:  # as in `start`
            log.event("cannot record the highest generations", reason=str(e))

    def _signed_generation(self, name: str, number: int) -> int:
        try:
            return statement.parse(self._store.statement(name, number)[0]).generation
        except EdgeError:  # it is not signed, or not whole: then it was never committed
            return 0

    @contextmanager
    def _claim(self, name: str) -> Iterator[None]:
        """Keep every other operation off a model."""
        if check_name(name) in self._busy:
            raise DeploymentConflict(
                "another deployment, rollback or removal of this model is under way",
                where=name,
                got=self._states.get(name, State.IDLE).value,
                next_step="Wait for it to end and try again.",
            )
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)
            self._states.pop(name, None)


def _entered(state: State) -> Event:
    return Event("state", state=state.value)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
