"""Emulated ARM boards, made and started by the scripts in EDGE_BOARDS; nothing of them outlives a context.

A `vm` board is a virtual machine with systemd, a disk, power, a clock and a network; a `user` board is a
root file system whose programs are emulated one by one: it has no kernel of its own, and starts in a second.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from edge_sdk.devices import addresses
from edge_sdk.devices.bootstrap.install import Outcome, install
from edge_sdk.devices.device import Device
from edge_sdk.devices.ssh import SshConnection, SshSettings
from edge_sdk.devices.transports.ssh import SshTransport
from targets.schema import Target, load_target
from tests.sshd import free_port

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("qemu-img", "ssh", "ssh-keygen", "cpio")
EMULATORS = {"vm": "qemu-system-aarch64", "user": "qemu-aarch64-static"}
IMAGES = (("user", "arm64"), ("user", "armhf"))  # made beforehand; a virtual machine's when it is asked for
MAKE_TIMEOUT_S = 1200
START_TIMEOUT_S = 400


class Unavailable(Exception):
    """Boards cannot be made or started here; says what is missing."""


@frozen
class Workshop:
    """Makes images once, into a folder, and starts boards from them."""

    scripts: Path
    work: Path

    def image(self, kind: str, architecture: str = "arm64") -> Path:
        """What boards of a kind are started from."""
        if kind == "vm":
            return self.work / f"vm-{architecture}" / "disk.ext4"
        return self.work / f"rootfs-{architecture}-user"

    def make(self, kind: str, architecture: str = "arm64") -> None:
        """Make an image unless it is there; one maker at a time, whoever else waits for it.

        Raises:
            Unavailable: it is not there, and only root can make one.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        done = self.work / f"made-{kind}-{architecture}"
        with done.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if done.exists():
                return
            if os.geteuid() != 0:
                raise Unavailable(f"no image {self.image(kind, architecture)}, and making one needs root")
            script = ["make-vm-image.sh"] if kind == "vm" else ["make-rootfs.sh"]
            self.script(
                *script, architecture, *(["user"] if kind == "user" else []), timeout_s=MAKE_TIMEOUT_S
            )
            done.touch()

    def script(self, name: str, *arguments: str, timeout_s: float = 120) -> str:
        """Run one of the scripts; its output."""
        # to a file: what it starts in the background would hold a pipe open
        with tempfile.TemporaryFile("w+") as output:
            try:
                done = subprocess.run(
                    [str(self.scripts / name), *arguments],
                    env={**os.environ, "WORKDIR": str(self.work)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_s,
                    check=False,
                )
            finally:
                output.seek(0)
                said = output.read()
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(arguments)}: status {done.returncode}: {said[-2000:]}")
        return said

    @contextmanager
    def small_card(self, megabytes: int) -> Iterator[Workshop]:
        """Another workshop, whose virtual machines have a smaller disk."""
        self.make("vm")
        with tempfile.TemporaryDirectory(dir=self.work, prefix="small-") as folder:
            for name in ("rootfs-arm64-vm", "kernel-arm64", "debs-arm64"):
                (Path(folder) / name).symlink_to(self.work / name)
            small = Workshop(self.scripts, Path(folder))
            small.script("make-vm-image.sh", "arm64", str(megabytes), timeout_s=MAKE_TIMEOUT_S)
            (small.work / "made-vm-arm64").touch()
            yield small

    @contextmanager
    def board(self, kind: str, name: str, *options: str, architecture: str = "arm64") -> Iterator[Board]:
        """A new board that is on; off, with its disk gone, afterwards.

        Args:
            kind: vm or user.
            name: unique among the boards that are on.
            *options: of the start script.
            architecture: arm64 or armhf.
        """
        self.make(kind, architecture)
        board = Board(self, kind, architecture, f"{name}-{os.getpid()}", free_port())
        try:
            board.on("--fresh", *options)
            yield board
        finally:
            board.cut_power()
            shutil.rmtree(board.folder, ignore_errors=True)


