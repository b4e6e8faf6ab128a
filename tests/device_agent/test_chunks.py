"""Chunks sent one behind the other, without waiting for answers."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent.protocol import RECEIPT
from edge_sdk.devices.connection import PipelinedResponse
from tests.device_agent.harness import AgentProcess

DATA = bytes(range(256)) * 1200
SIZE = 1 << 16
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def request(
    path: str, offset: int, chunk: bytes, announced: bytes | None = None, *, receipt: bool = False
) -> bytes:
    checksum = base64.b64encode(hashlib.sha256(announced or chunk).digest()).decode()
    asked = "Upload-Receipt: ?1\r\n" if receipt else ""
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: agent\r\nUpload-Offset: {offset}\r\n"
        f"Upload-Checksum: sha256 {checksum}\r\n{asked}Content-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {len(chunk)}\r\n\r\n"
    )
    return head.encode() + chunk


def chunks() -> list[tuple[int, bytes]]:
    return [(offset, DATA[offset : offset + SIZE]) for offset in range(0, len(DATA), SIZE)]


@contextmanager
def answers(path: Path, text: bytes, *, piece: int = 1 << 20) -> Iterator[Iterator[http.client.HTTPResponse]]:
    """What an agent answers to bytes that are sent in pieces of this size."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(path))
        for begin in range(0, len(text), piece):
            raw.sendall(text[begin : begin + piece])
        with raw.makefile("rb") as file:

            def read() -> Iterator[http.client.HTTPResponse]:
                while file.peek(1):
                    response = PipelinedResponse(file)
                    response.begin()
                    yield response

            yield read()


@pytest.mark.parametrize("piece", [1 << 20, 70_001, 331])
def test_pipelined_chunks_and_what_follows(agent: AgentProcess, piece: int) -> None:
    """Chunks are answered in order, however the bytes arrive; then the connection serves other requests."""
    location, _ = agent.client.begin_upload(DIGEST, len(DATA))
    text = b"".join(request(location, *chunk) for chunk in chunks())
    with answers(agent.socket, text + b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n", piece=piece) as found:
        for offset, chunk in chunks():
            answer = next(found)
            answer.read()
            assert (204, str(offset + len(chunk))) == (answer.status, answer.getheader("Upload-Offset"))
        last = next(found)
        assert (200, True) == (last.status, b"edge-agent" in last.read())
    assert 200 == agent.client.request("HEAD", f"/edge/v1/blobs/{DIGEST}")[0]
    metrics = agent.client.request("GET", "/metrics")[2].decode()
    assert f"edge_agent_upload_bytes_total {len(DATA)}\n" in metrics


def test_receipts_come_before_acknowledgements(agent: AgentProcess) -> None:
    """Each chunk of a client that asks for it is told when it is received, and then when it is kept."""
    location, _ = agent.client.begin_upload(DIGEST, len(DATA))
    ends = [offset + len(chunk) for offset, chunk in chunks()]
    text = b"".join(request(location, *chunk, receipt=True) for chunk in chunks())
    found: list[tuple[int, int]] = []
    with answers(agent.socket, text) as read:
        while len(found) < 2 * len(ends):
            answer = next(read)
            answer.read()
            found.append((answer.status, int(answer.getheader("Upload-Offset", "-1"))))
    for status in (RECEIPT, 204):
        assert ends == [end for got, end in found if got == status]
    assert all(found.index((RECEIPT, end)) < found.index((204, end)) for end in ends)


def test_chunks_are_counted_and_numbered(agent: AgentProcess) -> None:
    """The metrics count them as other requests, and each answer has a number of its own."""
    location, _ = agent.client.begin_upload(DIGEST, len(DATA))
    parts = [request(location, *chunk) for chunk in chunks()[:3]]
    parts[2] = request(location, *chunks()[2], announced=b"another")
    before = agent.client.request("GET", "/metrics")[2].decode()
    with answers(agent.socket, b"".join(parts)) as found:
        numbers = [next(found).getheader("X-Request-Id", "") for _ in range(2)]
        refusal = next(found)
        numbers.append(refusal.getheader("X-Request-Id", ""))
        assert numbers[2] == json.loads(refusal.read())["request_id"]
    assert 3 == len(set(numbers))
    assert {12} == set(map(len, numbers))
    after = agent.client.request("GET", "/metrics")[2].decode()
    for sample, more in (
        ('edge_agent_requests_total{route="upload",status="204"}', 2),
        ('edge_agent_requests_total{route="upload",status="409"}', 1),
        ('edge_agent_request_duration_seconds_count{route="upload"}', 3),
    ):
        assert more == value(after, sample) - value(before, sample)


def value(metrics: str, sample: str) -> int:
    """What a sample says; 0 where it is not there yet."""
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    return int(lines.get(sample, 0))


def test_chunks_of_two_uploads_on_one_connection(agent: AgentProcess) -> None:
    """They are acknowledged in the order in which they came, and both blobs are there."""
    other = DATA[::-1]
    texts, ends = [], []
    for data in (DATA, other):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location, _ = agent.client.begin_upload(digest, len(data))
        texts.append([request(location, offset, data[offset : offset + SIZE]) for offset, _ in chunks()])
        ends.append([str(offset + len(chunk)) for offset, chunk in chunks()])
    text = b"".join(part for pair in zip(*texts, strict=True) for part in pair)
    wanted = [end for pair in zip(*ends, strict=True) for end in pair]
    with answers(agent.socket, text) as found:
        assert wanted == [next(found).getheader("Upload-Offset") for _ in wanted]
    for data in (DATA, other):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert 200 == agent.client.request("HEAD", f"/edge/v1/blobs/{digest}")[0]


def test_a_refusal_is_the_last_answer(agent: AgentProcess) -> None:
    """Chunks before a damaged one are kept and acknowledged, it is refused, those behind it are ignored."""
    location, _ = agent.client.begin_upload(DIGEST, len(DATA))
    parts = [request(location, *chunk) for chunk in chunks()]
    offset, chunk = chunks()[2]
    parts[2] = request(location, offset, chunk, announced=b"another")
    with answers(agent.socket, b"".join(parts)) as found:
        assert [204, 204, 409] == [next(found).status for _ in range(3)][:3]
    assert 2 * SIZE == agent.client.begin_upload(DIGEST, len(DATA))[1]


def test_what_arrived_before_a_cut_is_kept(agent: AgentProcess) -> None:
    """A sender that goes away with half a chunk under way finds all whole ones there."""
    location, _ = agent.client.begin_upload(DIGEST, len(DATA))
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(agent.socket))
        text = b"".join(request(location, *chunk) for chunk in chunks()[:2])
        raw.sendall(text + request(location, *chunks()[2])[:-1])
        with raw.makefile("rb") as file:
            for _ in range(2):
                PipelinedResponse(file).begin()
    assert 2 * SIZE == agent.client.begin_upload(DIGEST, len(DATA))[1]
    assert DIGEST == agent.client.upload(DATA)
