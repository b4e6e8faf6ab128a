"""Results appear whole in their folder, or not at all."""

from pathlib import Path

import pytest

from device_agent.errors import InvalidRequest, OutputError
from edge_sdk.staging import staged


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds an earlier result and something of the user's."""
    made = tmp_path / "build"
    (made / "bundle").mkdir(parents=True)
    for name in ("bundle/old", "stale.json", "mine.txt"):
        (made / name).write_text(name)
    return made


def test_new_replaces_old(folder: Path, tmp_path: Path) -> None:
    """Folders and files of the same names are replaced, stale ones go, and what is the user's stays."""
    with staged(folder, "files", replaced=("stale.json", "none.json")) as place:
        assert "mine.txt" in content(folder)
        (place / "bundle").mkdir()
        (place / "bundle/new").write_text("new")
    assert {"bundle/new": "new", "mine.txt": "mine.txt"} == content(folder)
    assert ["build"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("end", [KeyboardInterrupt, InvalidRequest("x"), OSError("disk"), ValueError])
def test_nothing_is_half_written(folder: Path, tmp_path: Path, end: BaseException) -> None:
    """Whatever ends the body, the folder is as it was, and nothing lies beside it."""
    before = content(folder)

    def broken() -> None:
        with staged(folder, "files", replaced=("stale.json",)) as place:
            (place / "bundle").mkdir()
            raise end

    with pytest.raises(
        OutputError if isinstance(end, OSError) else end if isinstance(end, type) else type(end)
    ):
        broken()
    assert before == content(folder)
    assert ["build"] == [path.name for path in tmp_path.iterdir()]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where a file is in the way, what was to be written is named."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write the bundle"),
        staged(tmp_path / "file/below", "bundle"),
    ):
        pytest.fail("the body runs")
