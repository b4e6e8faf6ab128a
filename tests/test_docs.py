"""The command lines in the documentation against the commands: each must parse."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_sdk.cli.main import edge

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md"),  # made of the help
]
GROUPS = ("devices", "targets", "agent")
# `edge devices list | show NAME` is several commands; [--optional FILE] may be typed
BLOCK = re.compile(r"^```(?:sh|text)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"^    (edge .*)$", re.M)
INLINE = re.compile(r"`(edge [^`]+)`")


def typed(text: str) -> Iterator[str]:
    """The command lines that a line of documentation means."""
    text = re.sub(r"\s+#.*| {2,}.*", "", text.strip().removeprefix("$ ")).replace("…", "...")
    for line in text.split(";"):
        plain = line.replace("[", "").replace("]", "").strip()
        first, *others = plain.split(" | ")
        yield first
        words = first.split()
        head = words[: 2 if len(words) > 1 and words[1] in GROUPS else 1]
        for other in others:
            yield " ".join([*head, other])


def command_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text()
        rest = BLOCK.sub("", text)
        blocks = [line.strip() for block in BLOCK.findall(text) for line in block.splitlines()]
        found = [*(line for line in blocks if line.startswith("edge ")), *INDENTED.findall(rest)]
        found += [" ".join(inline.split()) for inline in INLINE.findall(rest)]
        for line in found:
            for command in typed(line):
                yield page.name, command


LINES = sorted(set(command_lines()))


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_parses(page: str, line: str) -> None:
    """Every `edge` command that the documentation shows has these arguments and options."""
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    command: click.Command = edge
    context = click.Context(edge, info_name="edge")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: no such command: {line}"
        command, context = found, click.Context(found, info_name=words.pop(0), parent=context)
    if isinstance(command, click.Group):
        return  # a group that is named, or `edge --help`
    if not words or words == ["--help"]:
        return  # a command that is named in a sentence, without its arguments
    needed = [p for p in command.params if isinstance(p, click.Argument) and p.required]
    if words[0].startswith("-"):
        words = ["NAME"] * len(needed) + words  # its options are shown, its arguments are not
    try:
        command.make_context(command.name, words, parent=context.parent)  # parses, and executes nothing
    except click.MissingParameter:
        assert "..." in line, f"{page}: something is missing: {line}"


def test_there_are_command_lines() -> None:
    """The pages are searched where they hold commands."""
    assert len(LINES) > 40
    assert {"README.md", "devices.md", "bootstrap.md", "agent.md"} <= {page for page, _ in LINES}
