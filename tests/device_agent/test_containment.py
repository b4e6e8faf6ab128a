"""Models that misbehave, in real agents: each takes only its own worker, and the request gets an error."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.errors import ActivationFailed, WorkerFailed
from tests.device_agent.harness import (
    MISBEHAVING,
    TRIGGER,
    AgentProcess,
    make_bundle,
    null_samples,
    runs,
    workers_of,
)

LIMITS = {
    "EDGE_AGENT_WORKER_MEMORY_BYTES": str(512 << 20),
    "EDGE_AGENT_WORKER_TASKS": "64",
    "EDGE_AGENT_LOAD_DEADLINE_S": "10",
    "EDGE_AGENT_ANSWER_DEADLINE_S": "2",
}
DIES = {
    "segfault": "killed by SIGSEGV",
    "abort": "killed by SIGABRT",
    "kill_everyone": "killed by SIGSTOP|killed by SIGKILL|within 2 s|nobody saw how",
    "giant_answer": "answered nonsense",
    "garbage_answer": "answered nonsense",
    "hang": "did not answer to 'infer' within 2 s",
    "flood_stdout": "within 2 s",
    "flood_stderr": "within 2 s",
    "fork_bomb": "within 2 s|too many tasks",
    "thread_bomb": "within 2 s|too many tasks",
}
REFUSED = {
    "reserve": "Cannot allocate memory",
    "write_file": "Read-only file system",
    "open_socket": "Network is unreachable",
    "talk_to_agent": "FileNotFoundError|No such file",
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent whose runtimes include the misbehaving one; a well-behaved model runs beside."""
    folder = tmp_path_factory.mktemp("containment")
    socket = {"MISBEHAVE_AGENT_SOCKET": str(folder / "state/agent.sock")}
    with AgentProcess(folder / "state", env=MISBEHAVING | LIMITS | socket) as running:
        running.client.deploy(make_bundle(folder / "good", name="good"))
        yield running


@pytest.mark.parametrize("what", [*DIES, *REFUSED])
def test_a_model_that_misbehaves_takes_only_its_worker(
    agent: AgentProcess, tmp_path: Path, what: str
) -> None:
    """The request gets an error that says what happened; others go on, and so does the model afterwards."""
    agent.client.infer("good", null_samples(1)[0])
    (good,) = workers_of(agent)[:1]
    agent.client.deploy(make_bundle(tmp_path, name="bad", infer=what))
    others = set(workers_of(agent)) - {good}
    with pytest.raises(WorkerFailed, match=DIES.get(what) or REFUSED[what]):
        agent.client.infer("bad", TRIGGER)
    agent.client.infer("good", null_samples(1)[0])
    assert runs(good)
    if what in DIES:
        while any(runs(pid) for pid in others):
            os.sched_yield()
    assert ["scores1"] == [row["name"] for row in agent.client.infer("bad", null_samples(1)[0])["outputs"]]
    agent.client.json("DELETE", "/edge/v1/models/bad")
    while set(workers_of(agent)) - {good}:
        os.sched_yield()
    assert not Path("/var/tmp/written-by-a-model").exists()
    assert _resident(agent) < 120 << 20


def _resident(agent: AgentProcess) -> int:
    from device_agent.metrics import resident_bytes

    return resident_bytes(agent.process.pid)


@pytest.mark.parametrize("what", ["segfault", "reserve", "fork_bomb", "garbage_answer"])
def test_a_model_that_misbehaves_when_loaded_is_rolled_back(
    agent: AgentProcess, tmp_path: Path, what: str
) -> None:
    """Its deployment fails with the reason, and the model before answers."""
    agent.client.deploy(make_bundle(tmp_path / "one", name="loads"))
    before = agent.client.generation("loads")
    with pytest.raises(ActivationFailed, match="preflight failed"):
        agent.client.deploy(make_bundle(tmp_path / "two", name="loads", seed=2, load=what))
    assert before == agent.client.generation("loads")
    agent.client.infer("loads", null_samples(1)[0])
    outcomes = [row["outcome"] for row in agent.client.json("GET", "/edge/v1/models/loads/history")]
    assert "ROLLED_BACK" == outcomes[-1]


def test_last_words_are_in_the_error_and_in_the_log(agent: AgentProcess, tmp_path: Path) -> None:
    """However much a worker writes, the end of it is in the error, and a bounded part in the log."""
    agent.client.deploy(make_bundle(tmp_path, name="talks", infer="last_words"))
    with pytest.raises(WorkerFailed, match="these are the last words") as caught:
        agent.client.infer("talks", TRIGGER)
    assert "SIGSEGV" in caught.value.what
    assert len(caught.value.got or "") <= 1000
    lines = agent.client.ok("GET", "/edge/v1/logs?lines=20&level=warning").decode().splitlines()
    (ended,) = [line for line in lines if "these are the last words" in line]
    assert "worker ended" in ended
    assert len(ended) <= 8192


def test_a_keeper_that_is_killed_takes_its_worker_with_it(agent: AgentProcess) -> None:
    """No worker outlives the one who watches it."""
    from device_agent import tree

    agent.client.infer("good", null_samples(1)[0])
    (good,) = workers_of(agent)[:1]
    keepers = [pid for pid in tree.children(agent.process.pid) if good in _all_below(pid)]
    os.kill(keepers[0], signal.SIGKILL)
    while runs(good):
        os.sched_yield()
    agent.client.infer("good", null_samples(1)[0])


def _all_below(pid: int) -> list[int]:
    from device_agent import tree

    found, pending = [], [pid]
    while pending:
        below = tree.children(pending.pop())
        found += below
        pending += below
    return found
