"""Files by their first bytes."""

import pytest

from converters.readers.magic import recognize


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"PK\x03\x04rest", "zip"), (b"\x1c\0\0\0TFL3", "TFLite"), (b"\x89HDF\r\n\x1a\n", "HDF5")],
)
def test_known(head, name):
    """The format's name, and what to do with such a file."""
    found = recognize(head)
    assert name in found.name
    assert found.advice.endswith(".")


@pytest.mark.parametrize("head", [b"", b"\x08\x08\x12\x07pytorch", b"TFL3"])
def test_unknown(head):
    """ONNX has no signature of its own, and nothing else is guessed."""
    assert recognize(head) is None
