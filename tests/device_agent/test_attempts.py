"""Attempts to get something activated on a device that takes signed bundles only. None succeeds.

Each is one function whose docstring says what it tries; the code of the refusal stands beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import EdgeError, UploadError
from tests.device_agent.harness import AgentProcess, make_bundle
from tests.device_agent.trusted import (
    NAME,
    Offered,
    World,
    armored,
    ask,
    canonical,
    decoded,
    keygen,
    manifest_of,
    public,
    send,
    sign,
)

Attempt = Callable[[World], object]
ATTEMPTS: list[tuple[str, str, Attempt]] = []  # what it tries, the code of the refusal, how


def refused(code: str) -> Callable[[Attempt], Attempt]:
    """List an attempt."""

    def listed(attempt: Attempt) -> Attempt:
        ATTEMPTS.append((attempt.__doc__ or attempt.__name__, code, attempt))
        return attempt

    return listed


def listed(what: str, code: str, attempt: Attempt) -> None:
    """List an attempt that is one expression."""
    ATTEMPTS.append((what, code, attempt))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A device that all attempts are made on: what one changed, the next would notice."""
    folder = tmp_path_factory.mktemp("world")
    with AgentProcess(folder / "state") as agent:
        yield World(folder, agent)


# without a signature, or with one that is none


@refused("unsigned")
def unsigned(w: World) -> None:
    """nothing signed"""
    send(w.client, w.next.manifest_digest, "", "")


@refused("unsigned")
def unsigned_active(w: World) -> None:
    """nothing signed, for what is active already"""
    send(w.client, w.active.manifest_digest, "", "")


def _with_signature(w: World, change: Callable[[str], str]) -> None:
    text = w.statement(w.next)
    send(w.client, w.next.manifest_digest, text, change(sign(text, w.signer)))


listed("a statement without its signature", "bad_signature", lambda w: _with_signature(w, lambda s: ""))
listed("text in the signature's place", "bad_signature", lambda w: _with_signature(w, lambda s: "trust me"))
listed("an empty signature in armor", "bad_signature", lambda w: _with_signature(w, lambda s: armored(b"")))
listed(
    "a signature that was cut off",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: armored(decoded(s)[:-20])),
)
listed(
    "a signature's last bit flipped",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: armored(decoded(s)[:-1] + bytes([decoded(s)[-1] ^ 1]))),
)
listed(
    "a signature of format version 2",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: armored(b"SSHSIG\0\0\0\2" + decoded(s)[10:])),
)
listed("text before the signature", "bad_signature", lambda w: _with_signature(w, lambda s: "x\n" + s))
listed("two signatures", "bad_signature", lambda w: _with_signature(w, lambda s: s + s))
listed(
    "a signature of 100 kB",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: armored(decoded(s) + bytes(100_000))),
)
listed(
    "a NUL in the signature",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: s.replace("\n", "\0", 1)),
)
listed("a signature that is not ASCII", "bad_signature", lambda w: _with_signature(w, lambda s: s + "é"))
listed(
    "more fields after the signature's",
    "bad_signature",
    lambda w: _with_signature(w, lambda s: armored(decoded(s) + b"\0\0\0\1x")),
)


@refused("bad_signature")
def signature_alone(w: World) -> None:
    """a signature without the statement"""
    send(w.client, w.next.manifest_digest, "", sign(w.statement(w.next), w.signer))


@refused("bad_signature")
def swapped(w: World) -> None:
    """the signature of another statement of the same signer"""
    send(w.client, w.next.manifest_digest, w.statement(w.next), w.used[3][2])


@refused("bad_signature")
def signed_manifest(w: World) -> None:
    """the manifest signed in the statement's place"""
    manifest = w.next.blob_path(w.next.manifest_digest).read_text()
    send(w.client, w.next.manifest_digest, w.statement(w.next), sign(manifest, w.signer))


# other keys


listed("a stranger's key", "untrusted_signer", lambda w: w.attempt(w.statement(w.next), key=w.stranger))
listed("a revoked key", "revoked_key", lambda w: w.attempt(w.statement(w.next), key=w.revoked))
for _kind in ("ecdsa", "rsa"):
    listed(
        f"a stranger's key of another type, {_kind}",
        "untrusted_signer",
        lambda w, kind=_kind: w.attempt(w.statement(w.next), key=keygen(w.folder / f"other-{kind}", kind)),
    )


