"""Requests that are too many, too slow or given up, and workers that are: on real agents."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent.errors import DeadlineExceeded, Overloaded
from device_agent.tensors import DTYPES
from tests.device_agent.harness import (
    MISBEHAVING,
    TRIGGER,
    AgentProcess,
    UnixConnection,
    make_bundle,
    null_samples,
    runs,
    workers_of,
)


@contextmanager
def agent_with(state: Path, **limits: int) -> Iterator[AgentProcess]:
    """An agent with the misbehaving runtime and these limits."""
    env = {f"EDGE_AGENT_{name.upper()}": str(value) for name, value in limits.items()}
    with AgentProcess(state, env=MISBEHAVING | env) as agent:
        yield agent


def body(inputs: dict) -> bytes:
    """An inference's JSON."""
    rows = [
        {"name": key, "shape": list(t.shape), "datatype": DTYPES[t.dtype][1], "data": list(t.data)}
        for key, t in inputs.items()
    ]
    return json.dumps({"inputs": rows}).encode()


def begin(agent: AgentProcess, name: str, inputs: dict) -> UnixConnection:
    """Send an inference without waiting for its answer."""
    connection = UnixConnection(agent.socket)
    connection.request("POST", f"/v2/models/{name}/infer", body=body(inputs))
    return connection


def depth(agent: AgentProcess, name: str) -> int:
    """How many requests run or wait, as the metrics have it."""
    return sample(agent, f'edge_agent_queue_depth{{model="{name}"}}')


def sample(agent: AgentProcess, name: str) -> int:
    """One number of the metrics; 0 where it is not there."""
    for line in agent.client.ok("GET", "/metrics").decode().splitlines():
        if line.startswith(name + " "):
            return int(float(line.rpartition(" ")[2]))
    return 0


def test_a_full_queue_refuses_and_says_when_to_come_back(state: Path, tmp_path: Path) -> None:
    """What is waiting already is answered; one more gets 429, Retry-After and an error in OIP's form."""
    with agent_with(state, queue=2) as agent:
        agent.client.deploy(make_bundle(tmp_path, infer="sleep"))
        waiting = [begin(agent, "digits", TRIGGER) for _ in range(2)]
        while depth(agent, "digits") < 2:
            os.sched_yield()
        status, headers, answer = agent.client.request("POST", "/v2/models/digits/infer", body(TRIGGER))
        error = json.loads(answer)
        assert (429, "1", "overloaded") == (status, headers["retry-after"], error["code"])
        assert "too many requests wait for this model" in error["error"]
        assert headers["x-request-id"] == error["request_id"]
        assert [200, 200] == [connection.getresponse().status for connection in waiting]
        for connection in waiting:
            connection.close()
        agent.client.infer("digits", null_samples(1)[0])


def test_other_models_answer_while_one_queue_is_full(state: Path, tmp_path: Path) -> None:
    """Queues are each model's own."""
    with agent_with(state, queue=1) as agent:
        agent.client.deploy(make_bundle(tmp_path / "a", infer="hang"))
        agent.client.deploy(make_bundle(tmp_path / "b", name="other"))
        waiting = begin(agent, "digits", TRIGGER)
        while depth(agent, "digits") < 1:
            os.sched_yield()
        with pytest.raises(Overloaded):
            agent.client.infer("digits", null_samples(1)[0])
        agent.client.infer("other", null_samples(1)[0])
        waiting.close()


def test_requests_are_bounded_over_all_but_one_can_still_look(state: Path, tmp_path: Path) -> None:
    """With as many requests as it takes, the agent still says what it is and what it counts."""
    with agent_with(state, requests=1) as agent:
        agent.client.deploy(make_bundle(tmp_path, infer="hang"))
        waiting = begin(agent, "digits", TRIGGER)
        while depth(agent, "digits") < 1:
            os.sched_yield()
        with pytest.raises(Overloaded, match="too many requests are being answered"):
            agent.client.json("GET", "/edge/v1/models")
        agent.client.json("GET", "/edge/v1/agent")
        assert 1 == sample(agent, 'edge_agent_requests_total{route="models",status="429"}')
        waiting.close()


