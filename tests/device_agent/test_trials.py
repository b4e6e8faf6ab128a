"""Bundles that are compared and asked about on a running agent, which nothing of it stays on."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import (
    DeploymentConflict,
    InvalidBundle,
    InvalidRequest,
    RuntimeMissing,
    UnknownModel,
)
from tests.device_agent.harness import (
    A_MINUTE,
    MISBEHAVING,
    AgentProcess,
    comparison,
    make_bundle,
    runs,
    workers_of,
)
from tests.device_agent.test_serving import sample

COMPARE = "/edge/v1/models/digits/compare"
QUERY = "/edge/v1/models/digits/query"
TRIGGERED = 146  # the seed of a bundle whose golden inputs make a misbehaving model misbehave


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent for tests that deploy nothing, with deadlines that pass soon."""
    folder = tmp_path_factory.mktemp("shared")
    deadlines = {"EDGE_AGENT_LOAD_DEADLINE_S": "2", "EDGE_AGENT_ANSWER_DEADLINE_S": "2"}
    with AgentProcess(folder / "state", env=MISBEHAVING | deadlines) as agent:
        yield agent
        assert [] == workers_of(agent)
        assert "traceback" not in agent.log.read_text()


def files(state: Path) -> dict[str, bytes]:
    """Every file of a state folder but what changes by itself, with its content."""
    return {
        str(path.relative_to(state)): path.read_bytes()
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.name not in ("lock", "ballast")
    }


def failures(agent: AgentProcess) -> int:
    """How many of its workers failed."""
    return sample(agent, "edge_agent_worker_failures_total")


def until(condition: Any) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


def test_a_comparison_measures_and_changes_nothing(agent: AgentProcess, tmp_path: Path) -> None:
    """Each candidate has the latencies of every round; what is live and recorded stays, and no worker."""
    agent.client.deploy(make_bundle(tmp_path / "live", seed=9))
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3)]
    for bundle in bundles:
        agent.client.push(bundle)
    before, serving = files(agent.state_dir), workers_of(agent)
    events = list(agent.client.events(COMPARE, comparison(*bundles, rounds=3)))
    found = events[-1]["result"]
    assert ("digits", 1) == (found["name"], found["threads"])
    rows = found["candidates"]
    assert [bundle.manifest_digest for bundle in bundles] == [row["manifest_digest"] for row in rows]
    for row in rows:
        assert [3, 3, 3] == [len(latencies) for latencies in row["latencies_ns"]]
        assert all(latency > 0 for latencies in row["latencies_ns"] for latency in latencies)
        assert ("null", "1.0", None, 2) == (
            row["runtime"], row["runtime_version"], row["error"], row["parity"]["samples"]
        )  # fmt: skip
        assert row["load_ns"] > 0
        assert row["peak_rss_bytes"] > 1 << 20
    assert {"loading", "measuring"} == {event["message"] for event in events[:-1]}
    assert [0, 0, 3] == [events[0]["done"], events[-2]["done"] - 8, events[0]["total"]]
    assert (before, serving) == (files(agent.state_dir), workers_of(agent))
    assert 1 == agent.client.generation("digits")


def test_losers_leave_nothing(agent: AgentProcess, tmp_path: Path) -> None:
    """After the winner's deployment all that is new on the device is the winner's."""
    before = files(agent.state_dir).keys()
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    agent.client.compare(*bundles)
    assert all((agent.state_dir / "blobs/sha256" / _hex(b.manifest_digest)).exists() for b in bundles)
    agent.client.deploy(bundles[1])
    blobs = {f"blobs/sha256/{_hex(blob.digest)}" for blob in bundles[1].manifest.blobs()}
    titles = {"manifest.json", "config.json", *(layer.title for layer in bundles[1].manifest.layers)}
    own = {f"models/digits/gens/1/{title}" for title in titles}
    assert (
        before | blobs | own | {f"blobs/sha256/{_hex(bundles[1].manifest_digest)}"}
        == files(agent.state_dir).keys()
    )


