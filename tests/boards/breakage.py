"""What the acceptance run breaks: power, clock, memory groups, disk and cable."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from device_agent.bundle import Bundle
from device_agent.errors import AgentUnreachable, DeviceUnsuitable, DiskFull, EdgeError
from edge_sdk.devices import diagnosis
from tests.boards.campaigns import BOOT_S, Run, release_of, wait_for
from tests.boards.emulator import Board
from tests.boards.observe import answers, check_that
from tests.device_agent.harness import make_bundle

UPLOAD_BYTES = 60 << 20
SMALL_BLOBS_BYTES = 1 << 16  # less are all blobs but the model
CABLE_S = 300.0
SMALL_CARD_MB = 640


def power_cuts(run: Run) -> None:
    """Power cuts at random points of a deployment: the model active before, or the new one, answers."""
    bundles = [run.bundle("int8"), run.bundle("float32")]
    with run.shop.board("vm", "cuts") as board:
        with run.check("install and deploy without a cut") as say:
            board.install()
            with board.device() as device:
                device.deploy(bundles[0])
                begin = time.monotonic()
                device.deploy(bundles[1])
                length = time.monotonic() - begin
            say(f"a deployment takes {length:.1f} s")
        active = bundles[1].manifest_digest
        for number in range(run.power_cuts):
            with run.check(f"power cut {number + 1} of {run.power_cuts}") as say:
                wanted = next(one for one in bundles if one.manifest_digest != active)
                after = random.uniform(0, 1.3 * length)  # some come after the end
                before, (active, text) = active, cut_while_deploying(board, wanted, bundles, after)
                check_that(active in (before, wanted.manifest_digest), f"another one is active: {active}")
                say(f"after {after:.1f} s: {text}, {'new' if active != before else 'old'} one active")


def cut_while_deploying(
    board: Board, bundle: Bundle, known: Sequence[Bundle], after_s: float
) -> tuple[str, str]:
    """Pull the plug `after_s` into a deployment, put it back, and see what answers.

    Args:
        board: with a model active.
        bundle: what is deployed.
        known: every bundle that may be active afterwards.
        after_s: from the start of the deployment to the cut.

    Returns:
        The manifest digest of the generation that is active, and a text.

    Raises:
        RuntimeError: nothing answers, or a deployment that was acknowledged is not active.
    """
    acknowledged: list[str] = []

    def deploy() -> None:
        with suppress(EdgeError), board.device() as device:
            acknowledged.append(device.deploy(bundle).deployed.status.manifest_digest)

    thread = threading.Thread(target=deploy)
    thread.start()
    thread.join(after_s)
    promised = list(acknowledged)
    board.cut_power()
    thread.join()
    begin = time.monotonic()
    board.on()  # its SSH server may be up before the agent is
    wait_for(lambda: release_of(board) is not None, BOOT_S, "the agent after the boot")
    status = answers(board, *known)
    took = time.monotonic() - begin
    check_that(promised in ([], [status.manifest_digest]), "a deployment that was acknowledged is gone")
    return status.manifest_digest, f"answers {took:.0f} s after the power came back"


def clocks(run: Run) -> None:
    """A clock at 1970, 2000 and 2046: everything works, whatever jumps there are in between."""
    options = ("--rtc", "1970-01-01T00:00:00")
    with run.shop.board("vm", "clock", *options) as board:
        for number, year in enumerate((1970, 2000, 2046)):
            with run.check(f"the hardware clock says {year}") as say:
                if number:
                    board.cut_power()
                    board.on("--rtc", f"{year}-01-01T00:00:00")
                action = board.install("null").action
                with board.device("null") as device:
                    if number:
                        before = device.deployments()[0]
                        check_that(before.generation == number, f"{before.generation} was active")
                    made = device.deploy(make_bundle(run.folder / f"clock{year}", seed=number + 1))
                    check_that(made.generation == number + 1, f"generation {made.generation}")
                say(f"the board's date is {board.run('date +%F').strip()}: {action}, generation {number + 1}")


def memory_groups(run: Run) -> None:
    """Memory control groups switched off, as a Pi's firmware does: said, not hidden."""
    with run.shop.board("vm", "memory", "--append", "cgroup_disable=memory") as board:
        with run.check("install says that memory cannot be limited") as say:
            outcome = board.install("null")
            names = [one.name for one in outcome.findings]
            check_that("memory-cgroup" in names, f"findings: {names}")
            say(next(str(one) for one in outcome.findings if one.name == "memory-cgroup")[:120])
        with run.check("doctor says it") as say:
            run.register(board)
            found = [one for one in diagnosis.examine(board.name) if "memory" in one.message]
            check_that(bool(found) and found[0].status == "warn", "not a word of it")
            say(f"{found[0].name}: {found[0].message}")


