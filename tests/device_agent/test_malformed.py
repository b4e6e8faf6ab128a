"""Malformed bundles and requests against a real agent: every one is refused by name, and harms nothing.

Every third bundle is tried; all with `EDGE_CAMPAIGN=full`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from device_agent.errors import EdgeError, from_json
from tests.device_agent.harness import AgentProcess, Client, make_bundle, null_samples
from tests.device_agent.malformed import Case, Maker

# what an agent may answer malformed input with; another code here is a decision, not an accident
CLOSED = {
    "invalid_request", "invalid_bundle", "unknown_model", "runtime_missing", "upload", "activation_failed",
    "worker_failed",
}  # fmt: skip
DATA = bytes(range(256)) * 8
CHECKSUM = "sha256 " + base64.b64encode(hashlib.sha256(DATA).digest()).decode()
FULL = os.environ.get("EDGE_CAMPAIGN") == "full"
UPLOAD = "0" * 64 + "-2048"


def refusal(client: Client, case: Case) -> EdgeError | None:
    """What deploying a case is refused with."""
    for blob in case.blobs:
        client.upload(blob)
    try:
        list(client.events("/edge/v1/models/victim/deploy", {"manifest_digest": case.manifest_digest}))
    except EdgeError as e:
        return e
    return None


def test_malformed_bundles(agent: AgentProcess, tmp_path: Path) -> None:
    """Each is refused with an error of the closed list; what was active answers on."""
    client = agent.client
    client.deploy(make_bundle(tmp_path / "good"))
    found: Counter[str] = Counter()
    cases = list(Maker(tmp_path / "victim").cases())
    assert len(cases) >= 300
    for case in cases if FULL else cases[::3]:
        error = refusal(client, case)
        assert error is not None, f"accepted: {case.what}"
        assert error.code in CLOSED, f"{case.what}: {error.code} {error}"
        assert "made a mistake" not in str(error), f"{case.what}: {error}"
        found[error.code] += 1
    print(f"{found.total()} malformed bundles refused: {dict(found)}")
    assert ["digits"] == [model["name"] for model in client.json("GET", "/edge/v1/models")]
    client.infer("digits", null_samples(1)[0])
    assert "traceback" not in agent.log.read_text()


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


def patch(
    *, offset: object = 0, checksum: str = CHECKSUM, length: object = len(DATA), upload: str = UPLOAD,
    body: bytes = DATA, more: tuple[str, ...] = (),
) -> bytes:  # fmt: skip
    """A chunk's request in the form of our client, but for what is asked for."""
    return head(
        "PATCH", f"/edge/v1/uploads/{upload}", f"Upload-Offset: {offset}", f"Upload-Checksum: {checksum}",
        "Content-Type: application/offset+octet-stream", f"Content-Length: {length}", *more,
    ) + body  # fmt: skip


def raw_requests() -> Iterator[tuple[str, bytes]]:
    """Bytes that are no request of ours, with what is wrong."""
    yield from {
        "binary": b"\x00\xff\xfe garbage\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/11": b"GET /v2 HTTP/11\r\nHost: a\r\n\r\n",
        "no version": b"GET /v2\r\n\r\n",
        "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
        "two hosts": b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "bare line feeds in a header": b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "a header without colon": b"GET /v2 HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
        "a space before the colon": b"GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n",
        "a null in a header": b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        "a space in the path": b"GET /v2 x HTTP/1.1\r\nHost: a\r\n\r\n",
        "path not ASCII": b"GET /v2/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        "header too large": b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 600_000 + b"\r\n\r\n",
        "path too long": b"GET /" + b"x" * 600_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "many headers": b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        "chunks of no size": head("POST", "/edge/v1/models/x/deploy", "Transfer-Encoding: chunked")
        + b"zz\r\n",
        "an endless chunk size": head("POST", "/edge/v1/models/x/deploy", "Transfer-Encoding: chunked")
        + b"f" * 40 + b"\r\n",
        "unknown transfer coding": head("POST", "/edge/v1/models/x/deploy", "Transfer-Encoding: gzip"),
        "chunked and length": head("POST", "/edge/v1/models/x/deploy", "Transfer-Encoding: chunked",
                                   "Content-Length: 5") + b"zz\r\n",
    }.items()  # fmt: skip
    for length in ("x", "-1", "1.5", "0x10", "1e3", "9" * 40, "5, 6", ""):
        yield f"length {length!r}", head("POST", "/edge/v1/models/x/deploy", f"Content-Length: {length}")
    for method in ("PUT", "TRACE", "CONNECT", "PROPFIND", "get", "PATCH", "DELETE"):
        yield f"method {method}", head(method, "/edge/v1/agent")
    for path in ("/", "//", "/edge", "/edge/v1/", "/edge/v2/agent", "/edge/v1/blobs/x", "/v2/", "/v3", "*",
                 "/edge/v1/models/..%2f..", "/edge/v1/models/%00", "/edge/v1/models/%C3%A9"):  # fmt: skip
        yield f"path {path}", head("GET", path)


