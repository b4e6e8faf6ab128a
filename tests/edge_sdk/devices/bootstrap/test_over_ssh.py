"""The whole life of an agent on a device that is reached over a real SSH server, by the commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.edge_sdk.devices.bootstrap.conftest import processes, tree
from tests.sshd import sshd


def edge(*arguments: object, code: int = 0) -> str:
    """Run `edge`, check its exit code, and give what it printed."""
    command = [sys.executable, "-c", "from edge_sdk.cli.main import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert code == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_install_deploy_and_uninstall(home: Path, tmp_path: Path) -> None:
    """A device without an agent gets one, runs a model, and is left as it was found."""
    model = tmp_path / "toy.null.json"
    spec = {"name": "x", "dtype": "float32", "shape": [1, 4]}
    model.write_text(json.dumps({"inputs": [spec], "outputs": [{**spec, "name": "y"}]}))
    before = tree(home)
    with sshd(tmp_path / "sshd", env=f"HOME={home}") as server:
        edge("devices", "add", "box", server.address, "--target", "null", "--identity", server.identity,
             "--known-hosts", server.known_hosts)  # fmt: skip
        edge("deploy", model, "--device", "box", "--no-bench", code=21)  # no agent there yet
        installed = json.loads(edge("devices", "install", "box", "--service", "plain", "--json", "-"))
        assert ("installed", "plain") == (installed["action"], installed["service"])
        again = json.loads(edge("devices", "install", "box", "--json", "-"))
        assert ("unchanged", 0) == (again["action"], again["sent_bytes"])
        assert (
            "may sign for it" in installed["signer"]
        )  # the key that logged in, with which all is signed now
        deployed = json.loads(edge("deploy", model, "--device", "box", "--json", "-"))
        assert (1, True) == (deployed["generation"], deployed["parity"]["passed"])
        assert (True, 1) == (deployed["signature"]["signed"], deployed["signature"]["generation"])
        edge("devices", "doctor", "box")
        edge("devices", "uninstall", "box")
        edge("deploy", model, "--device", "box", "--no-bench", code=21)
    assert [] == processes(home)
    assert before == tree(home)