def disk_full(run: Run) -> None:
    """A card with no room left: refused by name, nothing lost, well again once there is room."""
    with run.shop.small_card(SMALL_CARD_MB) as shop, shop.board("vm", "small") as board:
        with run.check(
            f"install runtimes on a card of {SMALL_CARD_MB} MB: refused before anything is done"
        ) as say:
            try:
                board.install()
                raise RuntimeError("it was not refused")
            except DeviceUnsuitable as e:
                check_that("disk:" in str(e.got), str(e))
                say(str(e.got))
        with run.check("a deployment that does not fit is refused; the active model answers") as say:
            board.install("null")
            two = make_bundle(run.folder / "two", name="full", seed=2)
            with board.device("null") as device:
                device.deploy(make_bundle(run.folder / "one", name="full", seed=1))
                device.deploy(two)
                _fill(board)
                try:
                    device.deploy(make_bundle(run.folder / "three", name="full", seed=3, padding=8 << 20))
                    raise RuntimeError("it was not refused")
                except DiskFull as e:
                    say(str(e)[:160])
            answers(board, two)
        with run.check("the agent restarts on a full card") as say:
            board.run("sudo systemctl restart edge-agent")
            answers(board, two)
            say(board.run("df -k --output=avail / | tail -1").strip() + " kB free")
        with run.check("there is room again: the deployment goes through") as say:
            board.run("sudo rm /var/fill")
            with board.device("null") as device:
                made = device.deploy(make_bundle(run.folder / "three", name="full", seed=3, padding=8 << 20))
            say(f"generation {made.generation}")


def _fill(board: Board) -> None:
    """Leave 2 MB, root's reserve apart."""
    board.run(
        "free=$(df -k --output=avail / | tail -1); "
        "sudo fallocate -l $(((free - 2048) * 1024)) /var/fill; sync"
    )


def cable(run: Run) -> None:
    """The cable pulled in mid-upload and put back: said, and what was sent is not sent again."""
    with run.shop.board("vm", "cable") as board:
        board.install("null")
        bundle = make_bundle(run.folder / "large", name="cable", seed=1, padding=UPLOAD_BYTES)
        active = make_bundle(run.folder / "small", name="cable", seed=2)
        with board.device("null") as device:
            device.deploy(active)
        with run.check("cable pulled in mid-upload") as say:
            pulled: list[float] = []

            def pull(what: str, done: int, total: int) -> None:
                if what == "upload" and done > total // 3 and not pulled:
                    pulled.append(time.monotonic())
                    board.monitor("set_link n0 off")

            try:
                with board.device("null") as device:
                    device.deploy(bundle, progress=pull)
                raise RuntimeError("the deployment went through without a cable")
            except AgentUnreachable as e:
                took = time.monotonic() - pulled[0]
                say(f"said after {took:.0f} s: {e}"[:200])
            finally:
                board.monitor("set_link n0 on")
            check_that(took < CABLE_S, f"it took {took:.0f} s to be noticed")
        with run.check("cable back in: the upload goes on where it stopped") as say:
            board.wait()
            answers(board, active)
            come: list[int] = []

            def note(what: str, done: int, total: int) -> None:
                if what == "upload" and SMALL_BLOBS_BYTES < done < total:
                    come.append(done)

            with board.device("null") as device:
                made = device.deploy(bundle, progress=note)
            check_that(come[0] > UPLOAD_BYTES // 4, f"the first chunk ended at {come[0]}")
            share = f"{come[0] / 1e6:.1f} of {UPLOAD_BYTES / 1e6:.1f} MB"
            say(f"went on at {share}, generation {made.generation}")
