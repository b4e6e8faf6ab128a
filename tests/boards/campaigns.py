"""What the acceptance run does to a board with nothing broken: its whole life, its clock, its footprint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define

from device_agent import codec
from device_agent.bundle import Bundle
from device_agent.errors import ActivationFailed
from device_agent.protocol import Parity
from edge_sdk import pipeline
from edge_sdk.devices.bootstrap import archive as archives
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.bootstrap.install import perform, prepare
from targets.schema import load_target
from tests.boards.emulator import ROOT, Board, Workshop, silent
from tests.boards.observe import (
    FOOTPRINT,
    NO_ROUTE,
    OFFLINE_CHECK,
    OFFLINE_UNIT,
    check_that,
    everything_on,
    on_host,
)
from tests.edge_sdk.devices.bootstrap.conftest import altered

Say = Callable[[str], None]
Check = Callable[[str], AbstractContextManager[Say]]
BOOT_S = 400.0
TRIAL_S = 60


@define(slots=False)
class Run:
    """What every campaign works with."""

    shop: Workshop
    folder: Path
    check: Check
    power_cuts: int

    @cached_property
    def archive(self) -> Archive:
        """The agent of this source tree."""
        return archives.build()

    @cached_property
    def calibration(self) -> Path:
        """Samples for ResNet-8."""
        zoo = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
        out = self.folder / "calibration.npz"
        loader = [sys.executable, str(zoo / "load.py"), "cifar10", "--split", "train", "--out", str(out)]
        subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
        return out

    @cached_property
    def model(self) -> Path:
        """MLPerf Tiny's ResNet-8."""
        zoo = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
        return zoo / "models/onnx/resnet8.onnx"

    def bundle(self, precision: str, target: str = "rpi4") -> Bundle:
        """ResNet-8, converted."""
        model = pipeline.load(self.model)
        plan = pipeline.plan(model, target, precision=precision)
        conversion = pipeline.convert(model, plan, calibration=str(self.calibration))
        return pipeline.pack(conversion, self.folder / f"{target}-{precision}", name="resnet8")

    def edge(self, *words: str | Path) -> Any:
        """The JSON that an `edge` command gives; RuntimeError unless it succeeds."""
        file = self.folder / "out.json"
        command = [sys.executable, "-c", "from edge_sdk.cli.main import main; main()", *map(str, words)]
        done = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"edge {words[0]}: status {done.returncode}: {done.stderr[-1500:]}")
        return json.loads(file.read_bytes())

    def register(self, board: Board) -> None:
        """`edge devices add`, with the board's own keys."""
        self.edge(
            "devices", "add", board.name, board.address, "--target", "rpi4", "--identity", board.identity,
            "--known-hosts", board.known_hosts,
        )  # fmt: skip


def life(run: Run) -> None:
    """Install, deploy twice, reboot offline, roll back, upgrades, uninstall."""
    with run.shop.board("vm", "life") as board:
        with run.check("fresh board, no route to any registry") as say:
            say(f"boot {board.boot_s:.0f} s; {on_host(board, NO_ROUTE)}")
        before = everything_on(board)
        run.register(board)
        with run.check("install") as say:
            installed = run.edge("devices", "install", board.name)
            sent = f"{installed['sent_bytes'] / 1e6:.1f} MB sent"
            say(f"{installed['release']} ({installed['service']}), {sent}")
        with run.check("first deploy: resnet8 int8") as say:
            say(_deployed(run, board, "int8", generation=1))
        with run.check("second deploy: resnet8 float32") as say:
            say(_deployed(run, board, "float32", generation=2))
        with run.check("reboot with the cable out; the model answers") as say:
            say(_reboot_offline(board))
        with run.check("rollback") as say:
            answer = run.edge("rollback", "resnet8", "--device", board.name)
            check_that(answer["generation"] == 1, f"generation {answer['generation']}, not 1")
            say("generation 1 answers, " + _parity_of(run, board))
        _upgrades(run, board, installed["release"])
        with run.check("uninstall leaves nothing") as say:
            run.edge("devices", "uninstall", board.name)
            after = everything_on(board)
            check_that(before == after, f"new: {sorted(after - before)}; gone: {sorted(before - after)}")
            say(f"{len(after)} files, users, groups and units as before")


def _deployed(run: Run, board: Board, precision: str, *, generation: int) -> str:
    found = run.edge(
        "deploy", run.model, "--target", "rpi4", "--device", board.name, "--precision", precision,
        "--calibration", run.calibration,
    )  # fmt: skip
    check_that(found["generation"] == generation, f"generation {found['generation']}, not {generation}")
    check_that(found["parity"]["passed"], f"parity: {found['parity']}")
    return "equal to the host within the bound: " + _worst(codec.from_json(found["parity"], Parity, where=""))


