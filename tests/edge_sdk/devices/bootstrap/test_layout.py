"""What an installation writes, rendered from facts."""

import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from edge_sdk.devices.bootstrap import layout as layouts
from tests.edge_sdk.devices.bootstrap.conftest import facts

PI = facts("rpi4_bookworm")


def test_the_places_of_each_service() -> None:
    """A system's places are the system's, a user's are under the home; XDG_STATE_HOME is honoured."""
    system = layouts.layout(PI, "system")
    assert ("/opt/edge-agent", "/var/lib/edge-agent", "edge-agent") == (
        system.root,
        system.state,
        system.user,
    )
    assert () == system.parents
    user = layouts.layout(PI, "user")
    assert ("/home/pi/.local/share/edge-agent", None) == (user.root, user.user)
    assert "/home/pi/.config/systemd/user/edge-agent.service" == user.unit
    plain = layouts.layout(attrs.evolve(PI, state_home="/data"), "plain")
    assert ("/data/edge-agent", None) == (plain.state, plain.unit)
    assert "/home/pi/.local/share/edge-agent/supervise" == plain.supervise


def test_the_units_restrict_the_agent() -> None:
    """Its own user, no network, no new rights, a watchdog; no ban on code made at run time."""
    unit = layouts.unit(layouts.layout(PI, "system"), "/usr/bin/python3.11").splitlines()
    assert {
        "User=edge-agent", "StateDirectory=edge-agent", "NoNewPrivileges=yes", "ProtectSystem=strict",
        "PrivateTmp=yes", "RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "WatchdogSec=60",
        "ProtectHome=yes", "ExecStart=/usr/local/bin/edge-agent serve",
    } <= {*unit}  # fmt: skip
    assert not any(line.startswith("MemoryDenyWriteExecute") for line in unit)
    from_home = layouts.unit(layouts.layout(PI, "system"), "/home/pi/.pyenv/bin/python3.12")
    assert "ProtectHome=read-only\n" in from_home


@pytest.mark.parametrize("service", ["system", "user"])
def test_systemd_takes_the_units(service: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to complain of."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    where = attrs.evolve(layouts.layout(PI, service), launcher="/bin/true", user="daemon")
    path = tmp_path / "edge-agent.service"
    path.write_text(layouts.unit(where, "/usr/bin/python3"))
    scope = ["--user"] if service == "user" else []
    done = subprocess.run(
        ["systemd-analyze", "verify", *scope, path],
        capture_output=True,
        text=True,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze does not run here: {done.stderr.strip()[-200:]}")
    assert "" == "".join(line for line in done.stderr.splitlines() if "edge-agent" in line)


def test_paths_are_quoted() -> None:
    """A home with a space or a quote in it stays one word in the scripts."""
    odd = attrs.evolve(PI, home="/home/o'b rien")
    where = layouts.layout(odd, "plain")
    for text in (layouts.launcher(where), layouts.supervisor(where)):
        done = subprocess.run(
            ["sh", "-c", text.split("\n\n")[0] + '\nprintf %s "$root"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert where.root == done.stdout