def test_connections_are_bounded(state: Path) -> None:
    """A connection that is one too many is told so and closed; when others leave there is room again."""
    with agent_with(state, connections=3) as agent:
        held = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for connection in held:
            connection.connect(str(agent.socket))
        with pytest.raises(Overloaded, match="too many connections"):
            agent.client.json("GET", "/edge/v1/agent")
        for connection in held:
            connection.close()
        while True:
            try:
                agent.client.json("GET", "/edge/v1/agent")
                break
            except Overloaded:
                os.sched_yield()


def test_a_client_that_leaves_gives_up_its_place(state: Path, tmp_path: Path) -> None:
    """A queued request whose client has gone is not computed."""
    with agent_with(state) as agent:
        agent.client.deploy(make_bundle(tmp_path, infer="sleep"))
        first, second = (begin(agent, "digits", TRIGGER) for _ in range(2))
        while depth(agent, "digits") < 2:
            os.sched_yield()
        second.close()
        while depth(agent, "digits") > 1:
            os.sched_yield()
        assert 200 == first.getresponse().status
        first.close()
        assert 0 == sample(agent, "edge_agent_worker_failures_total")


def test_a_deadline_ends_the_waiting_not_the_worker(state: Path, tmp_path: Path) -> None:
    """Who gives little time gets a named error in it; the worker goes on and serves the next."""
    with agent_with(state) as agent:
        agent.client.deploy(make_bundle(tmp_path, infer="sleep"))
        before = workers_of(agent)
        with pytest.raises(DeadlineExceeded, match="computed still"):
            agent.client.ok("POST", "/v2/models/digits/infer", body(TRIGGER), Edge_Timeout_Ms="50")
        with pytest.raises(DeadlineExceeded, match="waited for others"):
            agent.client.ok("POST", "/v2/models/digits/infer", body(TRIGGER), Edge_Timeout_Ms="50")
        agent.client.infer("digits", null_samples(1)[0])
        assert before == workers_of(agent)


@pytest.mark.parametrize("value", ["0", "-1", "x", "120001"])
def test_a_deadline_that_makes_no_sense_is_refused(agent: AgentProcess, tmp_path: Path, value: str) -> None:
    """The header is a number of milliseconds within reason."""
    agent.client.deploy(make_bundle(tmp_path))
    headers = {"Edge-Timeout-Ms": value}
    status, _, answer = agent.client.request("POST", "/v2/models/digits/infer", b"{}", headers)
    assert (400, "Edge-Timeout-Ms") == (status, json.loads(answer)["where"])


def test_idle_workers_that_hold_too_much_memory_are_ended(state: Path, tmp_path: Path) -> None:
    """The least recently used ones go until the rest fit the budget."""
    with agent_with(state, warm_bytes=1) as agent:
        agent.client.deploy(make_bundle(tmp_path / "a"))
        agent.client.deploy(make_bundle(tmp_path / "b", name="other"))
        while workers_of(agent):
            os.sched_yield()
        agent.client.infer("digits", null_samples(1)[0])
        assert 3 <= sample(agent, "edge_agent_worker_evictions_total")


def test_many_clients_at_once_get_their_own_answers(state: Path, tmp_path: Path) -> None:
    """Answers of two models under load are never mixed up, and every refusal is a 429."""
    with agent_with(state, queue=4) as agent:
        samples = null_samples(1)
        for name in ("digits", "other"):
            agent.client.deploy(make_bundle(tmp_path / name, name=name))
        expected = [agent.client.infer("digits", inputs)["outputs"] for inputs in samples]
        wrong: list[object] = []

        def ask(name: str, index: int) -> None:
            for _ in range(5):
                try:
                    if agent.client.infer(name, samples[index])["outputs"] != expected[index]:
                        wrong.append(name)
                except Overloaded:
                    continue
                except Exception as e:  # noqa: BLE001 - whatever it is, the test's own thread shall show it
                    wrong.append(e)

        threads = [
            threading.Thread(target=ask, args=(name, index % 2))
            for index in range(6)
            for name in ("digits", "other")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == wrong
        assert all(runs(pid) for pid in workers_of(agent))
