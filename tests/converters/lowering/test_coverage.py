"""docs/onnx-coverage.md in itself and against the registry."""

import re
from pathlib import Path

from converters.lowering import registry
from converters.lowering.driver import lower as _lower  # noqa: F401 - registers every lowering

PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx-coverage.md"


def rows(part: str) -> list[list[str]]:
    """The cells of a Markdown table's rows."""
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_totals():
    """The rows of the operators add up to the totals, of which none is wrong and none crashed."""
    head, operators = PAGE.read_text().split("## By operator")
    totals = [int(cell) for cell in rows(head)[0][2:]]
    columns = zip(*(row[1:6] for row in rows(operators)), strict=True)
    sums = [sum(int(cell or 0) for cell in column) for column in columns]
    assert totals == [sum(sums), *sums]
    assert [0, 0] == sums[3:]


def test_every_refusal_has_its_reason():
    """An operator says why its tests are refused, and only where some are."""
    for row in rows(PAGE.read_text().split("## By operator")[1]):
        assert bool(int(row[3] or 0)) == bool(row[6]), row[0]


def test_every_lowering_is_listed():
    """No operator that can be lowered is missing."""
    listed = {row[0] for row in rows(PAGE.read_text().split("## By operator")[1])}
    assert set() == set(registry.known()) - listed