def _worst(parity: Parity) -> str:
    return ", ".join(f"{one.name} off by {one.max_abs_diff:g} of {one.tolerance:g}" for one in parity.tensors)


def _parity_of(run: Run, board: Board) -> str:
    """Deploying what is active again proves it: nothing is written, the golden inputs are replayed."""
    with board.device() as device:
        return _worst(device.deploy(run.bundle("int8")).parity)


def _reboot_offline(board: Board) -> str:
    """The board itself asks its agent after the boot and says on its console what it got."""
    board.run(
        f"cat >/var/tmp/offline-check.py <<'E'\n{OFFLINE_CHECK}\nE\n"
        f"sudo sh -c 'cat >/etc/systemd/system/offline-check.service' <<'E'\n{OFFLINE_UNIT}\nE\n"
        "sudo systemctl enable -q offline-check; sudo sync; "
        "sudo systemd-run -q --on-active=3 systemctl reboot"
    )
    board.monitor("set_link n0 off")
    begin = time.monotonic()
    try:
        wait_for(lambda: "offline-check: " in board.serial, BOOT_S, "the board's answer on its console")
        took = time.monotonic() - begin
        line = board.serial.rpartition("offline-check: ")[2].splitlines()[0]
    finally:
        board.monitor("set_link n0 on")
    board.wait()
    board.run(
        "sudo systemctl disable -q offline-check; "
        "sudo rm -f /etc/systemd/system/offline-check.service /var/tmp/offline-check.py; "
        "sudo systemctl daemon-reload"
    )
    check_that(line.startswith("answered"), line)
    return f"{line} ({took:.0f} s after the command to reboot)"


def _upgrades(run: Run, board: Board, first: str) -> None:
    """Releases that end, that hang, that nobody confirms; then one that works."""
    broken = {
        "a release that ends at once": "raise SystemExit(3)\n",
        "a release that hangs": "import time\ntime.sleep(1000)\n",
    }
    for what, code in broken.items():
        with run.check(f"upgrade to {what}: goes back by itself") as say:
            with suppress(ActivationFailed):
                board.install(archive=altered(run.archive, "device_agent/server.py", code), upgrade=True)
                raise RuntimeError("the upgrade is said to have worked")
            say(_reverted(board, first))
    with run.check("upgrade that the host never confirms: goes back by itself") as say:
        connection = board.connection()
        good = altered(run.archive, "device_agent/note.txt", "unconfirmed")
        try:
            ready = prepare(
                connection, load_target("rpi4"), archive=good, trial_s=TRIAL_S, upgrade=True, progress=silent
            )
            perform(connection, ready.steps, ready.facts, silent)
        finally:
            connection.close()
        say(_reverted(board, first))
    with run.check("upgrade to a good release") as say:
        outcome = board.install(archive=altered(run.archive, "device_agent/note.txt", "good"), upgrade=True)
        check_that(outcome.action == "upgraded", outcome.action)
        say(f"{outcome.release} answers, {_parity_of(run, board)}")


def _reverted(board: Board, first: str) -> str:
    """Wait until the release before answers; how long the trial took by the board's own journal."""
    wait_for(lambda: release_of(board) == first, TRIAL_S + BOOT_S, f"release {first}")
    journal = board.run("sudo journalctl -u edge-agent -o short-unix --no-pager").splitlines()
    ends = [number for number, line in enumerate(journal) if "did not prove itself" in line]
    begins = [number for number in range(ends[-1]) if "Starting" in journal[number]]
    seconds = float(journal[ends[-1]].split()[0]) - float(journal[begins[-1]].split()[0])
    check_that(seconds <= TRIAL_S + 20, f"the trial took {seconds:.0f} s")
    return f"{first} answers again; the trial took {seconds:.1f} s"


def release_of(board: Board) -> str | None:
    """The release of the agent that answers; None while none does."""
    with suppress(Exception), board.device() as device:
        return device.describe().release
    return None


def footprint(run: Run) -> None:
    """What the agent costs a board that does nothing."""
    with run.check("edge-agent.pyz is at most 3 MB") as say:
        say(f"{len(run.archive.data) / 1e6:.3f} MB")
        check_that(len(run.archive.data) <= 3 << 20, "too large")
    with run.shop.board("vm", "footprint") as board:
        board.install("null")
        with run.check("idle: memory, writes to the card, start to ready") as say:
            say(board.run(f"sudo python3 -I - <<'E'\n{FOOTPRINT}\nE", timeout_s=400).strip())


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds; RuntimeError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)
