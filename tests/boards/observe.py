"""What is run on a board to look at it from inside: small programs that need nothing but its Python."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from device_agent import parity, tensors
from device_agent.bundle import GOLDEN_INPUTS_TYPE, GOLDEN_OUTPUTS_TYPE, Bundle
from device_agent.protocol import DeploymentStatus
from tests.boards.emulator import Board

# names that must not resolve, and addresses that must not answer: public ones, the gateway, the host
NO_ROUTE = r"""
import json, socket, sys
names = ["example.com", "python.org", "debian.org", "kernel.org", "github.com"]
found = []
for name in names:
    try:
        found.append(name + " is " + socket.getaddrinfo(name, 443)[0][4][0])
    except OSError:
        pass
places = [("1.1.1.1", 443), ("9.9.9.9", 443), ("10.0.2.2", 80), ("10.0.2.2", 443), ("10.0.2.3", 53)]
places += [tuple(place) for place in json.loads(sys.argv[1])]
for host, port in places:
    try:
        socket.create_connection((host, port), timeout=5).close()
        found.append(f"{host} answers on port {port}")
    except OSError:
        pass
print("; ".join(found) or f"none of {len(names)} names resolves, none of {len(places)} addresses answers")
sys.exit(bool(found))
"""
OFFLINE_UNIT = """[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /var/tmp/offline-check.py
TimeoutStartSec=600
[Install]
WantedBy=multi-user.target
"""
OFFLINE_CHECK = r"""
import http.client, json, socket, time
class Agent(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/lib/edge-agent/agent.sock")
def ask(path, value=None):
    agent = Agent("agent", timeout=120)
    agent.request("POST" if value else "GET", path, json.dumps(value) if value else None,
                  {"Content-Type": "application/json"} if value else {})
    answer = agent.getresponse()
    return answer.status, json.loads(answer.read())
said, deadline = "", time.monotonic() + 300
while time.monotonic() < deadline:
    try:
        _, model = ask("/v2/models/resnet8")
        row = model["inputs"][0]
        size = 1
        for n in row["shape"]:
            size *= max(n, 1)
        shape = [max(n, 1) for n in row["shape"]]
        tensor = {"name": row["name"], "shape": shape, "datatype": row["datatype"], "data": [0] * size}
        status, answer = ask("/v2/models/resnet8/infer", {"inputs": [tensor]})
        said = f"answered {status} with {len(answer['outputs'][0]['data'])} values"
        if status == 200:
            break
    except Exception as e:
        said = f"failed: {e!r}"
    time.sleep(1)
with open("/dev/ttyAMA0", "w") as console:
    console.write(f"offline-check: {said}\n")
"""
# of a unit that was just restarted, and then left alone for a minute
FOOTPRINT = r"""
import os, re, subprocess, time
def show(name):
    command = ["systemctl", "show", "--value", "-p", name, "edge-agent"]
    return int(subprocess.run(command, capture_output=True, text=True).stdout)
ready = []
for _ in range(3):
    subprocess.run(["systemctl", "restart", "edge-agent"], check=True)
    ready.append((show("ActiveEnterTimestampMonotonic") - show("InactiveExitTimestampMonotonic")) / 1e6)
time.sleep(10)
pid = show("MainPID")
def written():
    with open(f"/proc/{pid}/io") as file:
        return int(re.search(r"^write_bytes: (\d+)", file.read(), re.M)[1])
def changed():
    found = {}
    for folder, _, names in os.walk("/var/lib/edge-agent"):
        for name in names:
            stat = os.lstat(os.path.join(folder, name))
            found[folder + "/" + name] = (stat.st_mtime_ns, stat.st_size)
    return found
before, files = written(), changed()
time.sleep(60)
bytes_written = written() - before
status = open(f"/proc/{pid}/status").read()
rollup = open(f"/proc/{pid}/smaps_rollup").read()
kb = {name: int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])
      for name, text in (("VmRSS", status), ("VmHWM", status), ("Pss", rollup))}
print(f"RSS {kb['VmRSS'] / 1024:.1f} MiB (most {kb['VmHWM'] / 1024:.1f}), Pss {kb['Pss'] / 1024:.1f} MiB, "
      f"{bytes_written} bytes written in 60 s, start to ready " + ", ".join(f"{s:.2f}" for s in ready) + " s")
raise SystemExit(kb["VmRSS"] > 35 * 1024 or bytes_written > 0 or files != changed())
"""
# the system's own: its logs, its state, and copies that useradd keeps of the files it writes
_OWN = (
    "^/(proc|sys|run|dev|tmp|var/tmp|var/log|var/cache|var/lib/systemd)/"
    "|^/etc/((passwd|group|g?shadow|sub[ug]id)-|.pwd.lock)$"
)
_LIST = (
    "sudo find / -xdev \\( -path /proc -o -path /sys -o -path /run \\) -prune -o -print "
    f"| grep -vE '{_OWN}'; "
    "sed 's/^/passwd /' /etc/passwd; sed 's/^/group /' /etc/group; sudo sed 's/^/shadow /' /etc/shadow; "
    # of a login there is a scope for as long as it lasts
    "systemctl list-unit-files --no-pager --no-legend --plain | grep -v ' transient ' | sed 's/^/unit /'; "
    "ls /var/lib/systemd/linger 2>/dev/null | sed 's/^/linger /'; "
    "ps -eo user= | sort -u | grep edge | sed 's/^/running /'"
)


def everything_on(board: Board) -> set[str]:
    """Every file, user, group and unit on a board, by name; of users and groups also their lines."""
    return set(board.run(_LIST).splitlines())


def on_host(board: Board, program: str) -> str:
    """Run NO_ROUTE on a board, with the places that this host itself fetches packages from."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    places = []
    for url in re.findall(r"index-url='([^']+)'", listed.stdout):
        found = urlsplit(url)
        port = found.port or (443 if found.scheme == "https" else 80)
        places += [(str(row[4][0]), port) for row in socket.getaddrinfo(found.hostname, port)][:2]
    command = f"python3 -I - '{json.dumps(places)}' <<'E'\n{program}\nE"
    return board.run(command).strip()


def answers(board: Board, *bundles: Bundle) -> DeploymentStatus:
    """Infer with what is active under the bundles' name, and compare with what the host computed.

    Raises:
        RuntimeError: none of the bundles is active and at rest, or its outputs are others.
    """
    with board.device() as device:
        status = next(one for one in device.deployments() if one.name == bundles[0].config.name)
        check_that(status.state in ("COMMITTED", "ROLLED_BACK"), f"at rest as {status.state}")
        bundle = next((one for one in bundles if one.manifest_digest == status.manifest_digest), None)
        if bundle is None:
            raise RuntimeError(f"what is active was never sent: {status.manifest_digest}")
        inputs, outputs = (
            tensors.unpack(bundle.read(bundle.manifest.layer(kind)))
            for kind in (GOLDEN_INPUTS_TYPE, GOLDEN_OUTPUTS_TYPE)
        )
        sent = {spec.name: inputs[f"0/{spec.name}"] for spec in bundle.config.inputs}
        expected = {spec.name: outputs[f"0/{spec.name}"] for spec in bundle.config.outputs}
        found = parity.compare([(expected, device.client.infer(status.name, sent))], bundle.config.tolerance)
    check_that(found.passed, parity.figures(found))
    return status


def check_that(holds: bool, otherwise: str) -> None:
    """RuntimeError with what was found instead."""
    if not holds:
        raise RuntimeError(otherwise)
