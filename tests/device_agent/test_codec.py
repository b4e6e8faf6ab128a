"""attrs classes to JSON and back."""

import pytest
from attrs import frozen

from device_agent import codec
from device_agent.errors import InvalidRequest


@frozen
class Inner:
    size: int
    ratio: float = 0.0


@frozen
class Outer:
    name: str
    parts: tuple[Inner, ...]


def test_round_trip():
    """What is written is read back equal, an int where a float is expected included."""
    value = Outer("a", (Inner(1), Inner(2, 3.5)))
    assert value == codec.from_json(codec.dumps(value), Outer, where="here")
    assert Inner(1, 2.0) == codec.from_json('{"size":1,"ratio":2}', Inner, where="here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a", "parts": [{"size": "1"}]}', 'got "1", expected int @ Outer.parts[0].size'),
        ('{"name": "a", "parts": [{"size": true}]}', "got true, expected int @ Outer.parts[0].size"),
        ('{"name": "a", "parts": [{"size": 1.0}]}', "got 1.0, expected int @ Outer.parts[0].size"),
        ('{"name": null, "parts": []}', "got null, expected str @ Outer.name"),
        ('{"parts": []}', "required field missing @ Outer.name"),
        ('{"name": "a", "parts": 3}', "Outer.parts"),
        ("[]", "Outer"),
        ("{", "not valid JSON"),
        ('"text"', "Outer"),
    ],
)
def test_wrong_input_names_the_field(text, message):
    """A missing field or a wrong type is an InvalidRequest with the path to it."""
    with pytest.raises(InvalidRequest) as caught:
        codec.from_json(text, Outer, where="the file")
    assert message in str(caught.value)
    assert "the file" in str(caught.value)


def test_unknown_keys():
    """Unknown keys pass where a later peer may send them, and are refused where a person wrote them."""
    text = '{"size": 1, "colour": "red"}'
    assert Inner(1) == codec.from_json(text, Inner, where="here")
    with pytest.raises(InvalidRequest, match="colour"):
        codec.from_json(text, Inner, where="here", exact=True)


def test_non_finite_floats_are_refused():
    """JSON has no infinity; writing one is an error rather than a file nobody can read."""
    with pytest.raises(ValueError, match="JSON compliant"):
        codec.dumps(Inner(1, float("inf")))
