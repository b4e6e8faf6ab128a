"""A journal keeps what was measured through crashes, and never mixes two searches."""

import json
from pathlib import Path

import pytest

from converters.quantize.search import journal as journals
from device_agent.errors import InvalidRequest, OutputError

KEY = {"model": "abc", "metric": "top1"}


def test_what_was_added_is_found(tmp_path: Path):
    """Records are found by kind and scheme in the run that added them and in later ones; the last counts."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY) as journal:
        assert None is journal.find("candidate", "a")
        journal.add("candidate", "a", {"value": 1.5})
        journal.add("layer", "a", {"is": None})
        journal.add("candidate", "a", {"value": 2.5})
        assert {"value": 2.5} == journal.find("candidate", "a")
    with journals.opened(path, KEY) as journal:
        assert {"value": 2.5} == journal.find("candidate", "a")
        assert {"is": None} == journal.find("layer", "a")
        assert None is journal.find("layer", "b")
        assert 2 == journal.replayed


def test_a_line_is_on_disk_at_once(tmp_path: Path):
    """What was added is in the file before the search goes on."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY) as journal:
        journal.add("candidate", "a", {"value": 1.5})
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [KEY, {"value": 1.5}] == [rows[0]["key"], rows[1]["record"]]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line(tmp_path: Path, cut: int):
    """A last line that was not written whole is dropped, and the file goes on after the lines before it."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY) as journal:
        journal.add("candidate", "a", {"value": 1})
        journal.add("candidate", "b", {"value": 2, "more": "x" * 50})
    path.write_bytes(path.read_bytes()[:-cut])
    with journals.opened(path, KEY) as journal:
        assert {"value": 1} == journal.find("candidate", "a")
        assert None is journal.find("candidate", "b")
        journal.add("candidate", "b", {"value": 3})
    with journals.opened(path, KEY) as journal:
        assert [1, 3] == [journal.find("candidate", name)["value"] for name in "ab"]


def test_a_torn_header(tmp_path: Path):
    """A journal whose first line was cut off holds nothing yet, and begins anew."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY):
        whole = path.read_bytes()
    for cut in (0, 5, len(whole) - 1):
        path.write_bytes(whole[:cut] if cut > 10 or cut == 0 else b'{"journal":1,"ke')
        with journals.opened(path, KEY) as journal:
            journal.add("candidate", "a", {"value": 1})
        with journals.opened(path, KEY) as journal:
            assert {"value": 1} == journal.find("candidate", "a")


def test_another_search(tmp_path: Path):
    """A journal of another key is refused, says what differs, and is left as it is."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY) as journal:
        journal.add("candidate", "a", {"value": 1})
    before = path.read_bytes()
    with (
        pytest.raises(InvalidRequest, match="of another search: another metric: got metric top1"),
        journals.opened(path, {**KEY, "metric": "mae"}),
    ):
        pass
    assert before == path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"some notes of mine",
        b"a,b\n1,2\n",
        b'{"journal": 2, "key": {}}\n',
        b"[]\n",
        b'{"journal":1,"key":{"model":"abc","metric":"top1"}}\nbroken\n',
        b'{"journal":1,"key":{"model":"abc","metric":"top1"}}\n{"kind":1,"scheme":"a","record":1}\n',
        b"\xff\xfe\n",
    ],
)
def test_no_journal(tmp_path: Path, content: bytes):
    """A file that is something else, or damaged before its last line, is refused and left as it is."""
    path = tmp_path / "journal"
    path.write_bytes(content)
    with (
        pytest.raises(InvalidRequest, match="no journal of a search, or is damaged"),
        journals.opened(path, KEY),
    ):
        pass
    assert content == path.read_bytes()


def test_nowhere_to_write(tmp_path: Path):
    """A folder that is not there, and one in the file's place, are output errors."""
    for path in (tmp_path / "missing/journal", tmp_path):
        with pytest.raises(OutputError, match="the journal cannot be opened"), journals.opened(path, KEY):
            pass


def test_two_searches_at_once(tmp_path: Path):
    """The second is refused while the first writes, and changes nothing of the file."""
    path = tmp_path / "journal"
    with journals.opened(path, KEY) as journal:
        journal.add("candidate", "a", 1)
        held = path.read_bytes()
        with (
            pytest.raises(InvalidRequest, match="another search is writing this journal"),
            journals.opened(path, KEY),
        ):
            pass
        assert held == path.read_bytes()
    with journals.opened(path, KEY) as journal:
        assert 1 == journal.find("candidate", "a")
