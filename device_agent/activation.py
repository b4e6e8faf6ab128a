"""What happens to a model on the device, decided by pure functions; `activator` does it.

    IDLE -> STAGING -> VERIFIED -> PREFLIGHT -> ACTIVATING -> PROBING -> COMMITTED
                \\__________\\__________\\___________\\__________\\-> ROLLING_BACK -> ROLLED_BACK | FAILED

A deployment makes a new generation; a rollback takes the retained one through the same states. An intent
is recorded, durably, before anything else is written, and the record that drops it is the commit: an
agent that finds an intent when it starts goes back to what was committed before. ROLLED_BACK: the
generation from before answers. FAILED: there was none, or it is damaged.
"""

from __future__ import annotations

from enum import Enum

from attrs import evolve, field, frozen

from device_agent.errors import DeviceError, DiskFull
from device_agent.protocol import HistoryEntry

HISTORY_LENGTH = 16  # entries kept for each model
MAX_MODELS = 64  # names that records are kept of, removed models included
MAX_REASON_LENGTH = 300


class State(Enum):
    """A state of the activation machine; the value is what stands on the wire."""

    IDLE = "IDLE"
    STAGING = "STAGING"
    VERIFIED = "VERIFIED"
    PREFLIGHT = "PREFLIGHT"
    ACTIVATING = "ACTIVATING"
    PROBING = "PROBING"
    COMMITTED = "COMMITTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        """Nothing follows."""
        return self in {State.COMMITTED, State.ROLLED_BACK, State.FAILED}


_NEXT = {
    State.IDLE: State.STAGING,
    State.STAGING: State.VERIFIED,
    State.VERIFIED: State.PREFLIGHT,
    State.PREFLIGHT: State.ACTIVATING,
    State.ACTIVATING: State.PROBING,
    State.PROBING: State.COMMITTED,
    State.ROLLING_BACK: State.ROLLED_BACK,
}


def next_state(state: State, *, succeeded: bool) -> State:
    """The state after `state`, whose work succeeded or did not; a terminal state is its own next."""
    if state.terminal:
        return state
    if succeeded:
        return _NEXT[state]
    return State.FAILED if state is State.ROLLING_BACK else State.ROLLING_BACK


@frozen
class Intent:
    """An operation under way: what it wants to be active, and what is to be gone back to."""

    operation: str  # deploy or rollback
    target: int  # generation
    last_good: int | None  # generation
    manifest_digest: str
    attempt: int  # 1 for the first try to activate this bundle, 2 if that failed, ...
    signed: int = 0  # the signer's generation; 0 where it is not signed


@frozen
class ModelRecord:
    """What the agent knows of one model. `generation` None: nothing of that name is deployed (any more)."""

    last_generation: int  # the highest number ever given; numbers are never used again
    generation: int | None = None
    previous: int | None = None
    manifest_digest: str = ""
    state: State = State.IDLE  # the last operation's outcome
    intent: Intent | None = None
    history: tuple[HistoryEntry, ...] = ()
    signed: int = 0  # the highest of its signers' generations that was committed; never lowered

    @property
    def kept(self) -> frozenset[int]:
        """The generations that must not be collected."""
        numbers = {self.generation, self.previous, self.intent.target if self.intent else None}
        return frozenset(number for number in numbers if number is not None)


@frozen
class Records:
    """Everything the agent remembers, as it stands in the state slots."""

    models: dict[str, ModelRecord] = field(factory=dict)
    floor: int = 0  # generations of new names begin above it: it covers the names that were forgotten
    signed_floor: int = 0  # the same of the signers' generations


def record_of(records: Records, name: str) -> ModelRecord:
    """The record of a name, or the one that a new name begins with."""
    return records.models.get(name) or ModelRecord(records.floor, signed=records.signed_floor)


def with_record(records: Records, name: str, record: ModelRecord) -> Records:
    """The records with that one in its place; where there are too many, a removed model's is forgotten.

    Raises:
        DiskFull: MAX_MODELS models are deployed.
    """
    models = {**records.models, name: record}
    floor, signed_floor = records.floor, records.signed_floor
    while len(models) > MAX_MODELS:
        gone = next((n for n, r in models.items() if r.generation is None and r.intent is None), None)
        if gone is None:
            raise DiskFull(
                "the device holds as many models as it can", got=str(MAX_MODELS), next_step="Remove one."
            )
        forgotten = models.pop(gone)
        floor = max(floor, forgotten.last_generation)
        signed_floor = max(signed_floor, forgotten.signed)
    return Records(models, floor, signed_floor)


def begin_deploy(record: ModelRecord, manifest_digest: str, signed: int = 0) -> ModelRecord:
    """The record once a deployment has begun: its generation's number is taken for good."""
    target = record.last_generation + 1
    attempt = 1
    for entry in reversed(record.history):
        if entry.manifest_digest != manifest_digest or entry.outcome == State.COMMITTED.value:
            break
        attempt += 1
    intent = Intent("deploy", target, record.generation, manifest_digest, attempt, signed)
    return evolve(record, last_generation=target, intent=intent)


