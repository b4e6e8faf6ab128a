"""A running agent, over its socket."""

import hashlib
import os
import resource
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_agent.errors import (
    ActivationFailed,
    DeploymentConflict,
    DiskFull,
    NothingToRollBack,
    UnknownModel,
    WorkerFailed,
)
from tests.device_agent.harness import A_MINUTE, STATES, AgentProcess, make_bundle, null_samples, workers_of


def test_agent_describes_itself(agent: AgentProcess) -> None:
    """The description names this process and this machine's userland."""
    info = agent.client.json("GET", "/edge/v1/agent")
    assert (1, agent.process.pid, False) == (info["protocol"], info["pid"], info["on_demand"])
    assert "null" in [runtime["name"] for runtime in info["runtimes"]]
    assert info["state"]["memory_available_bytes"] > 0


def test_socket_is_for_this_user_only(agent: AgentProcess) -> None:
    """Nobody else may open the socket or enter the state folder."""
    assert 0o600 == stat.S_IMODE(agent.socket.stat().st_mode)
    assert 0o700 == stat.S_IMODE(agent.state_dir.stat().st_mode)


def test_the_road(agent: AgentProcess, tmp_path: Path) -> None:
    """Deploy, deploy again, infer, roll back, list, history, remove."""
    client = agent.client
    one, two = (make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in (1, 2))
    client.push(one)
    path = "/edge/v1/models/digits/deploy"
    events = list(client.events(path, {"manifest_digest": one.manifest_digest}))
    assert STATES == [event["state"] for event in events[:-1]]
    deployed = events[-1]["result"]
    assert (1, "COMMITTED", None) == (
        deployed["status"]["generation"],
        deployed["status"]["state"],
        deployed["status"]["previous_generation"],
    )
    parity = deployed["parity"]
    assert (2, [("scores1", 0.0, True)]) == (
        parity["samples"],
        [(row["name"], row["max_abs_diff"], row["passed"]) for row in parity["tensors"]],
    )
    again = client.deploy(one)
    assert (True, 1) == (again["unchanged"], again["status"]["generation"])
    assert 2 == client.deploy(two)["status"]["generation"]
    answer = client.infer("digits", null_samples(1)[0])
    assert ("2", "scores2") == (answer["model_version"], answer["outputs"][0]["name"])
    assert 1 == client.rollback("digits")["status"]["generation"]
    assert "scores1" == client.infer("digits", null_samples(1)[0])["outputs"][0]["name"]
    with pytest.raises(NothingToRollBack):
        client.rollback("digits")
    assert ["digits"] == [status["name"] for status in client.json("GET", "/edge/v1/models")]
    history = client.json("GET", "/edge/v1/models/digits/history")
    assert [(1, "COMMITTED"), (2, "COMMITTED"), (1, "COMMITTED")] == [
        (entry["generation"], entry["outcome"]) for entry in history
    ]
    client.ok("DELETE", "/edge/v1/models/digits")
    assert [] == client.json("GET", "/edge/v1/models")
    with pytest.raises(UnknownModel):
        client.infer("digits", null_samples(1)[0])


def test_failed_preflight_leaves_the_earlier_model(agent: AgentProcess, tmp_path: Path) -> None:
    """A bundle whose golden outputs do not come true is refused with the figures; what was active answers."""
    client = agent.client
    client.deploy(make_bundle(tmp_path / "good", seed=1))
    with pytest.raises(ActivationFailed, match="scores2 differs by"):
        client.deploy(make_bundle(tmp_path / "bad", seed=2, corrupt=True))
    assert 1 == client.generation("digits")
    assert "scores1" == client.infer("digits", null_samples(1)[0])["outputs"][0]["name"]


def test_benchmark_streams_and_answers(agent: AgentProcess, tmp_path: Path) -> None:
    """Progress events, then raw latencies with the machine's state around them."""
    agent.client.deploy(make_bundle(tmp_path))
    request = {
        "warmup_iterations": 2,
        "min_iterations": 50,
        "min_seconds": 0.0,
        "max_seconds": 5.0,
        "threads": 1,
    }
    *progress, last = agent.client.events("/edge/v1/models/digits/benchmark", request)
    assert {"progress"} == {event["kind"] for event in progress}
    result = last["result"]
    assert ("digits", 1, "null", 2) == (
        result["name"],
        result["generation"],
        result["runtime"],
        len(result["warmup_latencies_ns"]),
    )
    assert 50 <= len(result["latencies_ns"])


