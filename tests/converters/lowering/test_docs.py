"""docs/operators.md against the registry."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_page_is_up_to_date():
    """docs/operators.md is what scripts/gen_operator_docs.py makes of the registry."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "gen_operator_docs.py", "--check"], check=False)
    assert 0 == done.returncode, "run scripts/gen_operator_docs.py"
