"""Metrics and logs of a running agent."""

import json
from pathlib import Path

import pytest

from device_agent.errors import ActivationFailed, InvalidRequest
from device_agent.gate import route_class
from device_agent.metrics import Exposition, Histogram
from tests.device_agent.harness import AgentProcess, make_bundle, null_samples


def parsed(text: str) -> dict[str, float]:
    """Samples by `name{labels}`, as Prometheus's own parser finds them."""
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus-client")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.type in ("counter", "gauge", "histogram")
        assert family.documentation
        for row in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(row.labels.items()))
            assert f"{row.name} {labels}" not in found
            found[f"{row.name} {labels}".strip()] = row.value
    return found


def test_metrics_count_what_happened(agent: AgentProcess, tmp_path: Path) -> None:
    """Prometheus's own parser reads them, and they say what was done."""
    agent.client.deploy(make_bundle(tmp_path / "a"))
    with pytest.raises(ActivationFailed):
        agent.client.deploy(make_bundle(tmp_path / "b", seed=2, corrupt=True))
    for _ in range(3):
        agent.client.infer("digits", null_samples(1)[0])
    agent.client.request("GET", "/no/such/path")
    status, headers, body = agent.client.request("GET", "/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (status, headers["content-type"])
    found = parsed(body.decode())
    assert 3 == found["edge_agent_requests_total route=infer,status=200"]
    assert 1 == found["edge_agent_requests_total route=other,status=404"]
    assert 3 == found["edge_agent_request_duration_seconds_count route=infer"]
    assert 3 == found["edge_agent_request_duration_seconds_bucket le=+Inf,route=infer"]
    assert 1 == found["edge_agent_deploys_total operation=deploy,outcome=committed"]
    assert 1 == found["edge_agent_deploys_total operation=deploy,outcome=activation_failed"]
    assert 0 == found["edge_agent_queue_depth model=digits"]
    assert 1 == found["edge_agent_workers model=digits"]
    assert found["edge_agent_worker_resident_bytes model=digits"] > 1 << 20
    assert found["edge_agent_upload_bytes_total"] > 1000
    assert 1 << 20 < found["process_resident_memory_bytes"] < 100 << 20


def test_a_histogram_is_cumulative() -> None:
    """Each bucket holds those below it; a duration on an edge belongs to the edge."""
    histogram = Histogram()
    for seconds in (0.001, 0.002, 100.0):
        histogram.observe(seconds)
    text = Exposition()
    text.histograms("x", "y", {(("a", 'b"\\\n'),): histogram})
    found = parsed(text.text())
    assert [1, 2, 2, 3] == [
        found[f'x_bucket a=b"\\\n,le={edge}'] for edge in ("0.001", "0.0025", "60", "+Inf")
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/a/infer", "infer"),
        ("/v2/models/a/versions/1/infer", "infer"),
        ("/v2", "metadata"),
        ("/edge/v1/models/a/deploy", "deploy"),
        ("/edge/v1/models/a", "models"),
        ("/edge/v1/uploads/1", "upload"),
        ("/metrics", "metrics"),
        ("/whatever/a/client/sends", "other"),
    ],
)
def test_route_classes_are_few(path: str, expected: str) -> None:
    """No path of a client's makes a label of its own."""
    assert expected == route_class(path)


def test_request_ids_are_in_answers_errors_and_logs(agent: AgentProcess, tmp_path: Path) -> None:
    """A client's own number is kept where it is a decent one; else there is a new one."""
    bundle = make_bundle(tmp_path)
    agent.client.push(bundle)
    body = json.dumps({"manifest_digest": bundle.manifest_digest}).encode()
    agent.client.request("POST", "/edge/v1/models/digits/deploy", body, {"X-Request-Id": "my-own.1"})
    lines = [json.loads(line) for line in agent.client.ok("GET", "/edge/v1/logs").splitlines()]
    activated = [line for line in lines if line["event"] == "activated"]
    assert ["my-own.1"] == [line["request_id"] for line in activated]
    _, headers, answer = agent.client.request("GET", "/v2/models/no", headers={"X-Request-Id": "a b\x7f"})
    assert headers["x-request-id"] == json.loads(answer)["request_id"]
    assert "a b" not in headers["x-request-id"]


def test_logs_are_limited_by_number_and_gravity(agent: AgentProcess, tmp_path: Path) -> None:
    """The newest come, oldest first."""
    with pytest.raises(ActivationFailed):
        agent.client.deploy(make_bundle(tmp_path, corrupt=True))
    every = agent.client.ok("GET", "/edge/v1/logs?lines=1000").splitlines()
    assert every[-2:] == agent.client.ok("GET", "/edge/v1/logs?lines=2").splitlines()
    assert b"" == agent.client.ok("GET", "/edge/v1/logs?lines=0")
    assert b"" == agent.client.ok("GET", "/edge/v1/logs?level=error")


@pytest.mark.parametrize("query", ["lines=x", "lines=1001", "lines=-1", "level=loud", "follow=yes"])
def test_a_query_that_makes_no_sense_is_refused(agent: AgentProcess, query: str) -> None:
    """With what would have."""
    with pytest.raises(InvalidRequest):
        agent.client.ok("GET", f"/edge/v1/logs?{query}")


def test_following_shows_what_comes_and_ends_with_the_agent(agent: AgentProcess, tmp_path: Path) -> None:
    """Lines arrive while they are written; the stream is no reason for the agent to stay."""
    with agent.client.stream("GET", "/edge/v1/logs?lines=1&follow=1") as response:
        response.readline()
        agent.client.deploy(make_bundle(tmp_path))
        seen = ""
        while seen != "activated":
            seen = json.loads(response.readline())["event"]
        agent.process.terminate()
        rest = [json.loads(line)["event"] for line in response]
        assert "ending" in rest or rest == []
    assert 0 == agent.wait()
