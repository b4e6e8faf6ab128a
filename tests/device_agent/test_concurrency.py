"""Many clients at once: fifty deployments of a name to one agent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from device_agent.bundle import Bundle
from device_agent.errors import DeploymentConflict
from tests.device_agent.harness import AgentProcess, Client, make_bundle, null_samples, workers_of

CLIENTS = 50


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Different models that all want the same name."""
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed=seed, padding=seed) for seed in range(CLIENTS)]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that do not run for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def request(bundle: Bundle) -> tuple[str, dict[str, str]]:
    return f"/edge/v1/models/{bundle.config.name}/deploy", {"manifest_digest": bundle.manifest_digest}


def attempt(path: Path, bundle: Bundle, together: threading.Barrier) -> dict[str, Any] | DeploymentConflict:
    """One of many clients: waits for the others, deploys what is uploaded; gives how that ended."""
    client = Client(path)
    together.wait(60)
    try:
        *_, last = client.events(*request(bundle))
        if last["kind"] != "result":
            raise ConnectionError(f"cut off after {last}")
        return dict(last["result"])
    except DeploymentConflict as e:
        return e


def test_one_winner_and_49_named_conflicts(
    agent: AgentProcess, tmp_path: Path, bundles: list[Bundle]
) -> None:
    """While one deployment is under way every other is refused by name; the agent answers, and it wins."""
    agent.client.deploy(make_bundle(tmp_path, name="other"))
    for bundle in bundles:
        agent.client.push(bundle)
    before = set(workers_of(agent))
    winner = agent.client.events(*request(bundles[0]))
    while next(winner)["state"] != "PREFLIGHT":
        pass
    while not (fresh := [pid for pid in workers_of(agent) if pid not in before]):
        os.sched_yield()
    with stopped(fresh):
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = threading.Barrier(CLIENTS - 1)
            ends = list(pool.map(lambda b: attempt(agent.socket, b, together), bundles[1:]))
        assert [DeploymentConflict] * (CLIENTS - 1) == [type(end) for end in ends]
        assert {("conflict", "digits", "PREFLIGHT")} == {(e.code, e.where, e.got) for e in ends}
        assert "1" == agent.client.infer("other", null_samples(1)[0])["model_version"]
        assert ["other"] == [row["name"] for row in agent.client.json("GET", "/edge/v1/models")]
    assert 1 == list(winner)[-1]["result"]["status"]["generation"]
    (entry,) = agent.client.json("GET", "/edge/v1/models/digits/history")
    assert (1, "COMMITTED", bundles[0].manifest_digest) == (
        entry["generation"], entry["outcome"], entry["manifest_digest"]
    )  # fmt: skip
    # a conflict costs nothing but a second try
    assert 2 == agent.client.deploy(bundles[1])["status"]["generation"]


def test_fifty_at_the_same_moment(agent: AgentProcess, bundles: list[Bundle]) -> None:
    """Let loose together each wins a generation of its own or is a named conflict; none is lost."""
    for bundle in bundles:
        agent.client.push(bundle)
    together = threading.Barrier(CLIENTS)
    with ThreadPoolExecutor(CLIENTS) as pool:
        ends = list(pool.map(lambda b: attempt(agent.socket, b, together), bundles))
    won = {
        end["status"]["generation"]: end["status"]["manifest_digest"]
        for end in ends
        if not isinstance(end, DeploymentConflict)
    }
    conflicts = [end for end in ends if isinstance(end, DeploymentConflict)]
    assert CLIENTS == len(won) + len(conflicts)
    assert list(range(1, len(won) + 1)) == sorted(won)
    history = agent.client.json("GET", "/edge/v1/models/digits/history")
    expected = [(number, "COMMITTED", won[number]) for number in sorted(won)][-len(history) :]
    assert expected == [(e["generation"], e["outcome"], e["manifest_digest"]) for e in history]
    status = agent.client.json("GET", "/edge/v1/models/digits")
    assert (len(won), won[len(won)]) == (status["generation"], status["manifest_digest"])
    model = next(b for b in bundles if b.manifest_digest == status["manifest_digest"])
    (output,) = agent.client.infer("digits", null_samples(1)[0])["outputs"]
    assert model.config.outputs[0].name == output["name"]
    # what the losers uploaded is not mistaken for something deployed
    kept = {int(path.name) for path in (agent.state_dir / "models/digits/gens").iterdir()}
    assert {n for n in (len(won) - 1, len(won)) if n} == kept


def test_the_state_outlives_the_rush(state: Path, bundles: list[Bundle]) -> None:
    """Killed in the middle of the rush, the next agent serves what the last winner was told."""
    with AgentProcess(state) as agent:
        agent.client.deploy(bundles[0])
        for bundle in bundles[:10]:
            agent.client.push(bundle)
        together = threading.Barrier(10)

        def one(bundle: Bundle) -> object:
            try:
                return attempt(agent.socket, bundle, together)
            except (OSError, ValueError, HTTPException) as e:  # cut off by the kill
                return e

        with ThreadPoolExecutor(10) as pool:
            ends = [pool.submit(one, bundle) for bundle in bundles[:10]]
            while not any(end.done() for end in ends):
                os.sched_yield()
            agent.kill()
        told = [e.result() for e in ends if isinstance(e.result(), dict)]
    with AgentProcess(state) as agent:
        status = agent.client.json("GET", "/edge/v1/models/digits")
        assert status["generation"] >= max((end["status"]["generation"] for end in told), default=1)
        last = agent.client.json("GET", "/edge/v1/models/digits/history")[-1]
        assert last["outcome"] in {"COMMITTED", "ROLLED_BACK"}
        assert agent.client.infer("digits", null_samples(1)[0])
