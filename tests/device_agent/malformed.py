"""Malformed bundles, made systematically out of one that is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from device_agent.bundle import TITLE, Bundle
from tests.device_agent.harness import make_bundle

DIGEST = "sha256:" + "0" * 64
HUGE = b"1" + b"0" * 5000  # digits
NAMES = ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "-x", "UPPER é", "x" * 300, "a\nb")
DIGESTS = (
    "", "sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha512:" + "0" * 128,
    "md5:" + "0" * 32, "sha256:../../../etc/passwd", "sha256:" + "0" * 63 + "\n", DIGEST,
)  # fmt: skip


@frozen
class Case:
    """Blobs to upload, and the digest of the manifest among them that is to be deployed."""

    what: str
    blobs: tuple[bytes, ...]
    manifest_digest: str


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways to spoil JSON text so that it is no JSON, or not one meaning's."""
    for cut in range(8):
        yield f"cut after {cut}/8", data[: len(data) * cut // 8]
    structural = [index for index, byte in enumerate(data) if byte in b'{}[]":,']
    for place in structural[:: max(1, len(structural) // 12)]:
        yield f"without byte {place}", data[:place] + data[place + 1 :]
        yield f"bit flipped in byte {place}", data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
    inner = data[1:-1]
    yield "twice", data + data
    yield "UTF-16", data.decode().encode("utf-16")
    yield "with a byte order mark", b"\xef\xbb\xbf" + data
    yield "every key twice", b"{" + inner + b"," + inner + b"}"
    yield "nested deeply", b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    yield "a list nested deeply", b"[" * 100_000
    yield "with a NaN", b"{" + inner + b',"x":NaN}'
    yield "with an infinity", b"{" + inner + b',"x":-Infinity}'
    yield "with a number of many digits", b"{" + inner + b',"x":' + HUGE + b"}"
    yield "null", b"null"
    yield "a list around", b"[" + data + b"]"


def fields(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """An object without each of its fields, and with each of another type."""
    for key, right in value.items():
        yield f"no {key}", {name: part for name, part in value.items() if name != key}
        for wrong in (None, 7, "x", [], {}, 1.5, True, [[]], {"x": {}}):
            alike = type(wrong) is type(right) or (isinstance(right, dict) and wrong == {"x": {}})
            if not alike and not (isinstance(right, list) and isinstance(wrong, list)):
                yield f"{key} is {wrong!r}", {**value, key: wrong}


class Maker:
    """Makes cases out of a bundle."""

    def __init__(self, folder: Path) -> None:
        self.bundle: Bundle = make_bundle(folder, name="victim")
        self.blobs = {
            blob.digest: self.bundle.blob_path(blob.digest).read_bytes()
            for blob in self.bundle.manifest.blobs()
        }
        self.text = self.bundle.blob_path(self.bundle.manifest_digest).read_bytes()
        self.manifest: dict[str, Any] = json.loads(self.text)
        self.config: dict[str, Any] = json.loads(self.blobs[self.manifest["config"]["digest"]])

    def with_manifest(self, what: str, text: bytes) -> Case:
        return Case(f"manifest {what}", (*self.blobs.values(), text), sha256(text))

    def changed(self, what: str, change: Callable[[dict[str, Any]], object]) -> Case:
        manifest = json.loads(self.text)
        change(manifest)
        return self.with_manifest(what, json.dumps(manifest).encode())

    def with_blob(self, what: str, index: int, data: bytes) -> Case:
        """A bundle whose manifest is right and names this as its config (0) or a layer."""
        manifest = json.loads(self.text)
        entry = manifest["config"] if index == 0 else manifest["layers"][index - 1]
        entry |= {"digest": sha256(data), "size": len(data)}
        case = self.with_manifest("", json.dumps(manifest).encode())
        return Case(what, (data, *case.blobs), case.manifest_digest)

    def cases(self) -> Iterator[Case]:
        """All of them."""
        yield from self.manifests()
        yield from self.configs()
        yield from self.tensors()
        for what, data in texts(self.blobs[self.manifest["layers"][0]["digest"]]):
            yield self.with_blob(f"model {what}", 1, data)

    def manifests(self) -> Iterator[Case]:
        for what, text in texts(self.text):
            yield self.with_manifest(what, text)
        for what, value in fields(self.manifest):
            if not what.startswith("mediaType is") and what != "layers is []":
                yield self.with_manifest(what, json.dumps(value).encode())
        for what, entry in fields(self.manifest["layers"][0]):
            if not what.startswith("mediaType is") or "'x'" not in what:
                yield self.changed(f"layer {what}", lambda m, e=entry: m["layers"].__setitem__(0, e))
        yield self.changed("no layers", lambda m: m.update(layers=[]))
        yield self.changed("schema version 1", lambda m: m.update(schemaVersion=1))
        yield self.changed("another artifact type", lambda m: m.update(artifactType="application/json"))
        yield self.changed("two models", lambda m: m["layers"].append(
            {**m["layers"][0], "annotations": {TITLE: "second.json"}}))  # fmt: skip
        yield self.changed("config is a model", lambda m: m.update(config=m["layers"][0]))
        size = self.manifest["layers"][0]["size"]
        for wrong in (-1, 0, size - 1, size + 1, 2**31, 2**63, 2**64, 10**30):
            yield self.changed(f"size {wrong}", lambda m, w=wrong: m["layers"][0].update(size=w))
        for digest in DIGESTS:
            yield self.changed(f"layer {digest!r}", lambda m, d=digest: m["layers"][0].update(digest=d))
            yield self.changed(f"config {digest!r}", lambda m, d=digest: m["config"].update(digest=d))
        for title in (*NAMES, "manifest.json", "config.json", "manifest.sig", "golden_inputs.safetensors"):
            yield self.changed(
                f"title {title!r}", lambda m, t=title: m["layers"][0].update(annotations={TITLE: t})
            )
        yield self.with_manifest("too large", self.text + b" " * (1 << 20))

    def configs(self) -> Iterator[Case]:
        text = self.blobs[self.manifest["config"]["digest"]]
        for what, data in texts(text):
            yield self.with_blob(f"config {what}", 0, data)
        for what, value in fields(self.config):
            if what.startswith(("target is", "precision is", "source_sha256 is")) and "'x'" in what:
                continue  # any text will do there
            yield self.with_blob(f"config {what}", 0, json.dumps(value).encode())
        for what, value in fields(self.config["inputs"][0]):
            if what not in {"no layout", "no quantization", "layout is 'x'", "layout is None",
                            "quantization is None"}:  # fmt: skip
                data = json.dumps({**self.config, "inputs": [value]}).encode()
                yield self.with_blob(f"input {what}", 0, data)
        for key, wrong in [
            *(("name", name) for name in NAMES),
            ("name", "another"), ("architecture", "pdp11"), ("runtime", "none-such"), ("runtime", "../x"),
            ("runtime_version", "999"), ("model", "nothing"), ("model", "../model.json"),
            ("golden_samples", 3), ("golden_samples", -1), ("golden_samples", 10**9),
            ("tolerance", {"nobody": 1.0}), ("inputs", []), ("outputs", []),
        ]:  # fmt: skip
            data = json.dumps({**self.config, key: wrong}).encode()
            yield self.with_blob(f"config {key} {wrong!r}", 0, data)

    def tensors(self) -> Iterator[Case]:
        for index in (2, 3):
            blob = self.blobs[self.manifest["layers"][index - 1]["digest"]]
            length = int.from_bytes(blob[:8], "little")
            head, data = json.loads(blob[8 : 8 + length]), blob[8 + length :]
            name = next(iter(head))

            def packed(text: bytes, body: bytes = data) -> bytes:
                return len(text).to_bytes(8, "little") + text + body

            for cut in range(8):
                yield self.with_blob(f"golden cut after {cut}/8", index, blob[: len(blob) * cut // 8])
            for wrong in (0, length - 1, len(blob), 2**40, 2**64 - 1):
                spoilt = wrong.to_bytes(8, "little") + blob[8:]
                yield self.with_blob(f"golden header of {wrong}", index, spoilt)
            for what, text in texts(json.dumps(head).encode()):
                yield self.with_blob(f"golden header {what}", index, packed(text))
            for key, bad in [
                ("dtype", "F99"), ("dtype", 7), ("shape", [-1]), ("shape", [10**30]), ("shape", "x"),
                ("shape", [0.5, "a"]), ("shape", None), ("data_offsets", [0, 10**9]),
                ("data_offsets", [5, 1]), ("data_offsets", [-5, 1]), ("data_offsets", []),
                ("data_offsets", [0.5, 2]),
            ]:  # fmt: skip
                text = json.dumps({**head, name: {**head[name], key: bad}}).encode()
                yield self.with_blob(f"golden {key} {bad!r}", index, packed(text))
            raw = json.dumps({**head, name: {**head[name], "shape": "S"}}).encode()
            yield self.with_blob("golden shape 1e400", index, packed(raw.replace(b'"S"', b"[1e400]")))