def raw_chunks() -> Iterator[tuple[str, bytes]]:
    """Requests that add to an upload and must not."""
    yield "a chunk of no upload", patch(upload="1" * 64 + "-2048")
    for upload in ("x", "0" * 64, "0" * 63 + "-1", "0" * 64 + "--1", "0" * 64 + "-" + "9" * 30, "..%2f.."):
        yield f"upload {upload}", patch(upload=upload)
    for offset in (1, 2048, 10**14, 10**30, -1, "x", "", "0x0", "1e0", "0 0"):
        yield f"offset {offset!r}", patch(offset=offset)
    for checksum in ("", "sha256", "sha256 ", "sha256 x", "md5 AAAA", CHECKSUM[:-2] + "A=", CHECKSUM + "=",
                     "SHA256" + CHECKSUM[6:], "sha256 " + "A" * 43 + "="):  # fmt: skip
        yield f"checksum {checksum!r}", patch(checksum=checksum)
    for length in (8 << 20 | 1, 10**7, 99_999_999, 10**9, 10**15, 10**30, -1, "x", ""):
        yield f"chunk of length {length!r}", patch(length=length)
    yield "another body", patch(body=DATA[::-1])
    yield "a good length twice", patch(more=("Content-Length: 2048",), checksum="sha256 x")
    yield "an offset twice", patch(more=("Upload-Offset: 5",), checksum="sha256 x")
    yield "beyond the end", patch(length=4096, body=DATA * 2, checksum="sha256 " + base64.b64encode(
        hashlib.sha256(DATA * 2).digest()).decode())  # fmt: skip
    yield "a good one behind a bad one", patch(offset=7) + patch()


def answer_to(path: Path, text: bytes) -> tuple[int, bytes]:
    """Status and body of the first answer; what stands behind it is read to the end."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(path))
        with suppress(OSError):  # it may be refused before all of it was sent
            raw.sendall(text)
        with raw.makefile("rb") as response:
            status = int(response.readline().split()[1])
            length = 0
            while (line := response.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return status, response.read(length)


@pytest.mark.parametrize(
    ("what", "text"), [pytest.param(*row, id=row[0][:40]) for row in (*raw_requests(), *raw_chunks())]
)
def test_malformed_requests(shared_agent: AgentProcess, what: str, text: bytes) -> None:
    """What is no request of ours gets a 4xx with an error of the closed list; the upload stays as it was."""
    digest = "sha256:" + UPLOAD.partition("-")[0]
    shared_agent.client.begin_upload(digest, 2048)
    status, body = answer_to(shared_agent.socket, text)
    assert 400 <= status < 500, body
    assert from_json(body).code in CLOSED
    assert 0 == shared_agent.client.begin_upload(digest, 2048)[1]
    assert "traceback" not in shared_agent.log.read_text()


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for all requests of this module."""
    with AgentProcess(tmp_path_factory.mktemp("agent") / "state") as process:
        yield process
