"""`edge forward` and `edge devices`."""

import http.client
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_sdk.devices.lifecycle import find_agent

Run = Callable[..., Any]


def test_forward_until_ctrl_c(run: Run, spawn: Run, state: Path, make_model: Run) -> None:
    """The chosen port is printed, serves the inference protocol, and Ctrl-C ends all of it cleanly."""
    run("deploy", make_model(), "--target", "null", "--device", "local", "--no-bench")
    process = spawn("forward", "--port", "0", "--json", "-")
    at = json.loads(process.stdout.readline())
    assert f"http://{at['host']}:{at['port']}" == at["url"]
    connection = http.client.HTTPConnection(at["host"], at["port"], timeout=10)
    connection.request("GET", "/v2/models/toy")
    assert "toy" == json.loads(connection.getresponse().read())["name"]
    process.send_signal(signal.SIGINT)  # while a connection is open
    _, err = process.communicate(timeout=30)
    connection.close()
    assert (0, "stopped") == (process.returncode, err.strip())
    assert find_agent() is None


def test_devices_list_contacts_nothing(run: Run, state: Path) -> None:
    """The list holds the addresses there are and starts no agent."""
    assert ["local", "fake"] == [row["address"] for row in run("devices", "list", "--json", "-").json]
    assert "fake" in run("devices", "list").out
    assert not state.exists()


def test_show_an_empty_device(run: Run, state: Path) -> None:
    """A device with nothing on it is described all the same."""
    done = run("devices", "show")
    assert 0 == done.code
    assert "Nothing is deployed." in done.out
    assert max(map(len, done.out.splitlines())) <= 80
