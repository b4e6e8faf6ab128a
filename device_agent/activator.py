"""Deploys, rolls back, removes and recovers: does what `activation` decides, to the store and the serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

from attrs import define

from device_agent import activation, log
from device_agent.activation import Action, Facts, ModelRecord, State, next_state
from device_agent.ballast import Ballast
from device_agent.bundle import Manifest, check_digest, check_name
from device_agent.deadlines import Deadlines
from device_agent.errors import (
    ActivationOverdue,
    DeploymentConflict,
    DeviceError,
    EdgeError,
    NothingToRollBack,
    UnknownModel,
)
from device_agent.live import Checked, Live
from device_agent.pace import Pace
from device_agent.protocol import (
    Deployed,
    DeploymentStatus,
    Event,
    HistoryEntry,
    Parity,
    SignatureStatus,
)
from device_agent.records import RecordFile
from device_agent.signed import SignedMemory
from device_agent.store import Generation, Store
from device_agent.trust import UNSIGNED, Offer, Signed, Trust

Emit = Callable[[Event], None]


@define
class _Run:
    """An operation under way. `begin` changes the record, `manifest` is staged (None: it is on disk).

    `before` is the generation that answered when it began, `begun` the record that `begin` made.
    """

    name: str
    begin: Callable[[ModelRecord], ModelRecord]
    manifest: Manifest | None
    before: Generation | None
    signed: Signed | None = None
    begun: ModelRecord | None = None
    generation: Generation | None = None
    checked: Checked | None = None


class Activator:
    """The only one who changes what is deployed. Used from the event loop's thread; the disk's work is
    done in other threads, for one model one piece of it after the other.

    A thread that a medium holds cannot be ended. So an operation whose deadline passes goes back without
    it: what answered before answers at once, the disk follows when it can, and the model is busy until then.
    """

    def __init__(
        self,
        models: Store,
        records: RecordFile,
        live: Live,
        deadlines: Deadlines | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._store = models
        self._records = records
        self._signed = SignedMemory(trust or Trust(models.root), models, records)
        self._live = live
        self._pace = Pace(deadlines or Deadlines())
        self._ballast = Ballast(models.root)
        self._busy: set[str] = set()  # models with an operation under way
        self._states: dict[str, State] = {}  # where those operations are
        self._generations: dict[str, Generation] = {}  # what is live

    def start(self) -> None:
        """Bring every model to rest, whatever state the agent was ended in; then what is active is live."""
        if not self._records.found:
            self._rebuild()
        self._signed.recall()
        for name in sorted({*self._records.models, *self._store.names()}):
            action, generation = self._decide(name, "the agent ended in the middle of it")
            self._switch(name, generation)
            try:
                self._settle(name, action, generation)
                self._store.discard(name, self._records.get(name).kept)
            except EdgeError as e:  # a medium that takes no writes is no reason not to answer
                log.event("cannot record the recovery", model=name, reason=str(e))
        self._ballast.restore()

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
        return self._signed.status(check_name(name), self._generations.get(name))

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
            ActivationOverdue: a state did not end in its time.
        """
        digest = check_digest(manifest_digest)
        with self.claim(name):
            manifest, signed = await self.admit(name, digest, offer)
            active = self._generations.get(name)
            if active is not None and active.manifest_digest == digest:
                emit(_entered(State.PROBING))
                checked = await self._pace.in_time(State.PROBING, name, self._live.probe(name))
                if signed is not None:
                    await self._adopt(name, active.number, signed)
                self._store.release(active)
                await self._pace.on_disk(name, lambda: self._tidy(name))
                return Deployed(
                    self.status(name), checked.parity, unchanged=True, placement=checked.placement
                )
            generation = 0 if signed is None else signed.generation
            run = _Run(
                name, lambda r: activation.begin_deploy(r, digest, generation), manifest, active, signed
            )
            return await self._drive(run, emit)

    async def admit(self, name: str, digest: str, offer: Offer) -> tuple[Manifest, Signed | None]:
        """The manifest of an uploaded bundle that may be deployed, and what was signed; writes nothing."""
        return await asyncio.to_thread(self._signed.admit, name, digest, offer, self._generations.get(name))

    async def rollback(self, name: str, emit: Emit) -> Deployed:
        """Activate the generation before the active one; errors as for `deploy`.

        Raises:
            UnknownModel: nothing of that name is active.
            NothingToRollBack: there is no generation before it.
        """
        with self.claim(name):
            previous = self.status(name).previous_generation
            if previous is None:
                raise NothingToRollBack(
                    "there is no earlier generation", where=name, next_step="Deploy another bundle instead."
                )
            digest = (await asyncio.to_thread(self._store.generation, name, previous)).manifest_digest
            before = self._generations.get(name)
            run = _Run(name, lambda record: activation.begin_rollback(record, previous, digest), None, before)
            return await self._drive(run, emit)

    async def remove(self, name: str) -> None:
        """Remove a model and what only it needs; UnknownModel where nothing of that name is active."""
        with self.claim(name):
            self.status(name)
            await self._pace.on_disk(
                name, lambda: self._record(name, activation.forget)
            )  # this is the commit
            self._store.release(self._generations[name])
            self._switch(name, None)
            log.event("removed", model=name)
            await self._live.retire(name)
            await self._pace.on_disk(name, lambda: self._tidy(name))

    async def _adopt(self, name: str, number: int, signed: Signed) -> None:
        """Keep the new statement of what is active already; ActivationOverdue where the medium hangs."""
        work = self._pace.on_disk(name, lambda: self._signed.adopt(name, number, signed))
        await self._pace.in_time(State.COMMITTED, name, work, goes_on=True)

    # the machine

    async def _drive(self, run: _Run, emit: Emit) -> Deployed:
        """Go from state to state until one is terminal; a run that is cancelled is left to the next start."""
        state = next_state(State.IDLE, succeeded=True)
        failure: Exception | None = None
        while not state.terminal:
            self._states[run.name] = state
            emit(_entered(state))
            try:
                work = self._work(state, run, str(failure))
                succeeded = await self._pace.in_time(
                    state, run.name, work, goes_on=state is State.ROLLING_BACK
                )
            except Exception as e:  # noqa: BLE001 - a mistake of ours must not leave a model half active either
                log.event("state failed", model=run.name, state=state.value, reason=str(e))
                failure, succeeded = failure or e, False
            state = next_state(state, succeeded=succeeded)
        self._states[run.name] = state
        emit(_entered(state))
        await self._live.retire(run.name)
        if failure is None and run.generation is not None:
            self._store.release(run.generation)
        if not self._pace.late(run.name):
            await self._tidy_in_time(state, run)
        if failure is not None:
            raise failure
        status = self.status(run.name)
        log.event("activated", model=run.name, generation=status.generation, digest=status.manifest_digest)
        checked = run.checked or Checked(Parity(0, ()))
        return Deployed(status, checked.parity, placement=checked.placement)

    async def _work(self, state: State, run: _Run, reason: str) -> bool:
        """What a state is there for; False where a rollback found nothing to go back to."""
        name, generation = run.name, run.generation
        if state is State.STAGING:
            if (
                self._records.get(name).intent is not None
            ):  # the medium refused to record how the last run ended
                await self._rest(name, "its end could not be recorded")
                run.before = self._generations.get(name)
            run.generation = await self._pace.on_disk(name, lambda: self._stage(run))
        elif state is State.PREFLIGHT and generation is not None:
            run.checked = await self._live.preflight(generation)
        elif state is State.ACTIVATING and generation is not None:
            await self._pace.on_disk(name, lambda: self._activate(run, generation))
            self._switch(name, generation)
        elif state is State.PROBING:
            run.checked = await self._live.probe(name)
            if self._states[name] is not state:  # overdue: before Python 3.12 a cancellation may be swallowed
                return False
            await self._pace.on_disk(name, lambda: self._record(name, lambda r: activation.commit(r, _now())))
        elif state is State.ROLLING_BACK:
            self._switch(name, run.before)  # at once; what the disk says follows
            return await self._rest(name, reason, run)
        return True

    async def _tidy_in_time(self, state: State, run: _Run) -> None:
        work = self._pace.on_disk(run.name, lambda: self._after(run))
        with suppress(ActivationOverdue):  # it goes on, and what was asked for has been done
            await self._pace.in_time(state, run.name, work, goes_on=True)

    def _after(self, run: _Run) -> None:
        """What follows an operation, however it ended."""
        if run.signed is not None:
            self._signed.keep()
        self._tidy(run.name)

    def _stage(self, run: _Run) -> Generation:
        """Record the intent, then make the generation and read it back."""
        if run.manifest is None:
            run.begun = self._record(run.name, run.begin)
        else:  # a deployment needs more room than the ballast has
            run.begun = self._records.update(run.name, run.begin)
        intent = run.begun.intent
        if intent is None:
            raise DeviceError("an operation began without an intent", where=run.name)
        if run.manifest is not None:
            self._store.stage(run.name, intent.target, intent.manifest_digest, run.manifest)
        if run.signed is not None:
            self._store.keep_statement(run.name, intent.target, run.signed.text, run.signed.signature)
        return self._store.verify(run.name, intent.target, intent.manifest_digest)

    def _activate(self, run: _Run, generation: Generation) -> None:
        """Let the link name a generation; if it was signed, only while it is still what was signed."""
        if run.signed is not None:  # the model has run in a worker since it was read back
            self._store.verify(run.name, generation.number, generation.manifest_digest)
        self._point(run.name, generation.number)

    async def _rest(self, name: str, reason: str, run: _Run | None = None) -> bool:
        """Go back to what was committed before the run; whether that answers now."""
        action, generation = await self._pace.on_disk(name, lambda: self._decide(name, reason, run))
        self._switch(name, generation)  # first, so that it answers even if the medium takes no writes
        await self._pace.on_disk(name, lambda: self._settle(name, action, generation, run))
        return action.serve is not None and action.outcome is not State.FAILED

    def _decide(self, name: str, reason: str, run: _Run | None = None) -> tuple[Action, Generation | None]:
        """What brings a model to rest, and the generation that is to answer then."""
        intact = frozenset(n for n in self._store.numbers(name) if self._store.intact(name, n))
        facts = Facts(self._store.current(name), intact)
        action = activation.recover(self._left(name, run), facts, reason)
        return action, None if action.serve is None else self._store.generation(name, action.serve)

    def _settle(
        self, name: str, action: Action, generation: Generation | None, run: _Run | None = None
    ) -> None:
        """Let the link name what answers, then record how an operation ended, where one did."""
        if action.serve != self._store.current(name):
            self._point(name, action.serve)
        if action.outcome is not None:
            digest = generation.manifest_digest if generation is not None else ""
            left = self._left(name, run)
            self._record(name, lambda _: activation.settle(left, action, digest, _now()))
            log.event("recovered", model=name, serves=action.serve, outcome=action.outcome.value)

    def _left(self, name: str, run: _Run | None) -> ModelRecord:
        """The record to go back from: the run's own, for its commit may have come after its deadline."""
        return run.begun if run is not None and run.begun is not None else self._records.get(name)

    def _record(self, name: str, change: Callable[[ModelRecord], ModelRecord]) -> ModelRecord:
        """Change a record, also on a full disk."""
        return self._ballast.relieve(lambda: self._records.update(name, change))

    def _point(self, name: str, number: int | None) -> None:
        """Let the link name a generation, or none, also on a full disk."""
        self._ballast.relieve(lambda: self._store.activate(name, number))

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
        self._ballast.restore()

    def _rebuild(self) -> None:
        """Records from the links, where both slots were lost (or the state folder is new)."""
        for name in self._store.names():
            current, numbers = self._store.current(name), self._store.numbers(name)
            if current is None or not self._store.intact(name, current):
                continue
            digest = self._store.generation(name, current).manifest_digest
            record = ModelRecord(max(numbers), current, None, digest, State.COMMITTED)
            self._records.put(name, record)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Keep every other operation off a model."""
        if check_name(name) in self._busy:
            state = self._states.get(name)
            raise DeploymentConflict(
                "another deployment, rollback, removal or comparison of this model is under way",
                where=name,
                got=state and state.value,
                next_step="Wait for it to end and try again.",
            )
        self._busy.add(name)
        try:
            yield
        finally:
            self._pace.when_over(name, lambda: self._free(name))

    def _free(self, name: str) -> None:
        self._states.pop(name, None)
        self._busy.discard(name)


def _entered(state: State) -> Event:
    return Event("state", state=state.value)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