@define
class Board:
    """One emulated board."""

    workshop: Workshop
    kind: str
    architecture: str
    name: str
    port: int
    boot_s: float = field(default=0.0, init=False)

    @property
    def folder(self) -> Path:
        """Its disk, keys and log."""
        return self.workshop.work / f"{'run' if self.kind == 'vm' else 'user'}-{self.name}"

    @property
    def identity(self) -> Path:
        """The key that it lets in."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Its host key."""
        return self.folder / "known_hosts"

    @property
    def address(self) -> str:
        """Where it is."""
        return f"pi@127.0.0.1:{self.port}"

    @property
    def serial(self) -> str:
        """What its console printed since it was last switched on."""
        return (self.folder / "serial.log").read_text(errors="replace")

    def on(self, *options: str) -> None:
        """Switch it on and wait for its SSH server."""
        begin = time.monotonic()
        arch = ("--arch", self.architecture, "--port", str(self.port))
        self.workshop.script(
            f"start-{self.kind}-device.sh", *arch, *options, self.name, timeout_s=START_TIMEOUT_S
        )
        self.boot_s = time.monotonic() - begin

    def wait(self) -> None:
        """Wait for its SSH server."""
        self.workshop.script(
            "wait-for-ssh.py", str(self.port), str(START_TIMEOUT_S), timeout_s=START_TIMEOUT_S + 10
        )

    def off(self) -> None:
        """Shut it down properly."""
        self.workshop.script(f"stop-{self.kind}-device.sh", self.name)

    def cut_power(self) -> None:
        """Pull the plug."""
        cut = ("--power-cut",) if self.kind == "vm" else ()
        self.workshop.script(f"stop-{self.kind}-device.sh", *cut, self.name)

    def monitor(self, command: str) -> None:
        """Tell the virtual machine to do something to its hardware."""
        self.workshop.script("qemu-monitor.py", str(self.folder / "monitor"), command)

    @property
    def settings(self) -> SshSettings:
        """How to reach it."""
        where = addresses.parse(self.address)
        return SshSettings(where, self.name, identity=self.identity, known_hosts=self.known_hosts)

    def connection(self) -> SshConnection:
        """A new SSH connection to it."""
        return SshConnection(self.settings)

    def run(self, command: str, *, timeout_s: float = 120.0, status: int = 0) -> str:
        """What a shell command on it prints; it must end with `status`."""
        connection = self.connection()
        try:
            done = connection.run(["sh", "-c", command], timeout_s=timeout_s)
        finally:
            connection.close()
        if done.status != status:
            raise RuntimeError(f"{command}: status {done.status}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")

    def device(self, target: str | Target = "rpi4") -> Device:
        """It as a device, with an agent installed."""
        board = load_target(target) if isinstance(target, str) else target
        return Device(self.name, board, SshTransport(self.settings), lambda: [self.identity])

    def install(self, target: str | Target = "rpi4", **options: Any) -> Outcome:
        """Install the agent of this source tree on it."""
        board = load_target(target) if isinstance(target, str) else target
        connection = self.connection()
        try:
            return install(connection, board, progress=silent, **options)
        finally:
            connection.close()


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress."""


def workshop() -> Workshop:
    """The workshop of EDGE_BOARDS (default ../shared/devices beside the checkout).

    Images are kept in EDGE_BOARDS_CACHE, by default edge/boards under XDG_CACHE_HOME (~/.cache).

    Raises:
        Unavailable: there are no scripts, or a program that they need is not installed.
    """
    scripts = Path(os.environ.get("EDGE_BOARDS", ROOT / "../shared/devices")).resolve()
    if not (scripts / "start-vm-device.sh").is_file():
        raise Unavailable(f"no emulated boards at {scripts}: set EDGE_BOARDS")
    missing = [name for name in (*TOOLS, *EMULATORS.values()) if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"emulated boards need {', '.join(missing)}: see {scripts / 'README.md'}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Workshop(scripts, Path(os.environ.get("EDGE_BOARDS_CACHE", cache / "edge/boards")).absolute())


def main() -> None:
    """Make every image that the tests need, where that can be done; for CI, while other tests run."""
    shop = workshop()
    for kind, architecture in IMAGES:
        begin = time.monotonic()
        shop.make(kind, architecture)
        print(f"{kind} {architecture}: {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
