"""Device against host."""

import struct
import sys

import pytest

from device_agent.parity import compare, figures, max_abs_diff
from device_agent.tensors import Tensor

WORST = sys.float_info.max


def f32(*values: float) -> Tensor:
    return Tensor("float32", (len(values),), struct.pack(f"<{len(values)}f", *values))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (f32(1, 2), f32(1, 2), 0.0),
        (f32(1, 2), f32(1, 2.5), 0.5),
        (f32(), f32(), 0.0),
        (f32(float("nan")), f32(1), WORST),
        (f32(float("nan"), 1), f32(float("nan"), 2), 1.0),
        (f32(float("inf")), f32(float("-inf")), WORST),
        (f32(float("inf"), 1), f32(float("inf"), 1.25), 0.25),
        (f32(1), f32(1, 2), WORST),
        (f32(1), Tensor("int32", (1,), bytes(4)), WORST),
        (Tensor("int8", (2,), b"\x80\x00"), Tensor("int8", (2,), b"\x7f\x00"), 255.0),
        (Tensor("bool", (1,), b"\x00"), Tensor("bool", (1,), b"\x01"), 1.0),
        (Tensor("float16", (1,), struct.pack("<e", 1.5)), Tensor("float16", (1,), bytes(2)), 1.5),
        (Tensor("uint64", (1,), b"\xff" * 8), Tensor("uint64", (1,), bytes(8)), float(2**64)),
    ],
)
def test_max_abs_diff(a: Tensor, b: Tensor, expected: float) -> None:
    """The largest difference; what cannot be subtracted is as far apart as can be."""
    assert expected == max_abs_diff(a, b) == max_abs_diff(b, a)


def test_the_worst_sample_counts_and_each_output_has_its_own_bound() -> None:
    """An output passes where its worst difference is within its tolerance; one without needs equality."""
    pairs = [
        ({"a": f32(1), "b": f32(1), "c": f32(1)}, {"a": f32(1.25), "b": f32(1), "c": f32(1.5)}),
        ({"a": f32(1), "b": f32(1), "c": f32(1)}, {"a": f32(1.5), "b": f32(1.125), "c": f32(1)}),
    ]
    parity = compare(pairs, {"a": 0.5, "c": 0.25})
    assert 2 == parity.samples
    assert [("a", 0.5, True), ("b", 0.125, False), ("c", 0.5, False)] == [
        (row.name, row.max_abs_diff, row.passed) for row in parity.tensors
    ]
    assert not parity.passed
    assert "b differs by 0.125 (tolerance 0); c differs by 0.5 (tolerance 0.25)" == figures(parity)


def test_missing_output_fails() -> None:
    """An output that the device did not give is as far off as can be."""
    parity = compare([({"a": f32(1)}, {})], {"a": 1.0})
    assert [WORST] == [row.max_abs_diff for row in parity.tensors]
    assert not parity.passed
