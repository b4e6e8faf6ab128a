"""The acceptance run: what a virtual Raspberry Pi 4 must survive, from a fresh image to nothing left.

    scripts/acceptance [--power-cuts N] [--only NAME ...] [--json FILE]

Prints a line for each check, writes all of them as JSON, and fails if one of them failed. Its boards stand
in an emulator (see `emulator`), so its times say nothing about a real board.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, define, field, frozen

from tests.boards import breakage, campaigns
from tests.boards.emulator import Unavailable, workshop

CAMPAIGNS = (
    campaigns.life,
    campaigns.footprint,
    breakage.power_cuts,
    breakage.clocks,
    breakage.memory_groups,
    breakage.disk_full,
    breakage.cable,
)


@frozen
class Row:
    """One check: what was looked at, and what came out."""

    campaign: str
    what: str
    ok: bool
    result: str
    seconds: float


@define
class Recorder:
    """Takes the rows as they come and shows them."""

    campaign: str = ""
    rows: list[Row] = field(factory=list)

    @contextmanager
    def check(self, what: str) -> Iterator[Callable[[str], None]]:
        """A check: it passes unless something is raised; what is called with a text says what came out.

        What follows in a campaign needs what went before, so the failure ends the campaign.
        """
        said: list[str] = []
        begin = time.monotonic()
        try:
            yield said.append
        except (Ended, Unavailable):
            raise
        except Exception as e:
            self._add(what, ok=False, result=f"{type(e).__name__}: {e}", begin=begin)
            traceback.print_exc()
            raise Ended from e
        self._add(what, ok=True, result="; ".join(said), begin=begin)

    def _add(self, what: str, *, ok: bool, result: str, begin: float) -> None:
        row = Row(self.campaign, what, ok, result, round(time.monotonic() - begin, 1))
        self.rows.append(row)
        print(f"{'ok  ' if ok else 'FAIL'} {row.seconds:6.1f} s  {what}: {result}", flush=True)


class Ended(Exception):
    """A check failed; it is recorded."""


def main() -> None:
    """Run the campaigns that were asked for."""
    names = [campaign.__name__ for campaign in CAMPAIGNS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--power-cuts", type=int, default=10, help="in mid-deploy (default 10)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help=f"of {', '.join(names)}")
    parser.add_argument("--json", type=Path, default=Path("acceptance.json"), help="default acceptance.json")
    options = parser.parse_args()
    recorder = Recorder()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edge-acceptance-") as home:
        # nothing of the user's own takes part, and nothing of the boards stays
        os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        os.environ["HOME"] = home
        for name in ("EDGE_DEVICES", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSH_AUTH_SOCK"):
            os.environ.pop(name, None)
        try:
            shop = workshop()
            run = campaigns.Run(shop, Path(home), recorder.check, options.power_cuts)
            for campaign in CAMPAIGNS:
                if campaign.__name__ in options.only:
                    recorder.campaign = campaign.__name__
                    print(f"--- {campaign.__name__}: {campaign.__doc__}", flush=True)
                    # a board that does not even start is a failure too
                    with _recorded(), recorder.check("the campaign"):
                        campaign(run)
        except Unavailable as e:
            sys.exit(f"acceptance: {e}")
    failed = [row for row in recorder.rows if not row.ok]
    options.json.write_text(json.dumps([asdict(row) for row in recorder.rows], indent=1) + "\n")
    print(
        f"{len(recorder.rows) - len(failed)} passed, {len(failed)} failed, {time.monotonic() - begin:.0f} s"
    )
    sys.exit(1 if failed else 0)


@contextmanager
def _recorded() -> Iterator[None]:
    try:
        yield
    except Ended:
        print("the rest of this campaign is left out", flush=True)


if __name__ == "__main__":
    main()
