"""Values that inputs are bound to: how they are read, and when they fit."""

import numpy as np
import pytest

from converters.binding import array_of, described, fitting, parse
from converters.shaping import Declared
from device_agent.errors import FileMissing, InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16000", np.array(16000)),
        ("-0.5", np.array(-0.5)),
        ("true", np.array(True)),
        ("[[1,2]]", np.array([[1, 2]])),
    ],
)
def test_parse(text, expected):
    """Numbers, booleans and JSON lists."""
    found = parse(text)
    assert expected.dtype == found.dtype
    np.testing.assert_array_equal(expected, found)


def test_parse_a_file(tmp_path):
    """An `.npy` file holds one array; pickles are refused, and so is anything else."""
    np.save(tmp_path / "good.npy", np.arange(3))
    np.testing.assert_array_equal(np.arange(3), array_of(tmp_path / "good.npy"))
    np.save(tmp_path / "bad.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY\x01")
    for name in ("bad", "short"):
        with pytest.raises(InvalidRequest):
            parse(str(tmp_path / f"{name}.npy"))
    with pytest.raises(FileMissing):
        parse(str(tmp_path / "absent.npy"))


@pytest.mark.parametrize("text", ["", "x", "[1,[2]]", '"text"', '{"a": 1}', "99999999999999999999", "null"])
def test_parse_refuses(text):
    """What is no array of numbers is refused with the ways to give one."""
    with pytest.raises(InvalidRequest, match="--bind"):
        parse(text)


@pytest.mark.parametrize(
    ("value", "dtype", "dimensions", "expected"),
    [
        (16000, "int64", (), np.array(16000)),
        (16000.0, "int32", (1,), np.array([16000], np.int32)),
        (1, "float32", ("n", None), np.ones((1, 1), np.float32)),
        ([0.1, 2], "float32", (2,), np.array([0.1, 2], np.float32)),
        (True, "bool", (), np.array(True)),
        ([[1], [2]], "uint8", ("n", 1), np.array([[1], [2]], np.uint8)),
    ],
)
def test_fitting(value, dtype, dimensions, expected):
    """A value comes out in the dtype and shape of its input."""
    found = fitting(array_of(value), Declared("x", dtype, dimensions), "net.onnx")
    assert expected.dtype == found.dtype
    np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize(
    ("value", "dtype", "dimensions", "words"),
    [
        (300, "uint8", (), ("does not fit uint8", "300", "from 0 to 255")),
        ([1, -1], "uint8", (2,), ("does not fit uint8", "-1")),
        (1.5, "int64", (), ("does not fit int64", "1.5")),
        (float("nan"), "int64", (), ("does not fit int64", "nan")),
        (1e39, "float32", (), ("does not fit float32",)),
        (True, "int64", (), ("wrong dtype", "bool", "int64")),
        (1, "bool", (), ("wrong dtype", "int64", "bool")),
        ([1, 2], "int64", (), ("another shape", "[2]", "[]")),
        ([1, 2], "int64", ("n", 3), ("another shape", "[2]", "[n, 3]")),
        (1, "int64", (2,), ("another shape", "[]", "[2]")),
    ],
)
def test_what_does_not_fit(value, dtype, dimensions, words):
    """Range, kind of number and shape: each is refused by name."""
    with pytest.raises(InvalidRequest) as caught:
        fitting(array_of(value), Declared("x", dtype, dimensions), "net.onnx")
    for word in ("input 'x'", *words):
        assert word in str(caught.value)


def test_described():
    """A short value is told as it is, a long one by its digest, the same on every machine."""
    assert "int64[] 16000" == described(np.array(16000))
    assert "float32[2] [0.5, 1.0]" == described(np.array([0.5, 1], np.float32))
    long = np.zeros((4, 8), np.int16)
    assert described(long).startswith("int16[4, 8] sha256:")
    assert described(long) == described(long.astype(">i2").astype(np.int16))
    assert described(long) != described(long + 1)
