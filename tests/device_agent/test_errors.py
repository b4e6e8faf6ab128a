"""The error tree: its wire names, exit codes and words."""

import re
from pathlib import Path

import pytest

from device_agent import errors
from device_agent.errors import EdgeError, ProtocolError, UnknownTarget, from_json, tree


def test_codes_are_distinct():
    """No two errors share a wire name or an exit code, and none takes one that shells use."""
    kinds = tree()
    assert len(kinds) == len({kind.code for kind in kinds}) == len({kind.exit_code for kind in kinds})
    assert all(1 <= kind.exit_code < 64 for kind in kinds)


def test_the_docstring_draws_the_tree():
    """Every class stands in the module's docstring with its code and exit code."""
    rows = [line.split() for line in (errors.__doc__ or "").splitlines()]
    drawn = {
        (words[0], words[1], words[2])
        for words in ([w for w in row if w.strip("├└│─")] for row in rows)
        if len(words) >= 3 and words[2].isdigit()
    }
    assert {(kind.__name__, kind.code, str(kind.exit_code)) for kind in tree()} == drawn


@pytest.mark.parametrize("kind", tree())
def test_every_error_crosses_the_wire(kind):
    """An error arrives as the class it left as, with its parts."""
    sent = kind("it broke", where="here", got="1", expected="2", next_step="Try again.")
    received = from_json(sent.to_json())
    assert (kind, str(sent)) == (type(received), str(received))


def test_words():
    """The message is one paragraph: where, what, got and expected, next step."""
    error = EdgeError("wrong size", where="x", got="1", expected="2", next_step="Do this.")
    assert "x: wrong size: got 1, expected 2. Do this." == str(error)
    assert "wrong size." == str(EdgeError("wrong size"))
    assert "unknown target: got 'a'." == str(UnknownTarget("unknown target", got="'a'"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", '{"code": "no such"}', {"code": []}])
def test_an_answer_that_is_no_error_of_ours(body):
    """Anything else a peer answers with is a ProtocolError that shows it."""
    assert isinstance(_raised(body), ProtocolError)


def _raised(body):
    with pytest.raises(ProtocolError) as caught:
        raise from_json(body)
    return caught.value


def test_the_documentation_lists_every_error():
    """docs/errors.md has a row for each code with its exit code, and none that is gone."""
    page = (Path(__file__).parents[2] / "docs/errors.md").read_text()
    rows = {(code, int(number)) for number, code in re.findall(r"^\| (\d+) \| `(\w+)` ", page, re.M)}
    assert {*((kind.code, kind.exit_code) for kind in tree()), ("unexpected", 70)} == rows
