"""The activation machine's decisions, as data."""

import pytest
from attrs import evolve

from device_agent.activation import (
    HISTORY_LENGTH,
    MAX_MODELS,
    Action,
    Facts,
    Intent,
    ModelRecord,
    Records,
    State,
    begin_deploy,
    begin_rollback,
    commit,
    forget,
    next_state,
    record_of,
    recover,
    settle,
    with_record,
)
from device_agent.errors import DeviceError, DiskFull

NOW = "2026-01-02T03:04:05+00:00"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_success_leads_to_committed() -> None:
    """Without a failure the states follow each other as drawn."""
    states = [State.IDLE]
    while not states[-1].terminal:
        states.append(next_state(states[-1], succeeded=True))
    assert "IDLE STAGING VERIFIED PREFLIGHT ACTIVATING PROBING COMMITTED" == " ".join(s.value for s in states)


@pytest.mark.parametrize("state", ["STAGING", "VERIFIED", "PREFLIGHT", "ACTIVATING", "PROBING"])
def test_failure_leads_back(state: str) -> None:
    """A failure in any state rolls back, and that succeeds or fails."""
    assert State.ROLLING_BACK is next_state(State(state), succeeded=False)
    assert State.ROLLED_BACK is next_state(State.ROLLING_BACK, succeeded=True)
    assert State.FAILED is next_state(State.ROLLING_BACK, succeeded=False)


def deployed(*digests: str) -> ModelRecord:
    """The record after these bundles were deployed one after the other."""
    record = ModelRecord(0)
    for digest in digests:
        record = commit(begin_deploy(record, digest), NOW)
    return record


def test_deployments_count_up_and_remember_the_one_before() -> None:
    """Each deployment takes the next number; the one before it can be rolled back to."""
    record = deployed(A, B)
    assert (2, 1, 2, B) == (
        record.generation,
        record.previous,
        record.last_generation,
        record.manifest_digest,
    )
    assert [(1, "COMMITTED"), (2, "COMMITTED")] == [(e.generation, e.outcome) for e in record.history]


def test_rollback_forgets_the_way_forward() -> None:
    """After a rollback nothing is left to roll back to, and the next deployment gets a new number."""
    record = commit(begin_rollback(deployed(A, B), 1, A), NOW)
    assert (1, None, A) == (record.generation, record.previous, record.manifest_digest)
    assert "rolled back from generation 2" == record.history[-1].reason
    intent = begin_deploy(record, B).intent
    assert intent is not None
    assert 3 == intent.target


def test_nothing_to_commit_is_an_error() -> None:
    """A record without an intent cannot be committed."""
    with pytest.raises(DeviceError):
        commit(ModelRecord(0), NOW)


RECOVERIES = {
    "nothing ever deployed": (ModelRecord(0), Facts(None, frozenset()), Action(None)),
    "at rest": (deployed(A, B), Facts(2, frozenset({1, 2})), Action(2)),
    "at rest, link lost": (deployed(A, B), Facts(None, frozenset({1, 2})), Action(2)),
    "at rest, active one damaged": (
        deployed(A, B),
        Facts(2, frozenset({1})),
        Action(1, State.FAILED, "generation 2 is damaged on disk"),
    ),
    "at rest, both damaged": (
        deployed(A, B),
        Facts(2, frozenset()),
        Action(None, State.FAILED, "generation 2 is damaged on disk"),
    ),
    "first deployment, link not set": (
        begin_deploy(ModelRecord(0), A),
        Facts(None, frozenset({1})),
        Action(None, State.FAILED, "why"),
    ),
    "first deployment, link set": (
        begin_deploy(ModelRecord(0), A),
        Facts(1, frozenset({1})),
        Action(None, State.FAILED, "why"),
    ),
    "second deployment, link not set": (
        begin_deploy(deployed(A), B),
        Facts(1, frozenset({1})),
        Action(1, State.ROLLED_BACK, "why"),
    ),
    "second deployment, link set": (
        begin_deploy(deployed(A), B),
        Facts(2, frozenset({1, 2})),
        Action(1, State.ROLLED_BACK, "why"),
    ),
    "third deployment, active one damaged": (
        begin_deploy(deployed(A, B), A),
        Facts(2, frozenset({1, 3})),
        Action(1, State.FAILED, "why"),
    ),
    "rollback, link set": (
        begin_rollback(deployed(A, B), 1, A),
        Facts(1, frozenset({1, 2})),
        Action(2, State.ROLLED_BACK, "why"),
    ),
}


@pytest.mark.parametrize(("record", "facts", "action"), RECOVERIES.values(), ids=RECOVERIES.keys())
def test_recovery(record: ModelRecord, facts: Facts, action: Action) -> None:
    """What was committed answers again, whatever was going on; recovering twice changes nothing more."""
    assert action == recover(record, facts, "why")
    settled = settle(record, action, A, NOW)
    assert settled.intent is None
    after = recover(settled, Facts(action.serve, facts.intact), "why")
    assert Action(action.serve) == after


def test_failed_attempts_are_counted() -> None:
    """Trying the same bundle again after it failed is its next attempt."""
    record = deployed(A)
    attempts = []
    for _ in range(3):
        record = begin_deploy(record, B)
        assert record.intent is not None
        attempts.append(record.intent.attempt)
        record = settle(record, Action(1, State.ROLLED_BACK, "no"), A, NOW)
    assert [1, 2, 3] == attempts
    assert 4 == record.last_generation
    assert Intent("deploy", 5, 1, A, 1) == begin_deploy(record, A).intent


def test_history_is_bounded() -> None:
    """Only the last entries are kept."""
    record = deployed(*[A, B] * HISTORY_LENGTH)
    assert HISTORY_LENGTH == len(record.history)
    assert 2 * HISTORY_LENGTH == record.history[-1].generation


def test_removed_models_give_way_but_never_their_numbers() -> None:
    """A forgotten name's numbers are not given again; with every place taken a new name is refused."""
    records = Records()
    gone = forget(evolve(deployed(A), last_generation=40))
    records = with_record(records, "gone", gone)
    for index in range(MAX_MODELS):
        records = with_record(records, f"m{index}", deployed(A))
    assert "gone" not in records.models
    assert 40 == record_of(records, "gone").last_generation
    with pytest.raises(DiskFull):
        with_record(records, "one-more", deployed(A))