def begin_rollback(record: ModelRecord, target: int, manifest_digest: str) -> ModelRecord:
    """The record once a rollback to the retained generation `target` has begun."""
    return evolve(record, intent=Intent("rollback", target, record.generation, manifest_digest, 1))


def commit(record: ModelRecord, finished_at: str) -> ModelRecord:
    """The record of success: the target is active, and a deployment can be rolled back."""
    intent = record.intent
    if intent is None:
        raise DeviceError("there is nothing to commit")
    rolled_back = intent.operation == "rollback"
    reason = f"rolled back from generation {intent.last_good}" if rolled_back else ""
    done = evolve(
        record,
        generation=intent.target,
        previous=None if rolled_back else intent.last_good,
        manifest_digest=intent.manifest_digest,
        signed=max(record.signed, intent.signed),
    )
    return _finish(done, State.COMMITTED, intent, reason, finished_at)


@frozen
class Facts:
    """What is found on disk for one model: where the link points, and which generations are whole."""

    current: int | None
    intact: frozenset[int]


@frozen
class Action:
    """What to do: let the link name `serve` (None: no link). `outcome` is None where nothing had to end."""

    serve: int | None
    outcome: State | None = None
    reason: str = ""


def recover(record: ModelRecord, facts: Facts, reason: str) -> Action:
    """What brings a model to rest, whatever state it was left in.

    What was committed answers again; the generation before it, if the committed one is damaged.

    Args:
        record: as last saved.
        facts: as found on disk.
        reason: why an operation under way has ended, should there be one.
    """
    candidates = [number for number in (record.generation, record.previous) if number is not None]
    serve = next((number for number in candidates if number in facts.intact), None)
    if record.intent is not None:
        unharmed = serve is not None and serve == record.intent.last_good
        return Action(serve, State.ROLLED_BACK if unharmed else State.FAILED, reason)
    if serve != record.generation:
        return Action(serve, State.FAILED, f"generation {record.generation} is damaged on disk")
    return Action(serve)


def settle(record: ModelRecord, action: Action, manifest_digest: str, finished_at: str) -> ModelRecord:
    """The record once a recovering action has been done.

    Args:
        record: the one that `recover` was asked about.
        action: its answer.
        manifest_digest: of the generation that `action.serve` names; empty for none.
        finished_at: ISO 8601, UTC.
    """
    if action.outcome is None:
        return record
    ended = record.intent or Intent("", record.generation or 0, None, record.manifest_digest, 1)
    kept = evolve(
        record,
        generation=action.serve,
        previous=record.previous if action.serve == record.generation else None,
        manifest_digest=manifest_digest,
    )
    return _finish(kept, action.outcome, ended, action.reason, finished_at)


def forget(record: ModelRecord) -> ModelRecord:
    """The record of a model that is removed: its numbers and its history stay."""
    return ModelRecord(record.last_generation, history=record.history, signed=record.signed)


def raise_signed(record: ModelRecord, generation: int) -> ModelRecord:
    """The record once a signer's generation was accepted for what is active, or found to have been."""
    return evolve(record, signed=max(record.signed, generation))


def _finish(record: ModelRecord, outcome: State, ended: Intent, reason: str, finished_at: str) -> ModelRecord:
    entry = HistoryEntry(
        ended.target, ended.manifest_digest, outcome.value, reason[:MAX_REASON_LENGTH], finished_at
    )
    history = (*record.history, entry)[-HISTORY_LENGTH:]
    return evolve(record, state=outcome, intent=None, history=history)
