"""Pushing a bundle."""

from collections.abc import Callable
from typing import Any

import pytest

from device_agent.bundle import Bundle
from device_agent.errors import AgentUnreachable, FileMissing
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.local import LocalTransport
from edge_sdk.devices.upload import push

MakeBundle = Callable[..., Bundle]


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def digests(bundle: Bundle) -> list[str]:
    """Every blob of a bundle."""
    return [bundle.manifest_digest, *(blob.digest for blob in bundle.manifest.blobs())]


def test_every_blob_arrives_once(client: AgentClient, make_bundle: MakeBundle) -> None:
    """All blobs are on the device afterwards, and a second push sends nothing."""
    bundle = make_bundle()
    assert push(client, bundle, silent) > 0
    assert all(client.has_blob(digest) for digest in digests(bundle))
    assert 0 == push(client, bundle, silent)


def test_unchanged_blobs_are_not_sent(client: AgentClient, make_bundle: MakeBundle) -> None:
    """A bundle that shares blobs with one on the device sends only the others."""
    first, second = make_bundle("one"), make_bundle("two")
    sent = push(client, first, silent)
    shared = {blob.digest: blob.size for blob in first.manifest.blobs()}.items() & {
        blob.digest: blob.size for blob in second.manifest.blobs()
    }.items()
    assert shared
    whole = second.size_bytes + second.blob_path(second.manifest_digest).stat().st_size
    assert sent > 0
    assert whole - sum(size for _, size in shared) == push(client, second, silent)


def test_progress_ends_at_the_total(client: AgentClient, make_bundle: MakeBundle) -> None:
    """Progress counts bytes upward to the total, with small chunks in several steps."""
    seen: list[tuple[str, int, int]] = []
    push(client, make_bundle(), lambda *step: seen.append(step), chunk_bytes=100)
    done = [step[1] for step in seen]
    assert sorted(done) == done
    assert seen[-1][1] == seen[-1][2]
    assert {"upload"} == {step[0] for step in seen}
    assert len(seen) > 10


def test_broken_connections_are_resumed(
    transport: LocalTransport, make_bundle: MakeBundle, breaking: Callable[..., Any]
) -> None:
    """A connection that breaks in the middle of a chunk costs that chunk only."""
    way = breaking(transport, breaks=3, limit=2000)
    client = AgentClient(way)
    bundle = make_bundle()
    push(client, bundle, silent, chunk_bytes=100)
    client.close()
    assert 0 == way.breaks
    whole = AgentClient(transport)
    assert all(whole.has_blob(digest) for digest in digests(bundle))
    whole.close()


def test_a_connection_that_never_holds_is_given_up(
    transport: LocalTransport,
    make_bundle: MakeBundle,
    breaking: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After several attempts without a byte arriving, the push fails with the connection's error."""
    monkeypatch.setattr("edge_sdk.devices.upload.FIRST_PAUSE_S", 0.001)
    client = AgentClient(breaking(transport, breaks=1000, limit=1000))
    with pytest.raises(AgentUnreachable):
        push(client, make_bundle(), silent)
    client.close()


def test_missing_blob_on_the_host(client: AgentClient, make_bundle: MakeBundle) -> None:
    """A bundle whose file is gone from the host's disk is named before anything is sent."""
    bundle = make_bundle()
    gone = bundle.blob_path(bundle.manifest.layers[0].digest)
    gone.unlink()
    with pytest.raises(FileMissing, match=gone.name):
        push(client, bundle, silent)
