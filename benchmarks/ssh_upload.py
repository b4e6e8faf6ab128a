"""Push of a blob to an agent over SSH, against `scp` of the same file to the same server.

    python benchmarks/ssh_upload.py [-n 5] [--mb 100] [--json FILE]

Starts an OpenSSH server and an agent on loopback. Rounds are interleaved: each pushes a blob of new random
bytes to the agent (connecting, checking every chunk, syncing it, hashing the whole: all that `edge deploy`
does to have it there) and copies the same file with `scp`, then with `scp` and `sync` of the copy, which is
the fair peer: the agent never says that it has a chunk which a power cut could take. Prints medians and
ratios of throughput.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device_agent.bundle import MODEL_TYPE, BundleConfig, TensorSpec, write_bundle
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.transports.ssh import SshTransport
from edge_sdk.devices.upload import push
from tests.sshd import HOST, Sshd, bridge, serving, sshd


def push_bundle(server: Sshd, state: Path, blob: bytes, folder: Path) -> float:
    """Seconds that a push of `blob` takes, from connecting to the agent's answer that it has it."""
    spec = TensorSpec("x", "float32", (1, 1))
    config = BundleConfig(
        name="big", target="null", architecture="host", runtime="null", runtime_version="1", model="model",
        inputs=(spec,), outputs=(spec,), tolerance={"x": 0.0}, source_sha256="0" * 64,
        precision="float32", golden_samples=0,
    )  # fmt: skip
    bundle = write_bundle(folder, config, {"model": (MODEL_TYPE, blob)})
    transport = SshTransport(server.settings(), bridge(state))
    begin = time.perf_counter()
    transport.open()
    client = AgentClient(transport)
    sent = push(client, bundle, lambda *_: None)
    taken = time.perf_counter() - begin
    client.close()
    transport.close()
    if sent < len(blob):
        sys.exit(f"only {sent} bytes were sent")
    return taken


def scp(server: Sshd, source: Path, target: Path, *, sync: bool) -> float:
    """Seconds that `scp` takes, with the sync of what it wrote if `sync`."""
    options = [
        "-F", "none", "-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes",
        "-o", "IdentitiesOnly=yes", "-i", str(server.identity),
    ]  # fmt: skip
    place = f"{getpass.getuser()}@{HOST}"
    begin = time.perf_counter()
    subprocess.run(
        ["scp", "-q", *options, "-P", str(server.port), str(source), f"{place}:{target}"], check=True
    )
    if sync:
        command = ["ssh", *options, "-p", str(server.port), place, "sync", str(target)]
        subprocess.run(command, check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--mb", type=int, default=100, help="size of the blob in 10^6 bytes (default 100)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    size = arguments.mb * 1_000_000
    times: dict[str, list[float]] = {"push": [], "scp": [], "scp and sync": []}
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        folder = Path(name)
        state = folder / "state"
        with sshd(folder / "sshd") as server, serving(state):
            for run in range(arguments.n + 1):
                blob = os.urandom(size)
                source, target = folder / "source", folder / "target"
                source.write_bytes(blob)
                round_times = {
                    "push": push_bundle(server, state, blob, folder / "bundle"),
                    "scp": scp(server, source, target, sync=False),
                    "scp and sync": scp(server, source, target, sync=True),
                }
                if run:  # the first round only warms caches
                    for case, taken in round_times.items():
                        times[case].append(taken)
    medians = {case: statistics.median(taken) for case, taken in times.items()}
    rows = [
        {
            "case": case,
            "median_s": medians[case],
            "least_s": min(taken),
            "greatest_s": max(taken),
            "mb_per_s": arguments.mb / medians[case],
            "push_ratio": medians[case] / medians["push"],
        }
        for case, taken in times.items()
    ]
    for row in rows:
        print(
            f"{row['case']:14} {row['median_s']:6.3f} s  ({row['least_s']:.3f} .. {row['greatest_s']:.3f})"
            f"  {row['mb_per_s']:6.1f} MB/s  push has {row['push_ratio']:.2f} of its throughput"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"bytes": size, "runs": arguments.n, "cases": rows}, indent=1))


if __name__ == "__main__":
    main()