def test_losers_of_what_is_active_leave_nothing(agent: AgentProcess, tmp_path: Path) -> None:
    """Also where the winner is what was active already, so that its deployment changes nothing."""
    active, other = (make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    agent.client.deploy(active)
    before = files(agent.state_dir).keys()
    agent.client.compare(active, other)
    assert before != files(agent.state_dir).keys()
    assert agent.client.deploy(active)["unchanged"]
    assert before == files(agent.state_dir).keys()


def test_a_candidate_in_use_is_not_collected(agent: AgentProcess, tmp_path: Path) -> None:
    """Another model's deployment may go on meanwhile; neither it nor a later one collects candidates."""
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    for bundle in bundles:
        agent.client.push(bundle)
    with agent.client.stream("POST", COMPARE, comparison(*bundles, **A_MINUTE)) as response:
        response.readline()
        other = make_bundle(tmp_path / "other", name="other", seed=1)  # most of its blobs are the first one's
        agent.client.deploy(other)
        agent.client.ok("DELETE", "/edge/v1/models/other")
        paths = [bundle.blob_path(blob.digest) for bundle in bundles for blob in bundle.manifest.blobs()]
        assert all((agent.state_dir / "blobs/sha256" / path.name).exists() for path in paths)
    until(lambda: _counted(agent, "left"))
    agent.client.deploy(make_bundle(tmp_path / "third", name="third", seed=3))
    assert all((agent.state_dir / "blobs/sha256" / path.name).exists() for path in paths)


def test_one_at_a_time(agent: AgentProcess, tmp_path: Path) -> None:
    """While one comparison is under way others and queries are refused, and operations on its model."""
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    elsewhere = [make_bundle(tmp_path / f"o{seed}", name="other", seed=seed) for seed in (1, 2)]
    for bundle in (*bundles, *elsewhere):
        agent.client.push(bundle)
    with agent.client.stream("POST", COMPARE, comparison(*bundles, **A_MINUTE)) as response:
        response.readline()
        for path, body in (
            ("/edge/v1/models/other/compare", comparison(*elsewhere)),
            (QUERY, {"bundle": {"manifest_digest": bundles[0].manifest_digest}, "devices": ["CPU"]}),
            ("/edge/v1/models/digits/deploy", {"manifest_digest": bundles[0].manifest_digest}),
        ):
            with pytest.raises(DeploymentConflict):
                agent.client.json("POST", path, body)
        until(lambda: len(workers_of(agent)) == 2)
        busy = workers_of(agent)
    until(lambda: _counted(agent, "left"))  # the client has
    assert not any(map(runs, busy))
    assert 2 == len(agent.client.compare(*bundles)["candidates"])
    assert [1, 1] == [_counted(agent, outcome) for outcome in ("answered", "conflict")]


def test_a_killed_agent_leaves_what_the_next_one_collects(state: Path, tmp_path: Path) -> None:
    """After a kill in the middle there are blobs and nothing else; the next deployment removes them."""
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    with AgentProcess(state) as agent:
        live = make_bundle(tmp_path / "live", name="live", seed=9)
        agent.client.deploy(live)
        before = files(state).keys()
        for bundle in bundles:
            agent.client.push(bundle)
        with agent.client.stream("POST", COMPARE, comparison(*bundles, **A_MINUTE)) as response:
            response.readline()
            until(lambda: len(workers_of(agent)) == 3)
            workers = workers_of(agent)
            agent.kill()
            until(lambda: not any(map(runs, workers)))
    with AgentProcess(state) as agent:
        assert ["live"] == [model["name"] for model in agent.client.json("GET", "/edge/v1/models")]
        assert all(name.startswith("blobs/") for name in files(state).keys() - before)
        assert agent.client.deploy(live)["unchanged"]
        assert before == files(state).keys()


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("worker_failed", "SIGSEGV", {"load": "segfault"}),
    ("worker_failed", "within 2 s", {"load": "hang", "seed": 3}),
    ("worker_failed", "SIGSEGV", {"infer": "segfault", "seed": TRIGGERED}),
    ("worker_failed", "SIGSEGV", {"infer": "segfault_later", "seed": TRIGGERED}),
    ("worker_failed", "within 2.5 s", {"infer": "hang_later", "seed": TRIGGERED}),
    ("activation_failed", "scores4", {"corrupt": True, "seed": 4}),
]


def test_a_bad_candidate_takes_only_itself(shared: AgentProcess, tmp_path: Path) -> None:
    """One that crashes, hangs or computes otherwise, at whatever point, carries its error and no latencies;
    the others are measured in all rounds."""
    bundles = [make_bundle(tmp_path / str(number), **bad) for number, (_, _, bad) in enumerate(BAD)]
    bundles = [make_bundle(tmp_path / "a", seed=1), *bundles, make_bundle(tmp_path / "z", seed=2)]
    for bundle in bundles:
        shared.client.push(bundle)
    before = failures(shared)
    events = list(shared.client.events(COMPARE, comparison(*bundles, max_seconds=0.5)))
    first, *failed, last = events[-1]["result"]["candidates"]
    assert [(code, []) for code, _, _ in BAD] == [
        (row["error"]["code"], row["latencies_ns"]) for row in failed
    ]
    for (_, said, _), row in zip(BAD, failed, strict=True):
        assert said in row["error"]["error"]
    for row in (first, last):
        assert (None, 2) == (row["error"], len(row["latencies_ns"]))
    assert not failed[-1]["parity"]["tensors"][0]["passed"]
    assert 5 == failures(shared) - before


def test_all_may_fail(shared: AgentProcess, tmp_path: Path) -> None:
    """That is an answer as well: whoever asked decides."""
    bundles = [make_bundle(tmp_path / str(seed), seed=seed, corrupt=True) for seed in (1, 2)]
    rows = shared.client.compare(*bundles)["candidates"]
    assert ["activation_failed"] * 2 == [row["error"]["code"] for row in rows]