def test_worker_killed_in_mid_benchmark_takes_only_itself(agent: AgentProcess, tmp_path: Path) -> None:
    """The error names the signal, and the model answers the next request."""
    agent.client.deploy(make_bundle(tmp_path))
    before = set(workers_of(agent))
    events = agent.client.events("/edge/v1/models/digits/benchmark", A_MINUTE)
    while (event := next(events))["message"] != "measuring":
        pass
    assert event["done"] > 0
    (worker,) = set(workers_of(agent)) - before
    os.kill(worker, signal.SIGSEGV)
    with pytest.raises(WorkerFailed, match="SIGSEGV"):
        list(events)
    agent.client.infer("digits", null_samples(1)[0])


def test_dead_worker_is_replaced_at_the_next_request(agent: AgentProcess, tmp_path: Path) -> None:
    """A warm worker that died is no error for whoever asks next."""
    agent.client.deploy(make_bundle(tmp_path))
    (worker,) = workers_of(agent)
    os.kill(worker, signal.SIGKILL)
    while Path(f"/proc/{worker}").exists():  # its memory goes before its files: until then it is not dead
        os.sched_yield()
    agent.client.infer("digits", null_samples(1)[0])
    assert [worker] != workers_of(agent)


def test_client_that_leaves_ends_its_benchmark(agent: AgentProcess, tmp_path: Path) -> None:
    """A benchmark nobody waits for does not go on."""
    agent.client.deploy(make_bundle(tmp_path))
    before = workers_of(agent)
    events = agent.client.events("/edge/v1/models/digits/benchmark", A_MINUTE)
    while next(events)["message"] != "measuring":
        pass
    events.close()
    while workers_of(agent) != before:
        os.sched_yield()


def test_many_deploys_at_once_have_one_winner(agent: AgentProcess, tmp_path: Path) -> None:
    """One is committed; every other one is refused as a conflict or finds it already active."""
    client = agent.client
    bundle = make_bundle(tmp_path)
    client.push(bundle)

    def deploy(_: int) -> str:
        path = "/edge/v1/models/digits/deploy"
        try:
            *_, last = client.events(path, {"manifest_digest": bundle.manifest_digest})
        except DeploymentConflict:
            return "conflict"
        return "unchanged" if last["result"]["unchanged"] else "committed"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(deploy, range(30)))
    assert 1 == outcomes.count("committed")
    assert outcomes.count("conflict") >= 9
    assert 1 == client.generation("digits")


def test_upload_goes_on_after_a_kill(state: Path) -> None:
    """What was acknowledged before kill -9 need not be sent again."""
    data = os.urandom(3 << 20)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with AgentProcess(state) as agent:
        location, offset = agent.client.begin_upload(digest, len(data))
        assert 0 == offset
        agent.client.send_chunk(location, 0, data[: 2 << 20])
        agent.kill()
    with AgentProcess(state) as agent:
        client = agent.client
        assert (location, 2 << 20) == client.begin_upload(digest, len(data))
        assert str(2 << 20) == client.request("HEAD", location)[1]["upload-offset"]
        client.send_chunk(location, 2 << 20, data[2 << 20 :])
        status, headers, _ = client.request("HEAD", f"/edge/v1/blobs/{digest}")
        assert (200, str(len(data))) == (status, headers["content-length"])


def test_full_disk_is_named_and_passes(agent: AgentProcess, tmp_path: Path) -> None:
    """What cannot be written is refused as DiskFull; what is active answers; later it works."""
    client = agent.client
    client.deploy(make_bundle(tmp_path / "small"))
    large = make_bundle(tmp_path / "large", seed=2, padding=4 << 20)
    before = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    with pytest.raises(DiskFull):
        client.deploy(large)
    assert 1 == client.generation("digits")
    client.infer("digits", null_samples(1)[0])
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, before)
    assert 2 == client.deploy(large)["status"]["generation"]


def test_models_are_served_beside_each_other(agent: AgentProcess, tmp_path: Path) -> None:
    """More models than warm workers are kept: all answer, and no more workers than that stay."""
    for index in range(6):
        agent.client.deploy(make_bundle(tmp_path / str(index), name=f"m{index}", seed=index))
    for index in range(6):
        assert f"scores{index}" == agent.client.infer(f"m{index}", null_samples(0)[0])["outputs"][0]["name"]
    assert 4 == len(workers_of(agent))


def test_agent_answers_while_a_model_is_busy(agent: AgentProcess, tmp_path: Path) -> None:
    """Requests about the agent are answered while a benchmark runs."""
    agent.client.deploy(make_bundle(tmp_path))
    events = agent.client.events("/edge/v1/models/digits/benchmark", A_MINUTE)
    while next(events)["message"] != "measuring":
        pass
    assert 1 == agent.client.generation("digits")
    agent.client.infer("digits", null_samples(1)[0])
    events.close()
