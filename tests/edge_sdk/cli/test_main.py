"""The command's root: help, errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edge_sdk.cli.main import COMMANDS, edge

HEAVY = {"numpy", "onnx", "rich", "http.client", "cattrs", "ai_edge_litert", "paramiko", "asyncio"}


def test_help_imports_nothing_heavy() -> None:
    """`edge --help` answers without importing any package that takes long."""
    code = (
        "import sys\nfrom edge_sdk.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert set() == HEAVY & loaded
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_static_help_is_the_commands_own(name: str) -> None:
    """The list of commands says what each command says of itself."""
    command = edge.get_command(click.Context(edge), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name] == command.short_help


@pytest.mark.parametrize(
    "words", [["nosuch"], ["deploy"], ["deploy", "--nosuch"], ["bench", "x", "--threads", "0"]]
)
def test_usage_errors_are_one_paragraph(words: list[str]) -> None:
    """A command line that makes no sense exits with 2 and says where the help is."""
    result = CliRunner().invoke(edge, words)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("error: edge")
    assert result.stderr.count("\n") == 1
    assert "--help`" in result.stderr


def test_error_object_for_usage_errors(tmp_path: Path) -> None:
    """`--json` holds the error even where the rest of the command line makes no sense."""
    file = tmp_path / "out.json"
    result = CliRunner().invoke(edge, ["deploy", "--nosuch", "--json", str(file)])
    body = json.loads(file.read_text())
    assert 2 == result.exit_code
    assert "invalid_request" == body["code"]
    assert f"error: {body['error']}\n" == result.stderr


def test_no_command_prints_help() -> None:
    """`edge` alone prints its help and exits with 2, as click's groups do."""
    result = CliRunner().invoke(edge, [])
    assert 2 == result.exit_code
    assert "Commands:" in result.output


def test_json_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A `--json` file in a folder that is not there exits with 12."""
    result = CliRunner().invoke(edge, ["targets", "list", "--json", str(tmp_path / "no" / "x.json")])
    assert 12 == result.exit_code
    assert "cannot write the JSON file" in result.stderr


def test_json_on_stdout_is_alone_there() -> None:
    """With `--json -` stdout is JSON and nothing else."""
    result = CliRunner().invoke(edge, ["targets", "show", "null", "--json", "-"])
    assert 0 == result.exit_code
    assert "null" == json.loads(result.stdout)["name"]


def test_unexpected_error_is_one_paragraph(tmp_path: Path) -> None:
    """A defect exits with 70, one paragraph and no traceback; --traceback shows it."""
    words = ["_defect", "--json", str(tmp_path / "out.json")]
    result = CliRunner().invoke(_with_defect(), words)
    assert 70 == result.exit_code
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: ")
    assert "Traceback" not in result.stderr
    assert "unexpected" == json.loads((tmp_path / "out.json").read_text())["code"]
    assert "Traceback" in CliRunner().invoke(_with_defect(), ["_defect", "--traceback"]).stderr
    assert "Traceback" in CliRunner().invoke(_with_defect(), ["_defect"], env={"EDGE_TRACEBACK": "1"}).stderr


def _with_defect() -> click.Group:
    class Broken(type(edge)):  # type: ignore[misc] # a class made of another's type
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return defect

    @click.command("_defect")
    @click.option("--json")
    @click.option("--traceback", is_flag=True)
    def defect(json: str | None, traceback: bool) -> None:
        del json, traceback
        print(1 // 0)

    return Broken("edge")