def test_turns_of_their_own_where_memory_is_short(state: Path, tmp_path: Path) -> None:
    """Candidates that together would hold too much are started for each turn: one worker at a time."""
    bundles = [make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    with AgentProcess(state, env={"EDGE_AGENT_WARM_BYTES": "1"}) as agent:
        for bundle in bundles:
            agent.client.push(bundle)
        most = 0
        result = None
        for event in agent.client.events(COMPARE, comparison(*bundles)):
            most, result = max(most, len(workers_of(agent))), event["result"]
        assert result is not None
        assert [2, 2] == [len(row["latencies_ns"]) for row in result["candidates"]]
        assert most <= 1
        assert (6, 0) == (sample(agent, "edge_agent_worker_starts_total"), failures(agent))


def test_what_could_not_be_deployed_is_not_run(shared: AgentProcess, tmp_path: Path) -> None:
    """A bundle that is not here, for another name, or damaged on the disk is refused at once."""
    good, poor = (make_bundle(tmp_path / str(seed), seed=seed) for seed in (21, 22))
    shared.client.push(good)
    with pytest.raises(InvalidBundle, match="not uploaded"):
        shared.client.json("POST", COMPARE, comparison(good, poor))
    shared.client.push(poor)
    with pytest.raises(InvalidBundle, match="another name"):
        shared.client.json("POST", "/edge/v1/models/other/compare", comparison(good, poor))
    model = shared.state_dir / "blobs/sha256" / _hex(poor.manifest.layers[0].digest)
    model.chmod(0o644)
    model.write_bytes(bytes(model.stat().st_size))
    with pytest.raises(InvalidBundle, match="damaged"):
        shared.client.json("POST", COMPARE, comparison(good, poor))
    assert not model.exists()
    with pytest.raises(UnknownModel):
        shared.client.json("GET", "/edge/v1/models/digits/history")


def test_runtimes_tell_of_their_processors(shared: AgentProcess) -> None:
    """A runtime that cannot tell says so, one that is not here is missing."""
    with pytest.raises(InvalidRequest, match="processors"):
        shared.client.json("GET", "/edge/v1/runtimes/null/devices")
    with pytest.raises(RuntimeMissing):
        shared.client.json("GET", "/edge/v1/runtimes/tensorrt/devices")


@pytest.mark.parametrize("devices", [[], ["CPU"] * 17, [""], ["x" * 81]])
def test_a_query_names_processors(shared: AgentProcess, tmp_path: Path, devices: list[str]) -> None:
    """None, too many, or what can be no name: refused before anything is looked at."""
    bundle = {"manifest_digest": make_bundle(tmp_path).manifest_digest}
    with pytest.raises(InvalidRequest, match="processors"):
        shared.client.json("POST", QUERY, {"bundle": bundle, "devices": devices})


def test_a_runtime_that_cannot_be_asked(shared: AgentProcess, tmp_path: Path) -> None:
    """A query of such a bundle is a clear refusal; its blobs wait for its deployment."""
    bundle = make_bundle(tmp_path)
    shared.client.push(bundle)
    body = {"bundle": {"manifest_digest": bundle.manifest_digest}, "devices": ["CPU"]}
    with pytest.raises(InvalidRequest, match="processors"):
        shared.client.json("POST", QUERY, body)
    assert 200 == shared.client.request("HEAD", f"/edge/v1/blobs/{bundle.manifest_digest}")[0]


MALFORMED: list[tuple[str, Any]] = [
    *((COMPARE, body) for body in ([], {}, {"candidates": {}}, {"candidates": [], "request": {}})),
    (COMPARE, {"candidates": ["sha256:x", "y"], "request": {}}),
    (COMPARE, {"candidates": [{"manifest_digest": "../x"}] * 2, "request": {}}),
    (COMPARE, comparison() | {"rounds": "8"}),
    (COMPARE, comparison() | {"rounds": 1e9}),
    (COMPARE, comparison(max_seconds=-1)),
    (COMPARE, comparison(threads=1 << 70)),
    *((QUERY, body) for body in ([], {}, {"bundle": {}, "devices": ["CPU"]}, {"bundle": 1, "devices": 2})),
    (QUERY, {"bundle": {"manifest_digest": "x"}, "devices": ["CPU"]}),
    ("/edge/v1/models/A/query", {}),
]


@pytest.mark.parametrize(("path", "body"), MALFORMED)
def test_what_makes_no_sense_is_refused(shared: AgentProcess, path: str, body: Any) -> None:
    """Each malformed request gets a 400 and the error's JSON."""
    status, _, answer = shared.client.request("POST", path, json.dumps(body).encode())
    assert (400, "invalid_request") == (status, json.loads(answer)["code"])


def _counted(agent: AgentProcess, outcome: str) -> int:
    return sample(agent, f'edge_agent_trials_total{{operation="compare",outcome="{outcome}"}}')


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
