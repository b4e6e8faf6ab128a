"""How agents begin and end, by kill -9 as well."""

import json
import os
import signal
from pathlib import Path

import pytest

from device_agent.errors import AgentUnreachable
from tests.device_agent.harness import (
    A_MINUTE,
    STATES,
    AgentProcess,
    make_bundle,
    null_samples,
    runs,
    workers_of,
)


@pytest.mark.parametrize("state_name", STATES)
def test_kill_in_every_state(state: Path, tmp_path: Path, state_name: str) -> None:
    """Killed with -9 as it enters a state, the agent comes back with a whole model; its workers are gone."""
    one, two = (make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in (1, 2))
    with AgentProcess(state) as agent:
        agent.client.deploy(one)
        agent.client.push(two)
        events = agent.client.events(
            "/edge/v1/models/digits/deploy", {"manifest_digest": two.manifest_digest}
        )
        while next(events)["state"] != state_name:
            pass
        workers = workers_of(agent)
        agent.kill()
        events.close()
        while any(runs(pid) for pid in workers):
            os.sched_yield()
    assert agent.socket.exists()
    with AgentProcess(state) as agent:
        status = agent.client.json("GET", "/edge/v1/models/digits")
        # the answer to the last state may come after the commit; to the others it cannot
        expected = two if state_name == "COMMITTED" else one
        if state_name != "PROBING":
            assert expected.manifest_digest == status["manifest_digest"]
        answer = agent.client.infer("digits", null_samples(1)[0])
        assert str(status["generation"]) == answer["model_version"]
        last = agent.client.json("GET", "/edge/v1/models/digits/history")[-1]
        # as it enters STAGING nothing has been recorded yet
        outcomes = {(1, "COMMITTED")} if state_name == "STAGING" else set()
        outcomes.add((2, "COMMITTED" if status["generation"] == 2 else "ROLLED_BACK"))
        assert (last["generation"], last["outcome"]) in outcomes
        again = agent.client.deploy(make_bundle(tmp_path / "b3", seed=3))
        assert last["generation"] + 1 == again["status"]["generation"]


def test_second_agent_is_refused(agent: AgentProcess) -> None:
    """Two agents never share a state folder; the second one says why it ends."""
    other = AgentProcess(agent.state_dir)
    assert 20 == other.wait()
    assert "another agent is running" in other.log.read_text()
    agent.client.json("GET", "/edge/v1/agent")


@pytest.mark.parametrize("appears", ["lock", "agent.sock", "state.0", "state.1", "uploads"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_starts_is_not_lost(state: Path, appears: str, number: signal.Signals) -> None:
    """Told to end before it answers, the agent ends, and the next one starts in its place."""
    early = AgentProcess(state)
    while not (state / appears).exists():
        os.sched_yield()
    early.process.send_signal(number)
    assert early.wait() in (0, 128 + number)
    with AgentProcess(state) as agent:
        assert [] == agent.client.json("GET", "/edge/v1/models")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_starting_and_serving_is_not_lost(state: Path, number: signal.Signals) -> None:
    """Told to end as it writes that it serves, before uvicorn takes the signals over, it ends too."""
    early = AgentProcess(state)
    while '"serving"' not in early.log.read_text():
        os.sched_yield()
    early.process.send_signal(number)
    assert 0 == early.wait()
    with AgentProcess(state) as agent:
        assert [] == agent.client.json("GET", "/edge/v1/models")


def test_sigterm_ends_it_cleanly(state: Path, tmp_path: Path) -> None:
    """The socket is gone, the workers too, and the exit status is 0."""
    with AgentProcess(state) as agent:
        agent.client.deploy(make_bundle(tmp_path))
        workers = workers_of(agent)
        agent.process.send_signal(signal.SIGTERM)
        assert 0 == agent.wait()
    assert not agent.socket.exists()
    assert [] == [pid for pid in workers if runs(pid)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_under_way_ends_with_the_agent(
    state: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Told to end in the middle of a long measurement, the agent says so to its client, and ends."""
    with AgentProcess(state) as agent:
        agent.client.deploy(make_bundle(tmp_path))
        events = agent.client.events("/edge/v1/models/digits/benchmark", A_MINUTE)
        while next(events)["message"] != "measuring":
            pass
        workers = workers_of(agent)
        agent.process.send_signal(number)
        with pytest.raises(AgentUnreachable, match="the agent is ending"):
            list(events)
        assert 0 == agent.wait()
    assert [] == [pid for pid in workers if runs(pid)]


def test_a_deployment_under_way_is_finished_before_the_agent_ends(state: Path, tmp_path: Path) -> None:
    """What changes the device is not cut short: the client gets its result, and the next agent has it."""
    with AgentProcess(state) as agent:
        bundle = make_bundle(tmp_path)
        agent.client.push(bundle)
        events = agent.client.events(
            "/edge/v1/models/digits/deploy", {"manifest_digest": bundle.manifest_digest}
        )
        while next(events)["state"] != "PREFLIGHT":
            pass
        agent.process.send_signal(signal.SIGTERM)
        assert 1 == list(events)[-1]["result"]["status"]["generation"]
        assert 0 == agent.wait()
    with AgentProcess(state) as agent:
        assert 1 == agent.client.generation("digits")


def test_log_is_one_object_a_line(state: Path) -> None:
    """Every line of the log can be parsed and says when and what."""
    with AgentProcess(state) as agent:
        pass
    lines = [json.loads(line) for line in agent.log.read_text().splitlines()]
    assert ["serving", "ended"] == [lines[1]["event"], lines[-1]["event"]]  # the first: its new identity
    assert all({"time", "level", "event"} <= set(line) for line in lines)


def test_on_demand_agent_ends_with_its_last_lease(state: Path) -> None:
    """While one lease is held it stays; when none is left it ends by itself."""
    with AgentProcess(state, "--on-demand") as agent:
        assert agent.client.json("GET", "/edge/v1/agent")["on_demand"]
        with agent.client.stream("GET", "/edge/v1/lease") as first:
            first.readline()
            with agent.client.stream("GET", "/edge/v1/lease") as second:
                second.readline()
            agent.client.json("GET", "/edge/v1/agent")
        assert 0 == agent.wait()
    assert not agent.socket.exists()


def test_kept_agent_outlives_its_leases_until_shutdown(state: Path) -> None:
    """After `keep` only a shutdown ends it; leases end with it."""
    with AgentProcess(state, "--on-demand") as agent:
        with agent.client.stream("GET", "/edge/v1/lease") as lease:
            lease.readline()
            agent.client.ok("POST", "/edge/v1/agent/keep")
        assert not agent.client.json("GET", "/edge/v1/agent")["on_demand"]
        with agent.client.stream("GET", "/edge/v1/lease") as lease:
            lease.readline()
            agent.client.ok("POST", "/edge/v1/agent/shutdown")
            assert b"" == lease.read()
        assert 0 == agent.wait()
