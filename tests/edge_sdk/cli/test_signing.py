"""Signing from the command line: signers of a device, deployments signed by themselves and beforehand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent import sshsig
from edge_sdk import pipeline, signing
from edge_sdk.devices.lifecycle import stop_agent
from edge_sdk.devices.local_remote import LocalRemote
from edge_sdk.devices.signers import RemoteSigners, introduce
from tests.sshd import Sshd, bridge, keygen

Run = Callable[..., Any]
NO_BENCH = ("--no-bench", "--json", "-")


@pytest.fixture
def kitchen(run: Run, server: Sshd, agent: Path) -> str:
    """A registered device behind SSH, without a signer."""
    done = run(
        "devices", "add", "kitchen", server.address, "--target", "null", "--identity", server.identity,
        "--known-hosts", server.known_hosts, "--agent-command", bridge(agent),
    )  # fmt: skip
    assert 0 == done.code, done.err
    return "kitchen"


@pytest.fixture
def local(state: Path) -> Iterator[Path]:
    """The state folder of this user's own agent."""
    yield state
    stop_agent()


def test_over_ssh(run: Run, kitchen: str, server: Sshd, make_model: Run, tmp_path: Path) -> None:
    """Unsigned until the first signer; then signed with the device's identity; then its key is revoked."""
    first = run("deploy", make_model(width=4), "--device", kitchen, *NO_BENCH).json
    assert (False, "not signed: no signer is installed on the device") == (
        first["signature"]["signed"], first["signature"]["note"]
    )  # fmt: skip
    added = run("devices", "signers", "add", kitchen, server.identity, "--name", "me", "--json", "-")
    assert 0 == added.code, added.err
    fingerprint = sshsig.parse_key(Path(f"{server.identity}.pub").read_text()).fingerprint
    assert [(fingerprint, "me", False)] == [
        (row["fingerprint"], row["name"], row["revoked"]) for row in added.json
    ]
    done = run("deploy", make_model(width=5), "--device", kitchen, *NO_BENCH)
    assert 0 == done.code, done.err
    signature = done.json["signature"]
    assert (True, fingerprint, 1) == (signature["signed"], signature["signer"], signature["generation"])
    again = run("deploy", make_model(width=5), "--device", kitchen, *NO_BENCH).json
    assert (True, 1) == (again["unchanged"], again["signature"]["generation"])
    text = run("deploy", make_model(width=6), "--device", kitchen, "--no-bench").out
    assert "generation 2 by SHA256:" in " ".join(text.split())
    assert "signed bundles only, 1 signer" in run("devices", "doctor", kitchen).out
    assert "require" in run("devices", "show", kitchen).out
    stranger = keygen(tmp_path / "stranger")
    assert (
        51 == run("deploy", make_model(width=7), "--device", kitchen, "--sign-key", stranger, *NO_BENCH).code
    )
    revoked = run("devices", "signers", "revoke", kitchen, "me")
    assert (0, True) == (revoked.code, "revoked" in revoked.out)
    assert 51 == run("deploy", make_model(width=7), "--device", kitchen, *NO_BENCH).code
    refused = run(
        "deploy", make_model(width=7), "--device", kitchen, "--sign-key", server.identity, *NO_BENCH
    )
    assert 52 == refused.code
    assert 52 == run("devices", "signers", "add", kitchen, server.identity).code
    assert 3 == run("devices", "show", kitchen, "--json", "-").json["deployments"][0]["generation"]


def test_signed_beforehand(run: Run, local: Path, make_model: Run, tmp_path: Path) -> None:
    """Converted and signed without the device, deployed as it was signed; another one is refused."""
    key = keygen(tmp_path / "mine")
    assert 0 == run("devices", "signers", "add", "local", f"{key}.pub").code
    assert "may sign" in run("devices", "signers", "list").out
    device_id = run("devices", "show", "local", "--json", "-").json["agent"]["trust"]["device_id"]
    folder = tmp_path / "out"
    converted = run("convert", make_model(width=4), "--target", "null", "-o", folder)
    assert 0 == converted.code, converted.err
    bundle = folder / "bundle"
    signed = run("sign", bundle, "--key", key, "--device", device_id, "--generation", "5", "--json", "-")
    assert (0, 5) == (signed.code, signed.json["generation"]), signed.err
    done = run("deploy", bundle, "--device", "local", "--json", "-")
    assert (0, 1, 5) == (done.code, done.json["generation"], done.json["signature"]["generation"]), done.err
    assert True is run("deploy", bundle, "--device", "local", "--json", "-").json["unchanged"]
    other = run("sign", bundle, "--key", key, "--selector", "target:rpi5", "--generation", "6")
    assert 0 == other.code, other.err
    assert 55 == run("deploy", bundle, "--device", "local").code
    assert 0 == run("convert", make_model(width=5), "--target", "null", "-o", folder, "--name", "toy").code
    assert signing.stored(pipeline.open_bundle(bundle)) is None  # another bundle is not signed
    assert 51 == run("deploy", bundle, "--device", "local").code
    by_key = run("deploy", bundle, "--device", "local", "--sign-key", key)
    assert (0, True) == (by_key.code, "generation 6 by SHA256:" in by_key.out), by_key.err


