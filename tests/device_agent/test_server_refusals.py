"""What a running agent refuses, and that it is unharmed by it."""

import base64
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import (
    InvalidBundle,
    UnknownModel,
    tree,
)
from tests.device_agent.harness import AgentProcess, UnixConnection, make_bundle, null_samples

GOOD_CHECKSUM = "sha256 " + base64.b64encode(hashlib.sha256(b"x").digest()).decode()
DIGEST = "sha256:" + "0" * 64
BAD_REQUESTS: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("GET", "/", b"", {}),
    ("GET", "/edge/v1", b"", {}),
    ("GET", "/edge/v1/agent/", b"", {}),
    ("POST", "/edge/v1/agent", b"", {}),
    ("BREW", "/edge/v1/agent", b"", {}),
    ("GET", "/edge/v1/models/%ff", b"", {}),
    ("GET", "/edge/v1/models/..", b"", {}),
    ("GET", "/edge/v1/models/%2e%2e%2fetc", b"", {}),
    ("GET", "/edge/v1/models/UPPER", b"", {}),
    ("GET", "/edge/v1/models/" + "x" * 300, b"", {}),
    ("GET", "/edge/v1/models/unknown", b"", {}),
    ("GET", "/edge/v1/models/unknown/history", b"", {}),
    ("DELETE", "/edge/v1/models/unknown", b"", {}),
    ("DELETE", "/edge/v1/models/-", b"", {}),
    ("POST", "/edge/v1/models/unknown/rollback", b"", {}),
    ("POST", "/edge/v1/models/unknown/benchmark", b"{}", {}),
    *(
        ("POST", "/edge/v1/models/digits/deploy", body, {})
        for body in (
            b"",
            b"\x00",
            b"null",
            b"[]",
            b"{}",
            b'{"manifest_digest": 7}',
            b'{"manifest_digest": "sha256:../../../etc/passwd"}',
            json.dumps({"manifest_digest": DIGEST}).encode(),
            b"[" * 100_000,
            b" " * (2 << 20),
        )
    ),
    *(
        ("POST", "/edge/v1/models/digits/benchmark", json.dumps(body).encode(), {})
        for body in (
            {"threads": 0},
            {"threads": 10**9},
            {"min_iterations": -1},
            {"min_iterations": 1.5},
            {"max_seconds": 1e9},
            {"max_seconds": float("nan")},
            {"min_seconds": 5, "max_seconds": 1},
            {"warmup_iterations": 10**12},
        )
    ),
    ("POST", "/edge/v1/uploads", b"", {}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "1"}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "-1", "Upload-Digest": DIGEST}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "1e3", "Upload-Digest": DIGEST}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "9" * 400, "Upload-Digest": DIGEST}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "1", "Upload-Digest": "sha256:" + "G" * 64}),
    ("POST", "/edge/v1/uploads", b"", {"Upload-Length": "1" + "0" * 14, "Upload-Digest": DIGEST}),
    ("PATCH", "/edge/v1/uploads/x", b"x", {}),
    ("PATCH", "/edge/v1/uploads/x", b"x", {"Upload-Offset": "0"}),
    ("PATCH", "/edge/v1/uploads/x", b"x", {"Upload-Offset": "0", "Upload-Checksum": "md5 eA=="}),
    ("PATCH", "/edge/v1/uploads/x", b"x", {"Upload-Offset": "0", "Upload-Checksum": "sha256 !"}),
    ("PATCH", "/edge/v1/uploads/x", b"x", {"Upload-Offset": "0", "Upload-Checksum": GOOD_CHECKSUM}),
    ("PATCH", "/edge/v1/uploads/x", b"y", {"Upload-Offset": "0", "Upload-Checksum": GOOD_CHECKSUM}),
    ("PATCH", "/edge/v1/uploads/x", bytes(9 << 20), {"Upload-Offset": "0", "Upload-Checksum": GOOD_CHECKSUM}),
    ("GET", "/v2/models/unknown", b"", {}),
    ("GET", "/v2/models/digits/versions/2", b"", {}),
    ("GET", "/v2/models/digits/versions/../ready", b"", {}),
    ("POST", "/v2/models/digits/versions/9/infer", b"{}", {}),
    *(
        ("POST", "/v2/models/digits/infer", body, {})
        for body in (b"", b"[]", b"{}", b'{"inputs": [{}]}', b"{" * 99)
    ),
    ("POST", "/v2/models/digits/infer", b"{}", {"Inference-Header-Content-Length": "9"}),
    ("POST", "/v2/models/digits/infer", b"{}", {"Inference-Header-Content-Length": "-1"}),
    ("POST", "/v2/models/digits/infer", b"{}", {"Content-Encoding": "gzip"}),
    ("POST", "/v2/models/digits/infer", b" " * (65 << 20), {}),
]


