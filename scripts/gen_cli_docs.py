#!/usr/bin/env python3
"""Write docs/cli.md from the command line's own help; `--check` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edge_sdk.cli.main import edge

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# The command line

Made by `scripts/gen_cli_docs.py` from the commands' own help; a test compares the two. Exit codes and the
error object that `--json` writes are in [errors.md](errors.md), the reports in
[report-schema.md](report-schema.md).
"""


def page() -> str:
    """The whole page."""
    context = click.Context(edge, info_name="edge", **edge.context_settings, max_content_width=80)
    return HEAD + "".join(_sections(edge, context))


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    context.terminal_width = 80
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _sections(child, click.Context(child, info_name=name, parent=context))


def main() -> int:
    """Write the page, or say whether it is up to date."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
