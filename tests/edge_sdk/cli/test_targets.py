"""`edge targets`."""

import json

from click.testing import CliRunner

from edge_sdk.cli.main import edge
from targets.schema import board_names


def test_list_holds_every_board() -> None:
    """Every board that ships is listed, as text and as JSON."""
    result = CliRunner().invoke(edge, ["targets", "list", "--json", "-"])
    assert list(board_names()) == [board["name"] for board in json.loads(result.stdout)]
    text = CliRunner().invoke(edge, ["targets", "list"]).stdout
    assert all(name in text for name in board_names())


def test_unknown_target_offers_near_names() -> None:
    """A misspelt board exits with 7 and names the near ones."""
    result = CliRunner().invoke(edge, ["targets", "show", "rpi44"])
    assert 7 == result.exit_code
    assert "Did you mean rpi4" in result.stderr


def test_show_fits_eighty_columns() -> None:
    """A board's description is readable on a narrow terminal."""
    result = CliRunner().invoke(edge, ["targets", "show", "rpi4"], env={"COLUMNS": "80"})
    assert 0 == result.exit_code
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
