"""Chunks sent one behind the other, without waiting for answers."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_sdk.devices.connection import PipelinedResponse
from tests.device_agent.harness import AgentProcess

DATA = bytes(range(256)) * 1200
SIZE = 1 << 16
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def request(path: str, offset: int, chunk: bytes, announced: bytes | None = None) -> bytes:
    checksum = base64.b64encode(hashlib.sha256(announced or chunk).digest()).decode()
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: agent\r\nUpload-Offset: {offset}\r\n"
        f"Upload-Checksum: sha256 {checksum}\r\nContent-Type: application/offset+octet-stream\r\n"
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
