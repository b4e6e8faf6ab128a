"""Push of a blob to an agent over SSH, against `scp` of the same file to the same server.

    python benchmarks/ssh_upload.py [-n 7] [--mb 100] [--wait 10] [--json FILE]

Starts an OpenSSH server and an agent on loopback. Rounds are interleaved: each pushes a blob of new random
bytes to the agent and copies the same file with `scp`, then with `scp` and `sync` of the copy, which is the
fair peer: the agent never says that it has a chunk which a power cut could take. Both connect anew each time.

    push             connecting, checking every chunk, syncing it, hashing the whole: all that `edge deploy`
                     does to have the blob there, up to the agent's answer that it has it
    of it, sending   the same without connecting: the requests for the blob and for the manifest
    activation       what follows in `edge deploy`: reading back, preflight and probe with the null runtime
    connecting       `ssh` of a command that does nothing, for what of `scp` is not sending

Prints medians, CPU seconds (user and system, of client, server and agent together) and ratios of throughput;
the machine's load before each round is printed and kept, since a busy machine makes any of it slower.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.ssh import SshTransport
from edge_sdk.devices.upload import push
from tests.device_agent.harness import make_bundle
from tests.sshd import HOST, Sshd, bridge, serving, sshd

QUIET_LOAD = 0.5
PUSH, SENDING, ACTIVATION = "push", "of it, sending", "activation"
SCP, SCP_SYNC, CONNECTING = "scp", "scp and sync", "connecting"


class Cpu:
    """The CPU seconds of the processes that take part: this one, the server's and the agent's, and theirs."""

    def __init__(self, server: int, agent: int) -> None:
        self._server = server
        self._agent = agent

    def seconds(self) -> float:
        """What they have used up to now, once all sessions of the server have ended."""
        deadline = time.monotonic() + 5
        while _children(self._server) and time.monotonic() < deadline:
            time.sleep(0.01)
        return sum(os.times()[:4]) + _used(self._server) + _used(self._agent)


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def _used(pid: int) -> float:
    """User and system time of a process and its children that have ended, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Rounds:
    """What each case took, round by round."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, case: str) -> Iterator[None]:
        """Take the time of what is done in the context."""
        begin = time.perf_counter()
        yield
        self.wall.setdefault(case, []).append(time.perf_counter() - begin)

    @contextmanager
    def accounted(self, case: str) -> Iterator[None]:
        """Take the CPU time of what is done in the context, and of the sessions that end with it."""
        begin = self._cpu.seconds()
        yield
        self.cpu.setdefault(case, []).append(self._cpu.seconds() - begin)


def push_bundle(rounds: Rounds, server: Sshd, state: Path, blob: bytes, folder: Path) -> None:
    """Push a bundle of which nearly all is `blob`, and activate it."""
    bundle = make_bundle(folder, plan=blob)
    with rounds.accounted(PUSH), connected(server, state) as (transport, client), rounds.timed(PUSH):
        transport.open()
        with rounds.timed(SENDING):
            sent = push(client, bundle, lambda *_: None)
    if sent < len(blob):
        sys.exit(f"only {sent} bytes were sent")
    with connected(server, state) as (transport, client):
        transport.open()
        with rounds.timed(ACTIVATION):
            for _ in client.deploy(bundle.config.name, bundle.manifest_digest):
                pass


@contextmanager
def connected(server: Sshd, state: Path) -> Iterator[tuple[SshTransport, AgentClient]]:
    """A transport, not open yet, and a client of it; closed with the context."""
    transport = SshTransport(server.settings(), bridge(state))
    client = AgentClient(transport)
    try:
        yield transport, client
    finally:
        client.close()
        transport.close()


def ssh_options(server: Sshd) -> list[str]:
    """Options of OpenSSH's clients that take nothing from the user's configuration."""
    return [
        "-F", "none", "-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes",
        "-o", "IdentitiesOnly=yes", "-i", str(server.identity),
    ]  # fmt: skip


def scp(server: Sshd, source: Path, target: Path) -> None:
    """Copy a file with `scp`."""
    place = f"{getpass.getuser()}@{HOST}:{target}"
    subprocess.run(
        ["scp", "-q", *ssh_options(server), "-P", str(server.port), str(source), place], check=True
    )


def ssh(server: Sshd, *command: str) -> None:
    """Run a command there with `ssh`."""
    place = f"{getpass.getuser()}@{HOST}"
    subprocess.run(["ssh", *ssh_options(server), "-p", str(server.port), place, *command], check=True)


def await_quiet(limit_s: float) -> float:
    """Wait until the machine has nothing else to do, so long at most; its load then."""
    deadline = time.monotonic() + limit_s
    while os.getloadavg()[0] >= QUIET_LOAD and time.monotonic() < deadline:
        time.sleep(1)
    return os.getloadavg()[0]


def measure(rounds: Rounds, server: Sshd, state: Path, folder: Path, size: int) -> None:
    """One round."""
    blob = os.urandom(size)
    source, target = folder / "source", folder / "target"
    source.write_bytes(blob)
    os.sync()  # what others wrote is not to be paid by whom comes next
    push_bundle(rounds, server, state, blob, folder / "bundle")
    cases: dict[str, Callable[[], None]] = {
        SCP: lambda: scp(server, source, target),
        SCP_SYNC: lambda: (scp(server, source, target), ssh(server, "sync", str(target)))[0],
        CONNECTING: lambda: ssh(server, "true"),
    }
    for case, run in cases.items():
        os.sync()
        with rounds.accounted(case), rounds.timed(case):
            run()


def table(rounds: Rounds, mb: float) -> list[dict[str, object]]:
    """A row a case: medians, spread, throughput, and how much of it a push has."""
    median = {case: statistics.median(taken) for case, taken in rounds.wall.items()}
    return [
        {
            "case": case,
            "median_s": median[case],
            "least_s": min(taken),
            "greatest_s": max(taken),
            "cpu_s": statistics.median(rounds.cpu[case]) if case in rounds.cpu else None,
            "mb_per_s": mb / median[case],
            "push_ratio": median[case] / median[PUSH],
        }
        for case, taken in rounds.wall.items()
    ]


def main() -> None:
    """Measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--mb", type=int, default=100, help="size of the blob in 10^6 bytes (default 100)")
    parser.add_argument(
        "--wait", type=float, default=10, help=f"seconds to wait for a load below {QUIET_LOAD} (default 10)"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    size = arguments.mb * 1_000_000
    loads = []
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        folder = Path(name)
        state = folder / "state"
        with sshd(folder / "sshd") as server, serving(state) as agent:
            cpu = Cpu(server.pid, agent.pid)
            measure(Rounds(cpu), server, state, folder, size)  # warms caches
            rounds = Rounds(cpu)
            for _ in range(arguments.n):
                loads.append(await_quiet(arguments.wait))
                measure(rounds, server, state, folder, size)
    rows = table(rounds, arguments.mb)
    for row in rows:
        cpu_s = "      " if row["cpu_s"] is None else f"{row['cpu_s']:6.2f}"
        print(
            f"{row['case']:15} {row['median_s']:6.3f} s  ({row['least_s']:.3f} .. {row['greatest_s']:.3f})"
            f"  CPU {cpu_s} s  {row['mb_per_s']:6.1f} MB/s  push has {row['push_ratio']:.2f} of it"
        )
    print("load before each round: " + " ".join(f"{load:.1f}" for load in loads))
    if arguments.json is not None:
        figures = {"bytes": size, "runs": arguments.n, "loads": loads, "cases": rows}
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