@refused("bad_signature")
def impostor(w: World) -> None:
    """a stranger's signature that says it was made with the signer's key"""
    text = w.statement(w.next)
    own, foreign = decoded(sign(text, w.signer)), decoded(sign(text, w.stranger))
    send(
        w.client,
        w.next.manifest_digest,
        text,
        armored(own[: own.index(b"sha512")] + foreign[foreign.index(b"sha512") :]),
    )


@refused("untrusted_signer")
def certificate(w: World) -> None:
    """a stranger's key with a certificate that the signer's key has signed, as a CA would"""
    words = ["ssh-keygen", "-q", "-s", str(w.signer), "-I", "x", "-n", "signer", f"{w.stranger}.pub"]
    subprocess.run(words, check=True, capture_output=True)
    text = w.statement(w.next)
    raw = decoded(sign(text, w.stranger))
    blob = base64.b64decode(Path(f"{w.stranger}-cert.pub").read_text().split()[1])
    length = int.from_bytes(raw[10:14], "big")
    raw = raw[:10] + len(blob).to_bytes(4, "big") + blob + raw[14 + length :]
    send(w.client, w.next.manifest_digest, text, armored(raw))


for _namespace in ("file", "EDGE-BUNDLE@EDGE-DEPLOYMENT-SDK", "edge-bundle@edge-deployment-sdk2", "git"):
    listed(
        f"signed in the namespace {_namespace}",
        "bad_signature",
        lambda w, n=_namespace: send(
            w.client, w.next.manifest_digest, w.statement(w.next), sign(w.statement(w.next), w.signer, n)
        ),
    )


# what the signer signed, but not for this


def _field(what: str, code: str, **changes: Any) -> None:
    listed(what, code, lambda w: w.attempt(w.statement(w.next, **changes)))


_field("another model's statement", "wrong_model", model="other")
_field("a path as the model", "invalid_bundle", model="../digits")
_field("the model in capitals", "invalid_bundle", model="DIGITS")
_field("another device's statement", "wrong_device", selector={"devices": ["0" * 32], "targets": []})
_field("for every device", "wrong_device", selector={"devices": ["*"], "targets": ["*"]})
_field("for no device", "invalid_bundle", selector={"devices": [], "targets": []})
_field(
    "for a board that this device was not told it is",
    "wrong_device",
    selector={"devices": [], "targets": ["null"]},
)
listed(
    "the device's id in capitals",
    "wrong_device",
    lambda w: w.attempt(w.statement(w.next, selector={"devices": [w.device_id.upper()], "targets": []})),
)
listed(
    "the first half of the device's id",
    "wrong_device",
    lambda w: w.attempt(w.statement(w.next, selector={"devices": [w.device_id[:16]], "targets": []})),
)
listed(
    "the device's id as a string, not a list",
    "invalid_bundle",
    lambda w: w.attempt(w.statement(w.next, selector={"devices": w.device_id, "targets": []})),
)
listed(
    "the device's id as a board",
    "wrong_device",
    lambda w: w.attempt(w.statement(w.next, selector={"devices": [], "targets": [w.device_id]})),
)
_field("an agent of the future", "agent_too_old", agent_version="99.0")
_field("a runtime of the future", "runtime_too_old", runtimes={"null": "99.0"})
_field("a runtime that is not installed", "runtime_too_old", runtimes={"tensorrt": "1.0"})
_field("a version that is none", "invalid_bundle", agent_version="latest")
_field("a statement of another kind", "invalid_bundle", type="edge-bundle-statement.v2")
_field("an unknown field", "invalid_bundle", also="this")
_field("a field left out", "invalid_bundle", selector=None)
_field("no blobs", "bad_signature", blobs={})
listed(
    "a blob's size changed",
    "bad_signature",
    lambda w: w.attempt(w.statement(w.next, blobs={k: v + 1 for k, v in w.fields(w.next)["blobs"].items()})),
)
_field("a blob's digest that is a path", "invalid_bundle", blobs={"../../x": 1})
listed(
    "what was signed for the bundle before, with the manifest of this one",
    "bad_signature",
    lambda w: w.attempt(w.statement(w.before, generation=4)),
)


@refused("wrong_model")
def other_name(w: World) -> None:
    """the statement of one model for a name of its own"""
    text = w.statement(w.next)
    send(w.client, w.next.manifest_digest, text, sign(text, w.signer), name="digits2")


@refused("invalid_bundle")
def renamed(w: World) -> None:
    """a statement for another name than the bundle has"""
    text = w.statement(w.next, model="digits2")
    send(w.client, w.next.manifest_digest, text, sign(text, w.signer), name="digits2")


# generations


