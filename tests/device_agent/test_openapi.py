"""docs/agent-openapi.json against the routes, and schemathesis over it against a real agent.

`EDGE_SCHEMATHESIS=300` tries so many examples of each route; ten by default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from device_agent.errors import from_json
from device_agent.routes import control, inference, models, observation, transfers, trials
from edge_sdk.devices.forward import Forwarder
from edge_sdk.devices.transports.local import LocalTransport
from tests.device_agent.harness import ROOT, AgentProcess, make_bundle, null_samples

DOCUMENT = ROOT / "docs/agent-openapi.json"
EXAMPLES = int(os.environ.get("EDGE_SCHEMATHESIS", "10"))
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
# the lease's answer does not end; shutdown ends the agent; both have tests of their own
SCHEMA = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text())).exclude(
    path=["/edge/v1/lease", "/edge/v1/agent/shutdown"]
)


def test_document_is_up_to_date() -> None:
    """The file is what scripts/gen_openapi.py makes of the protocol's types."""
    done = subprocess.run([sys.executable, ROOT / "scripts/gen_openapi.py", "--check"], check=False)
    assert 0 == done.returncode, "run scripts/gen_openapi.py"


def test_document_and_routes_agree() -> None:
    """Every route with its methods stands in the document, and nothing else does."""
    paths = json.loads(DOCUMENT.read_text())["paths"]
    described = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    routed = {
        (route.path, method)
        for route in (
            *control.ROUTES,
            *transfers.ROUTES,
            *models.ROUTES,
            *inference.ROUTES,
            *observation.ROUTES,
            *trials.ROUTES,
        )
        for method in (route.methods or set())
        if not (method == "HEAD" and "GET" in (route.methods or set()))  # Starlette adds it to each GET
    }
    assert routed == described


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent with a model for all requests of this module."""
    folder = tmp_path_factory.mktemp("agent")
    with AgentProcess(folder / "state") as process:
        process.client.deploy(make_bundle(folder))
        yield process
        process.client.deploy(make_bundle(folder))  # one may have been removed: it still can
        process.client.infer("digits", null_samples(1)[0])
        assert "traceback" not in process.log.read_text()


@pytest.fixture(scope="module")
def url(agent: AgentProcess) -> Iterator[str]:
    """The agent by TCP."""
    transport = LocalTransport(agent.state_dir)
    transport.open()
    failures: list[Exception] = []
    forwarder = Forwarder(transport, "127.0.0.1", 0, failures.append)
    thread = threading.Thread(target=forwarder.serve)
    thread.start()
    yield "http://{}:{}".format(*forwarder.address)
    forwarder.stop()
    thread.join()
    forwarder.close()
    transport.close()
    assert [] == failures


@schemathesis.serializer("application/offset+octet-stream")
def octets(_: schemathesis.SerializationContext, value: object) -> bytes:
    """A chunk as it is, or whatever else was generated in its place as text."""
    return value if isinstance(value, bytes) else str(value).encode()


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_agent(case: schemathesis.Case, url: str) -> None:
    """Whatever is sent, right or wrong, the answer is one that the document describes, and no 500."""
    response = case.call(base_url=url, timeout=60)
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400 and response.content:
        from_json(response.content)
