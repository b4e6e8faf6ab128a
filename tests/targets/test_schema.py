"""Board files: every shipped one loads, and a wrong one names its key."""

from pathlib import Path

import pytest

from device_agent.errors import EdgeError, FileMissing, InvalidTarget, UnknownTarget
from targets.schema import board_names, load_target

GOOD = """
title = "A board"
architecture = "aarch64"
ram_bytes = 1024
source = "its data sheet"
[runtimes]
litert = "2.3.0"
[[processors]]
name = "cpu"
kind = "2 cores"
backends = ["litert"]
dtypes = ["int8"]
"""


def board(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", board_names())
def test_shipped_boards_load(name):
    """Each board that ships is valid and goes by its file's name."""
    assert name == load_target(name).name


def test_own_board_by_path(tmp_path):
    """A user's own file is a target by its path."""
    target = load_target(board(tmp_path, GOOD))
    assert ("mine", 1024, "litert") == (target.name, target.ram_bytes, target.processors[0].backends[0])


def test_unknown_target_offers_near_names():
    """A misspelt name is answered with the ones that are near."""
    with pytest.raises(UnknownTarget, match="Did you mean rpi4") as caught:
        load_target("rip4")
    assert isinstance(caught.value, KeyError)
    assert "unknown target: got 'rip4'" in str(caught.value)


def test_missing_board_file():
    """A path that is not there is a missing file, not an unknown name."""
    with pytest.raises(FileMissing):
        load_target("boards/none.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('title = "A board"', 'titel = "A board"'), "'titel', expected title"),
        (("ram_bytes = 1024", 'ram_bytes = "1 GB"'), "ram_bytes"),
        (('name = "cpu"\n', ""), "name"),
        (('backends = ["litert"]', 'backends = ["tvm"]'), "tvm"),
        (('dtypes = ["int8"]', 'dtypes = ["int4"]'), "int8 or int16 or float16 or float32"),
        (("[runtimes]", "[runtimes"), "not valid TOML"),
        (('kind = "2 cores"', 'kind = "2 cores"\ncores = 2'), "cores"),
    ],
)
def test_wrong_board_names_the_key(tmp_path, change, message):
    """An unknown key, a wrong type, a missing key or a contradiction is named with the file."""
    path = board(tmp_path, GOOD.replace(*change))
    with pytest.raises(InvalidTarget) as caught:
        load_target(path)
    assert path in str(caught.value)
    assert message in str(caught.value)
    assert isinstance(caught.value, EdgeError)