listed("what was active before, once more", "replayed_generation", lambda w: send(w.client, *w.used[2]))
listed(
    "the highest generation for another bundle",
    "replayed_generation",
    lambda w: w.attempt(w.statement(w.next, generation=3)),
)
listed(
    "what is active, signed with a lower generation",
    "replayed_generation",
    lambda w: w.attempt(w.statement(w.active, generation=1), bundle=w.active),
)
_field("generation 1", "replayed_generation", generation=1)
_field("generation 0", "invalid_bundle", generation=0)
_field("generation -1", "invalid_bundle", generation=-1)
_field("generation 2^53", "invalid_bundle", generation=1 << 53)
_field("generation 2^64 + 4", "invalid_bundle", generation=(1 << 64) + 4)
_field("generation 10^4000", "invalid_bundle", generation=10**4000)
_field("generation 4.0", "invalid_bundle", generation=4.0)
_field("generation '4'", "invalid_bundle", generation="4")
_field("generation true", "invalid_bundle", generation=True)
_field("generation [4]", "invalid_bundle", generation=[4])
_field("generation NaN", "invalid_bundle", generation=float("nan"))


# JSON that means something else to somebody else


def _text(what: str, change: Callable[[str], str]) -> None:
    listed(what, "invalid_bundle", lambda w: w.attempt(change(w.statement(w.next))))


_text(
    "a key twice, the last one good", lambda t: t.replace('"generation":4', '"generation":1,"generation":4')
)
_text(
    "a key twice, the first one good", lambda t: t.replace('"generation":4', '"generation":4,"generation":1')
)
_text("a key in Unicode escapes", lambda t: t.replace('"model"', '"\\u006dodel"'))
_text("a value in Unicode escapes", lambda t: t.replace('"digits"', '"\\u0064igits"'))
_text("a lone surrogate", lambda t: t.replace('"digits"', '"digits\\ud800"'))
_text("spaces", lambda t: t.replace(":", ": "))
_text("a line feed at the end", lambda t: t + "\n")
_text("the keys in another order", lambda t: canonical(json.loads(t))[:-1] + ',"agent_version":"0.0.1"}')
_text("generation 4e0", lambda t: t.replace('"generation":4', '"generation":4e0'))
_text("generation 04", lambda t: t.replace('"generation":4', '"generation":04'))
_text("two objects", lambda t: t + t)
_text("a list", lambda t: f"[{t}]")
_text("60,000 brackets", lambda t: "[" * 60_000)
_text("a statement of 100 kB", lambda t: t.replace('"digits"', '"' + "d" * 100_000 + '"'))


# bundles and blobs


def _foreign_manifest(w: World, change: Callable[[dict[str, Any]], object]) -> None:
    """A manifest that the signer signed, but no device should take."""
    manifest = manifest_of(w.next)
    change(manifest)
    digest = w.client.upload(canonical(manifest).encode())
    blobs = {blob["digest"]: blob["size"] for blob in (manifest["config"], *manifest["layers"])}
    text = w.statement(w.next, manifest=digest, blobs=blobs)
    send(w.client, digest, text, sign(text, w.signer))


