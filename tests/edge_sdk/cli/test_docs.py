"""docs/cli.md against the commands."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_page_is_up_to_date() -> None:
    """docs/cli.md is what scripts/gen_cli_docs.py makes of the commands."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "gen_cli_docs.py", "--check"], check=False)
    assert 0 == done.returncode, "run scripts/gen_cli_docs.py"
