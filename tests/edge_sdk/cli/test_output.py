"""Progress on a terminal and elsewhere, and the JSON of errors."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from edge_sdk.cli import output


def test_plain_progress_is_a_line_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal each step is one line, however often it reports."""
    with output.progress() as progress:
        for step in (("upload", 0, 10), ("upload", 10, 10), ("measure", 0, 0)):
            progress(*step)
    captured = capsys.readouterr()
    assert ("", "upload ...\nmeasure ...\n") == (captured.out, captured.err)


def test_live_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the steps are a live line, which is gone at the end; stdout is not touched."""
    reader, writer = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with output.progress() as progress:
            progress("upload", 5, 10)
            progress("activate: PREFLIGHT", 0, 0)
        terminal.flush()
        os.set_blocking(reader, False)
        written = b""
        with suppress(BlockingIOError):  # a terminal gives a few kB at a time
            while True:
                written += os.read(reader, 1 << 16)
    os.close(reader)
    shown = written.decode()
    assert "activate: PREFLIGHT" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line was erased


@pytest.mark.parametrize("words", [["--json", "{}"], ["--json={}"], ["x", "--json", "{}", "--traceback"]])
def test_error_goes_where_json_says(words: list[str], tmp_path: Path) -> None:
    """Both spellings of the option are found in a command line that could not be parsed."""
    file = tmp_path / "e.json"
    output.write_error({"error": "x", "code": "y"}, [word.format(file) for word in words])
    assert {"error": "x", "code": "y"} == json.loads(file.read_text())


def test_json_error_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error that cannot be written as JSON is still told, and adds a second paragraph."""
    output.write_error({"error": "x"}, ["--json", str(tmp_path / "no" / "e.json")])
    assert "cannot write the JSON file" in capsys.readouterr().err
