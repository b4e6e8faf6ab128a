"""The safetensors layout without NumPy."""

import random

import pytest

from device_agent.errors import InvalidRequest
from device_agent.tensors import DTYPES, Tensor, pack, unpack

TENSORS = {
    "a": Tensor("float32", (2, 3), bytes(range(24))),
    "b/c": Tensor("int8", (0, 4), b""),
    "s": Tensor("int64", (), bytes(8)),
}


def test_round_trip():
    """Tensors, their order included, survive; a scalar and an empty tensor too."""
    assert list(TENSORS.items()) == list(unpack(pack(TENSORS)).items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    """Every dtype has its right size."""
    tensor = Tensor(dtype, (3,), bytes(3 * DTYPES[dtype][2]))
    assert {"x": tensor} == unpack(pack({"x": tensor}))


def test_safetensors_reads_it():
    """The header is the published layout: length, JSON with dtype, shape and offsets, data."""
    blob = pack({"a": TENSORS["a"]})
    length = int.from_bytes(blob[:8], "little")
    assert b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}' == blob[8 : 8 + length].rstrip()
    assert (8 + length) % 8 == 0
    assert bytes(range(24)) == blob[8 + length :]


@pytest.mark.parametrize(
    ("dtype", "shape", "data"), [("float31", (1,), bytes(4)), ("int8", (-1,), b""), ("int8", (3,), bytes(2))]
)
def test_impossible_tensors(dtype, shape, data):
    """A dtype, shape or length that contradicts itself is refused."""
    with pytest.raises(InvalidRequest):
        Tensor(dtype, shape, data)


def test_mutated_blobs_are_refused_or_read():
    """Any damage gives tensors or an InvalidRequest, never another exception."""
    blob = pack(TENSORS)
    chance = random.Random(0)
    for _ in range(3000):
        bad = bytearray(blob[: chance.randrange(len(blob) + 1)])
        for _ in range(chance.randrange(4)):
            if bad:
                bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            unpack(bytes(bad))
        except InvalidRequest:
            continue