def test_bad_requests_are_refused_by_name(agent: AgentProcess, tmp_path: Path) -> None:
    """Every malformed request gets a 4xx with an error of the tree; the agent and its model are unharmed."""
    client = agent.client
    client.deploy(make_bundle(tmp_path))
    codes = {error.code for error in tree()}
    for method, path, body, headers in BAD_REQUESTS:
        status, _, answer = client.request(method, path, body, headers)
        case = f"{method} {path} {body[:60]!r} {headers}: {status} {answer[:200]!r}"
        assert 400 <= status < 500, case
        assert json.loads(answer)["code"] in codes, case
    assert "traceback" not in agent.log.read_text()
    client.infer("digits", null_samples(1)[0])


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"GET /edge/v1/agent HTTP/1.1\r\n\r\n",
        b"GET /edge/v1/agent HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /edge/v1/agent HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(agent: AgentProcess, text: bytes) -> None:
    """Bytes that are no request get a 400 and nothing else happens."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(agent.socket))
        raw.sendall(text)
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    agent.client.json("GET", "/edge/v1/agent")


def test_client_that_leaves_in_mid_upload_changes_nothing(agent: AgentProcess) -> None:
    """Half a chunk is no chunk."""
    data = bytes(1000)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    location, _ = agent.client.begin_upload(digest, len(data))
    connection = UnixConnection(agent.socket)
    connection.putrequest("PATCH", location)
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    for key, value in {
        "Upload-Offset": "0",
        "Upload-Checksum": f"sha256 {checksum}",
        "Content-Length": "1000",
    }.items():
        connection.putheader(key, value)
    connection.endheaders(data[:500])
    connection.close()
    agent.client.send_chunk(location, 0, data)
    assert 200 == agent.client.request("HEAD", f"/edge/v1/blobs/{digest}")[0]
    assert "traceback" not in agent.log.read_text()


def tampered(bundle_folder: Path, change: Any) -> tuple[list[bytes], str]:
    """The blobs of a bundle whose manifest was changed, and the manifest's digest."""
    bundle = make_bundle(bundle_folder)
    manifest = json.loads(bundle.blob_path(bundle.manifest_digest).read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    blobs = [bundle.blob_path(blob.digest).read_bytes() for blob in bundle.manifest.blobs()]
    return [*blobs, data], "sha256:" + hashlib.sha256(data).hexdigest()


MANIFEST_CHANGES: dict[str, Any] = {
    "another type": lambda m: m.update(artifactType="application/json"),
    "no layers": lambda m: m.update(layers=[]),
    "size too large": lambda m: m["layers"][0].update(size=10**9),
    "negative size": lambda m: m["layers"][0].update(size=-1),
    "blob not uploaded": lambda m: m["layers"][0].update(digest=DIGEST),
    "title leaves the folder": lambda m: m["layers"][0]["annotations"].update(
        {"org.opencontainers.image.title": "../../../evil"}
    ),
    "title of ours": lambda m: m["layers"][3]["annotations"].update(
        {"org.opencontainers.image.title": "manifest.json"}
    ),
    "two titles alike": lambda m: m["layers"][3]["annotations"].update(
        {"org.opencontainers.image.title": "model.json"}
    ),
    "config is a model": lambda m: m.update(config=m["layers"][0] | {"annotations": {}}),
}


@pytest.mark.parametrize("change", MANIFEST_CHANGES.values(), ids=MANIFEST_CHANGES.keys())
def test_malformed_manifests_are_refused(agent: AgentProcess, tmp_path: Path, change: Any) -> None:
    """A manifest that makes no sense is an InvalidBundle, and nothing is deployed or recorded."""
    blobs, digest = tampered(tmp_path, change)
    for blob in blobs:
        agent.client.upload(blob)
    with pytest.raises(InvalidBundle):
        list(agent.client.events("/edge/v1/models/digits/deploy", {"manifest_digest": digest}))
    with pytest.raises(UnknownModel):
        agent.client.json("GET", "/edge/v1/models/digits/history")


def test_bundle_for_another_name_is_refused(agent: AgentProcess, tmp_path: Path) -> None:
    """A bundle is deployed under the name it carries, not another."""
    bundle = make_bundle(tmp_path)
    agent.client.push(bundle)
    with pytest.raises(InvalidBundle, match="another name"):
        list(agent.client.events("/edge/v1/models/other/deploy", {"manifest_digest": bundle.manifest_digest}))


def test_errors_on_an_event_stream_before_its_first_event_have_a_status(agent: AgentProcess) -> None:
    """What can be refused at once is refused with the error's HTTP status, not inside a stream."""
    status, headers, body = agent.client.request(
        "POST", "/edge/v1/models/digits/deploy", json.dumps({"manifest_digest": DIGEST}).encode()
    )
    assert (422, "application/json", "invalid_bundle") == (
        status,
        headers["content-type"],
        json.loads(body)["code"],
    )


def test_keep_alive_connection_serves_many_requests(agent: AgentProcess) -> None:
    """One connection carries one request after the other, also after an error."""
    connection = UnixConnection(agent.socket)
    for path, expected in [
        ("/v2", 200),
        ("/nowhere", 404),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
    ]:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert expected == response.status
    connection.close()