def test_wrong_options(run: Run, make_bundle: Run, tmp_path: Path) -> None:
    """No device, no such key, a generation or a selector that is none."""
    bundle, key = make_bundle().path, keygen(tmp_path / "mine")
    generation = ("--generation", "1")
    assert 2 == run("sign", bundle, "--key", key, *generation).code
    assert 2 == run("sign", bundle, "--key", key, "--selector", "rpi4", *generation).code
    assert 2 == run("sign", bundle, "--key", key, "--device", "x", "--generation", "0").code
    assert 2 == run("sign", bundle, "--key", key, "--device", "x", "--generation", str(1 << 60)).code
    assert 2 == run("sign", bundle, "--key", key, "--device", "x", *generation, "--least-agent", "new").code
    assert 3 == run("sign", bundle, "--key", tmp_path / "none", "--device", "x", *generation).code
    assert 3 == run("sign", tmp_path / "none", "--key", key, "--device", "x", *generation).code
    assert 51 == run("sign", bundle, "--key", bundle / "index.json", "--device", "x", *generation).code


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encrypted key signs with the passphrase of the environment, and any key out of the SSH agent."""
    encrypted = keygen(tmp_path / "encrypted", passphrase="secret")
    key = signing.key_at(encrypted)
    monkeypatch.setenv("EDGE_SSH_PASSPHRASE", "secret")
    for found in (key, signing.key_at(Path(f"{encrypted}.pub"))):
        sshsig.verify(b"text", found.sign("text"), signing.NAMESPACE, key.public, ())
    started = subprocess.run(
        ["ssh-agent", "-a", tmp_path / "s", "-s"], capture_output=True, text=True, check=True
    )
    pid = started.stdout.partition("SSH_AGENT_PID=")[2].partition(";")[0]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "s"))
    try:
        held = keygen(tmp_path / "held")
        subprocess.run(["ssh-add", "-q", held], check=True, capture_output=True)
        fingerprint = signing.key_at(held).public.fingerprint
        held.unlink()
        agents = signing.find_key([fingerprint], [tmp_path / "none", encrypted])
        assert agents is not None
        assert "held (in the SSH agent)" == agents.label
        sshsig.verify(b"text", agents.sign("text"), signing.NAMESPACE, agents.public, ())
    finally:
        subprocess.run(["kill", pid], check=True)
    assert signing.find_key(["SHA256:none"], [encrypted]) is None


def test_introduction(tmp_path: Path, server: Sshd, agent: Path) -> None:
    """A device is told its board, and the key that logged in signs for it; without one that is said."""
    remote = LocalRemote(tmp_path)
    (tmp_path / ".local/bin").mkdir(parents=True)
    command = tmp_path / ".local/bin/edge-agent"
    run = bridge(agent).replace(" connect ", ' "$@" ')
    command.write_text(f"#!/bin/sh\ncd {Path(__file__).parents[3]}\nexec {run}\n")
    command.chmod(0o755)
    assert "no key logged in" in introduce(remote, "rpi4", None)
    assert () == RemoteSigners(remote).rows()
    from edge_sdk.devices.ssh import SshConnection

    connection = SshConnection(server.settings())
    try:
        connection.connect()
        remote.login_key = connection.login_key
    finally:
        connection.close()
    assert "may sign for it" in introduce(remote, "rpi4", None)
    public = sshsig.parse_key(Path(f"{server.identity}.pub").read_text())
    assert [("installer", public.fingerprint)] == [
        (row.name, row.fingerprint) for row in RemoteSigners(remote).rows()
    ]
    RemoteSigners(remote).revoke("installer")
    assert "no signer was installed" in introduce(remote, "rpi4", None)