def _title(what: str, title: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["layers"][3]["annotations"] = {"org.opencontainers.image.title": title}

    listed(what, "invalid_bundle", lambda w: _foreign_manifest(w, change))


_title("a layer called manifest.sig", "manifest.sig")
_title("a layer called statement.json", "statement.json")
_title("a layer that leads to the signers", "../../../../trust/allowed_signers")
_title("a layer with an absolute name", "/etc/passwd")
listed(
    "a layer that was never sent",
    "invalid_bundle",
    lambda w: _foreign_manifest(w, lambda m: m["layers"][3].update(digest="sha256:" + "0" * 64)),
)
listed(
    "a layer of another size",
    "invalid_bundle",
    lambda w: _foreign_manifest(w, lambda m: m["layers"][3].update(size=1)),
)


# bundles that are run without being activated


def _tried(what: str, code: str, offered: Callable[[World], Offered], *, name: str = NAME) -> None:
    for route in ("compare", "query"):
        listed(f"{route}: {what}", code, lambda w, r=route: ask(w, r, offered(w), name=name))


def _offered(w: World, *, key: Path | None = None, **changes: Any) -> Offered:
    text = w.statement(w.next, **changes)
    return w.next.manifest_digest, text, sign(text, key or w.signer)


_tried("nothing signed", "unsigned", lambda w: (w.next.manifest_digest, "", ""))
_tried("a stranger's key", "untrusted_signer", lambda w: _offered(w, key=w.stranger))
_tried("a revoked key", "revoked_key", lambda w: _offered(w, key=w.revoked))
_tried("the signature of another statement", "bad_signature", lambda w: (*_offered(w)[:2], w.used[3][2]))
_tried("another model's statement", "wrong_model", lambda w: _offered(w, model="other"))
_tried("for a name of its own", "wrong_model", _offered, name="digits2")
listed(
    "query: a statement for another name than the bundle has",
    "invalid_bundle",
    lambda w: ask(w, "query", _offered(w, model="digits2"), name="digits2"),
)
_tried(
    "another device's statement",
    "wrong_device",
    lambda w: _offered(w, selector={"devices": ["0" * 32], "targets": []}),
)
_tried("what was active before", "replayed_generation", lambda w: w.used[2])
_tried("the highest generation", "replayed_generation", lambda w: _offered(w, generation=3))
_tried("an agent of the future", "agent_too_old", lambda w: _offered(w, agent_version="99.0"))
_tried("no blobs signed", "bad_signature", lambda w: _offered(w, blobs={}))
_tried(
    "what was signed for the bundle before",
    "bad_signature",
    lambda w: (w.next.manifest_digest, *_offered(w, manifest=w.before.manifest_digest)[1:]),
)


def _swapped(w: World) -> Offered:
    manifest = manifest_of(w.next)
    manifest["layers"][0] = manifest_of(w.before)["layers"][0]
    digest = w.client.upload(canonical(manifest).encode())
    return digest, *_offered(w, manifest=digest)[1:]


_tried("blobs swapped for another bundle's", "bad_signature", _swapped)


@refused("upload")
def tampered_blob(w: World) -> None:
    """other bytes under the digest of a blob that is signed"""
    bundle = make_bundle(w.folder / "tampered", seed=9)
    data = bundle.blob_path(bundle.manifest.layers[0].digest).read_bytes()
    location, _ = w.client.begin_upload(bundle.manifest.layers[0].digest, len(data))
    w.client.send_chunk(location, 0, bytes(len(data)))


@refused("upload")
def link_in_uploads(w: World) -> None:
    """a link in an upload's place that leads to the signers (an error names the upload)"""
    line = f'x namespaces="edge-bundle@edge-deployment-sdk" {public(w.stranger)}'.encode()
    upload = f"{hashlib.sha256(line).hexdigest()}-{len(line)}"
    folder = w.state / "uploads" / upload
    folder.mkdir()
    (folder / "data").symlink_to(w.state / "trust/allowed_signers")
    try:
        w.client.send_chunk(f"/edge/v1/uploads/{upload}", 0, line)
    except EdgeError as e:
        if e.code == "device_error":
            raise UploadError("refused") from e
        raise
    finally:
        (folder / "data").unlink(missing_ok=True)


def _path(method: str, path: str, code: str) -> None:
    listed(f"{method} {path}", code, lambda w: w.client.ok(method, path))


_path("POST", "/edge/v1/signers", "invalid_request")
_path("PUT", "/edge/v1/trust/allowed_signers", "invalid_request")
_path("HEAD", "/edge/v1/uploads/..%2f..%2ftrust", "protocol")
_path("PATCH", "/edge/v1/uploads/..%2f..%2ftrust", "invalid_request")
_path("POST", "/edge/v1/models/..%2f..%2ftrust/deploy", "invalid_request")
_path("POST", "/edge/v1/models/%2e%2e/rollback", "invalid_request")
_path("DELETE", "/edge/v1/models/..", "invalid_request")


@pytest.mark.parametrize(("what", "code", "attempt"), ATTEMPTS, ids=[what for what, _, _ in ATTEMPTS])
def test_is_refused(world: World, what: str, code: str, attempt: Attempt) -> None:
    """The attempt is refused with its own error, and nothing has changed."""
    before = world.standing()
    with pytest.raises(EdgeError) as caught:
        attempt(world)
    assert (code, before) == (caught.value.code, world.standing())


def test_there_are_enough() -> None:
    """At least 60 different attempts are listed."""
    assert len({what for what, _, _ in ATTEMPTS}) >= 60


def test_what_is_meant_is_taken(world: World) -> None:
    """The same device takes what the signer signed for it: the refusals above had other reasons."""
    before = world.standing()
    again = send(world.client, *world.used[3])
    assert (True, before) == (again["unchanged"], world.standing())
    done = world.deploy(world.next, 4)
    assert (False, 4) == (
        done["unchanged"], world.client.json("GET", f"/edge/v1/models/{NAME}/signature")["highest_generation"]
    )  # fmt: skip
