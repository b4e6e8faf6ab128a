"""The parsers of what comes from outside, against a bounded stream of damaged bytes.

`EDGE_FUZZ=100000` tries so many inputs for each parser; 1,500 by default.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agent import codec, contest, oip
from device_agent.bundle import parse_config, parse_manifest
from device_agent.errors import EdgeError, InvalidBundle, InvalidRequest, ProtocolError
from device_agent.errors import from_json as error_from_json
from device_agent.frames import Frame, read_blocking
from device_agent.protocol import CompareRequest
from device_agent.slots import Slots
from device_agent.tensors import Tensor, pack, unpack
from tests.device_agent.harness import comparison, make_bundle

COUNT = int(os.environ.get("EDGE_FUZZ", "1500"))
TENSORS = {"a": Tensor("int8", (2, 3), bytes(6)), "b": Tensor("float32", (1,), bytes(4))}
INFER = {
    "id": "x",
    "inputs": [
        {"name": "a", "shape": [1, 2], "datatype": "INT8", "parameters": {"binary_data_size": 2}},
        {"name": "b", "shape": [2], "datatype": "FP32", "data": [1.5, 2]},
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
}
TOKENS = (
    b"null",
    b"-1",
    b"1e400",
    b"NaN",
    b"[]",
    b"{}",
    b'""',
    b"9" * 30,
    b"\xff",
    b"\0",
    b'"\\ud800"',
    b"[" * 9,
)


def damaged(data: bytes, seed: int) -> Iterator[bytes]:
    """Copies of bytes with a few flips, cuts, copies and tokens in them."""
    dice = random.Random(seed)
    for _ in range(COUNT):
        found = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            place, kind = dice.randrange(len(found) + 1), dice.randrange(5)
            length = dice.randrange(12)
            if kind == 0 and found:
                found[place % len(found)] ^= 1 << dice.randrange(8)
            elif kind == 1:
                del found[place : place + length]
            elif kind == 2:
                found[place:place] = found[place : place + length]
            elif kind == 3:
                found[place : place + length] = dice.choice(TOKENS)
            else:
                found[place:place] = dice.randbytes(length)
        yield bytes(found)


def frames(data: bytes) -> None:
    """Every frame of a stream."""
    stream = io.BytesIO(data)
    while read_blocking(stream) is not None:
        pass


def _comparison(data: bytes) -> None:
    contest.check(codec.from_json(data, CompareRequest, where="body"))


HEAD = json.dumps(INFER).encode()
COMPARISON = json.dumps(
    comparison() | {"candidates": [{"manifest_digest": "sha256:" + c * 64} for c in "ab"]}
)
PARSERS: dict[str, tuple[Callable[[bytes], object], bytes, type[EdgeError]]] = {
    "tensors": (unpack, pack(TENSORS), InvalidRequest),
    "frames": (frames, Frame({"kind": "x"}, b"abc").encode() * 2, ProtocolError),
    "errors": (error_from_json, json.dumps(EdgeError("x").to_json()).encode(), ProtocolError),
    "oip": (lambda data: oip.decode_request(data, None), HEAD, InvalidRequest),
    "a comparison": (_comparison, COMPARISON.encode(), InvalidRequest),
    "oip binary": (lambda data: oip.decode_request(data, len(HEAD)), HEAD + b"ab", InvalidRequest),
}


@pytest.mark.parametrize(("parse", "data", "refusal"), PARSERS.values(), ids=PARSERS.keys())
def test_parsers(parse: Callable[[bytes], object], data: bytes, refusal: type[EdgeError]) -> None:
    """A parser takes what it gets or refuses it by its one error; nothing else leaves it."""
    for index, text in enumerate(damaged(data, 7)):
        try:
            parse(text)
        except refusal:
            pass
        except Exception as e:
            raise AssertionError(f"input {index}: {text!r}") from e


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_bundle_parsers(tmp_path: Path, part: str) -> None:
    """A damaged manifest or config is read or is an InvalidBundle."""
    bundle = make_bundle(tmp_path)
    parse, digest = (
        (parse_manifest, bundle.manifest_digest)
        if part == "manifest"
        else (parse_config, bundle.manifest.config.digest)
    )
    for text in damaged(bundle.blob_path(digest).read_bytes(), 11):
        try:
            parse(text)
        except InvalidBundle:
            pass
        except Exception as e:
            raise AssertionError(repr(text)) from e


def test_damaged_slots_are_not_believed(tmp_path: Path) -> None:
    """Whatever stands in the newest slot, its payload or the one before it is read."""
    slots = Slots(tmp_path)
    slots.write(b"first")
    slots.write(b"second")
    newest = tmp_path / "state.1"
    good = newest.read_bytes()
    for head in list(damaged(good[:80], 13))[: min(COUNT, 300)]:
        newest.write_bytes(head + good[80:])
        if newest.stat().st_size >= len(good):
            assert Slots(tmp_path).payload in {b"first", b"second"}
    newest.write_bytes(good)
    assert b"second" == Slots(tmp_path).payload
