"""`SshConnection` against a real server: host keys, logins, commands, copies, jumps."""

from __future__ import annotations

import getpass
import os
import subprocess
import threading
from pathlib import Path

import pytest

from device_agent.errors import AgentUnreachable, DeviceError, DiskFull, FileMissing, HostKeyRefused
from edge_sdk.devices import ssh
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.host_keys import lookup_name, parse_key
from edge_sdk.devices.ssh import SshConnection
from edge_sdk.devices.ssh_keys import Passphrases
from tests.sshd import HOST, CuttingRelay, Sshd, free_port, keygen, small_disk, sshd


def connected(server: Sshd, **changes: object) -> None:
    """Connect once, and leave."""
    connection = SshConnection(server.settings(**changes), Passphrases(lambda _path: None))
    try:
        connection.connect()
        assert connection.alive
    finally:
        connection.close()
        assert not connection.alive


def other_key(folder: Path, name: str = "other") -> str:
    """The public half of a new key."""
    return keygen(folder / name).with_suffix(".pub").read_text()


def test_unknown_host_key_is_refused_with_its_fingerprint(server: Sshd, tmp_path: Path) -> None:
    """A host in no known_hosts file is refused; the error shows type, fingerprint and how to accept it."""
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(HostKeyRefused, match="not known yet") as caught:
        connected(server, known_hosts=empty, accept="`accept {fingerprint}`.")
    error = caught.value
    assert f"ssh-ed25519 {server.host_key.fingerprint}" == error.got
    assert f"`accept {server.host_key.fingerprint}`." in str(error)
    assert server.address == error.where


def test_changed_host_key_is_refused_with_both_fingerprints(server: Sshd, tmp_path: Path) -> None:
    """A host that is known by another key is refused, whether known_hosts or a pinned key says so."""
    public = other_key(tmp_path)
    other = parse_key(public, "test")
    file = tmp_path / "known_hosts"
    file.write_text(f"{lookup_name(HOST, server.port)} {public}")
    for changes in ({"known_hosts": file}, {"host_key": other}):
        with pytest.raises(HostKeyRefused, match="changed") as caught:
            connected(server, **changes)
        assert (f"ssh-ed25519 {server.host_key.fingerprint}", f"ssh-ed25519 {other.fingerprint}") == (
            caught.value.got,
            caught.value.expected,
        )


def test_revoked_host_key_is_refused(server: Sshd, tmp_path: Path) -> None:
    """A key marked @revoked is refused even where it is pinned."""
    file = tmp_path / "known_hosts"
    file.write_text(f"@revoked * {server.host_key}\n")
    with pytest.raises(HostKeyRefused, match="revoked"):
        connected(server, known_hosts=file, host_key=server.host_key)


def test_nothing_is_sent_before_the_host_key_is_right(server: Sshd, tmp_path: Path) -> None:
    """The server of a refused key sees no attempt to log in."""
    before = server.log().count("Connection closed by authenticating user")
    with pytest.raises(HostKeyRefused):
        connected(server, host_key=parse_key(other_key(tmp_path), "test"))
    log = server.log()
    assert before == log.count("Connection closed by authenticating user")


def test_hashed_known_hosts(server: Sshd, tmp_path: Path) -> None:
    """Entries that `ssh-keygen -H` has hashed are found, with their port."""
    file = tmp_path / "known_hosts"
    file.write_text(server.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert HOST not in file.read_text()
    connected(server, known_hosts=file)


def test_users_own_known_hosts_file(server: Sshd, own_settings: Path, tmp_path: Path) -> None:
    """~/.ssh/known_hosts is read without being named."""
    (own_settings / ".ssh/known_hosts").write_text(server.known_hosts.read_text())
    connected(server, known_hosts=None)


def test_known_hosts_file_that_is_missing_is_named(server: Sshd, tmp_path: Path) -> None:
    """A file that was asked for must be there."""
    with pytest.raises(FileMissing, match="nosuch"):
        connected(server, known_hosts=tmp_path / "nosuch")


def test_wrong_key_is_refused(server: Sshd, tmp_path: Path) -> None:
    """The error of a login that fails names the user and each key that was offered, and what to do."""
    key = keygen(tmp_path / "stranger")
    with pytest.raises(AgentUnreachable, match="refused every key") as caught:
        connected(server, identity=key)
    assert f"user {getpass.getuser()} with {key}" == caught.value.got
    assert "ssh-copy-id" in str(caught.value)


def test_no_key_at_all(server: Sshd) -> None:
    """A user without keys is told so; no password is ever asked for."""
    with pytest.raises(AgentUnreachable, match="no key at all"):
        connected(server, identity=None)


def test_missing_key_file(server: Sshd, tmp_path: Path) -> None:
    """A key file that was asked for and is not there is named."""
    with pytest.raises(FileMissing, match="nosuch"):
        connected(server, identity=tmp_path / "nosuch")


def test_default_key_files(server: Sshd, own_settings: Path) -> None:
    """Without a key of its own, the device gets those of ~/.ssh."""
    (own_settings / ".ssh/id_ed25519").write_bytes(server.identity.read_bytes())
    connected(server, identity=None)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_encrypted_keys(kind: str, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase comes from EDGE_SSH_PASSPHRASE; a wrong one and none are said apart."""
    key = keygen(tmp_path / kind, kind, passphrase="correct horse")
    with (server.folder / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    connection = SshConnection(server.settings(identity=key))
    with pytest.raises(AgentUnreachable, match="no terminal"):
        connection.connect()
    monkeypatch.setenv("EDGE_SSH_PASSPHRASE", "wrong")
    with pytest.raises(AgentUnreachable, match="passphrase is wrong"):
        connection.connect()
    monkeypatch.setenv("EDGE_SSH_PASSPHRASE", "correct horse")
    connection.connect()
    connection.close()


def test_ssh_agent(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the SSH agent are used, also for a key file that is encrypted."""
    key = keygen(tmp_path / "held", passphrase="secret")
    with (server.folder / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    socket_path = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
    try:
        while not socket_path.exists():
            pass
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o700)
        subprocess.run(
            ["ssh-add", "-q", key],
            env={**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
            check=True,
            stdin=subprocess.DEVNULL,
        )
        connected(server, identity=key)
        connected(server, identity=None)
    finally:
        process.terminate()
        process.wait(10)


def test_nothing_listens(server: Sshd) -> None:
    """A port without a server is said to be one."""
    with pytest.raises(AgentUnreachable, match="nothing listens"):
        connected(server, address=SshAddress(HOST, "x", free_port()))


def test_name_that_does_not_exist(server: Sshd) -> None:
    """A host that cannot be found is said to be that."""
    with pytest.raises(AgentUnreachable, match="no host of this name"):
        connected(server, address=SshAddress("nosuch.invalid", "x", 22))


def test_a_server_that_says_nothing(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts and stays silent ends with an error after the timeout."""
    import socket

    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server((HOST, 0)) as silent, pytest.raises(AgentUnreachable):
        connected(server, address=SshAddress(HOST, "x", silent.getsockname()[1]))


def test_run(server: Sshd) -> None:
    """Arguments arrive as they are, stdin and both outputs too; a status is no error."""
    connection = SshConnection(server.settings())
    odd = "a b'c\"$HOME;\n*"
    done = connection.run(["printf", "%s", odd])
    assert (0, odd.encode(), b"") == (done.status, done.stdout, done.stderr)
    done = connection.run(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"x" * 3_000_000)
    assert (3, 3_000_000, b"bad\n") == (done.status, len(done.stdout), done.stderr)
    assert 127 == connection.run(["no-such-program"]).status
    with pytest.raises(AgentUnreachable, match="did not end in time"):
        connection.run(["sleep", "60"], timeout_s=0.3)
    connection.close()


def test_a_connection_that_was_cut_is_made_again(server: Sshd) -> None:
    """What ran when the connection broke fails; the next command connects anew."""
    relay = CuttingRelay(server.port)
    port = {"address": SshAddress(HOST, getpass.getuser(), relay.port), "host_key": server.host_key}
    connection = SshConnection(server.settings(**port))
    assert 0 == connection.run(["true"]).status
    cutter = threading.Timer(0.3, relay.cut)
    cutter.start()
    with pytest.raises(AgentUnreachable):
        connection.run(["sleep", "60"])
    cutter.join()
    assert 0 == connection.run(["true"]).status
    connection.close()
    relay.close()


def test_put(server: Sshd, tmp_path: Path) -> None:
    """A file arrives whole with its mode and progress, replaces what was there, and nothing else is left."""
    source, folder = tmp_path / "source", tmp_path / "there"
    source.write_bytes(os.urandom(1_000_000))
    folder.mkdir()
    (folder / "file").write_text("old")
    connection = SshConnection(server.settings())
    seen: list[tuple[int, int]] = []
    connection.put(source, f"{folder}/file", mode=0o755, progress=lambda *step: seen.append(step))
    assert source.read_bytes() == (folder / "file").read_bytes()
    assert 0o755 == (folder / "file").stat().st_mode & 0o777
    assert ((0, 1_000_000), (1_000_000, 1_000_000)) == (seen[0], seen[-1])
    assert ["file"] == [path.name for path in folder.iterdir()]
    with pytest.raises(DeviceError, match="folder"):
        connection.put(source, f"{folder}/no/file", mode=0o600, progress=lambda *_: None)
    with pytest.raises(FileMissing):
        connection.put(tmp_path / "nosuch", f"{folder}/x", mode=0o600, progress=lambda *_: None)
    connection.close()


def test_put_that_fails_leaves_nothing(server: Sshd, tmp_path: Path) -> None:
    """Where the copy cannot take its place, the partial file is removed."""
    source, folder = tmp_path / "source", tmp_path / "there"
    source.write_bytes(b"x")
    (folder / "file").mkdir(parents=True)  # a folder cannot be replaced by a file
    connection = SshConnection(server.settings())
    with pytest.raises(DeviceError):
        connection.put(source, f"{folder}/file", mode=0o600, progress=lambda *_: None)
    assert ["file"] == [path.name for path in folder.iterdir()]
    connection.close()


def test_proxy_jump(server: Sshd, own_settings: Path, tmp_path: Path) -> None:
    """A device behind another is reached through it, each with its own host key, user and port."""
    with sshd(tmp_path / "inner", "AllowTcpForwarding no") as inner:
        config = own_settings / ".ssh/config"
        config.write_text(
            f"Host jump\n  HostName {HOST}\n  Port {server.port}\n  IdentityFile {server.identity}\n"
            f"Host inner\n  HostName {HOST}\n  Port {inner.port}\n  IdentityFile {inner.identity}\n"
            "  ProxyJump jump\n"
            "Host twice\n  HostName 127.0.0.1\n"
            f"  Port {inner.port}\n  IdentityFile {inner.identity}\n  ProxyJump jump,jump\n"
            f"Host command\n  HostName nosuch.invalid\n  HostKeyAlias {lookup_name(HOST, inner.port)}\n"
            f"  IdentityFile {inner.identity}\n"
            f"  ProxyCommand ssh -F {config} -o UserKnownHostsFile={server.known_hosts} "
            f"-W {HOST}:{inner.port} jump\n"
        )
        common = {"config": config, "identity": None, "known_hosts": None}
        with pytest.raises(HostKeyRefused, match="jump host"):
            connected(inner, address=SshAddress("inner"), **common)
        known = server.known_hosts.read_text() + inner.known_hosts.read_text()
        (own_settings / ".ssh/known_hosts").write_text(known)
        for name in ("inner", "twice", "command"):
            connected(inner, address=SshAddress(name), **common)


def test_proxy_command_that_fails(server: Sshd, own_settings: Path) -> None:
    """A ProxyCommand that ends is an error at once."""
    config = own_settings / ".ssh/config"
    config.write_text("Host away\n  ProxyCommand false\n")
    with pytest.raises(AgentUnreachable):
        connected(server, address=SshAddress("away", "x"), config=config)


@pytest.mark.parametrize("kib", [64, 1024, 3000])
def test_put_onto_a_full_disk(tmp_path: Path, kib: int) -> None:
    """A copy that does not fit is DiskFull, with what is free; nothing of it stays; one that fits works."""
    disk = tmp_path / "disk"
    disk.mkdir()
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(os.urandom(4 << 20))
    small.write_bytes(b"it fits")
    with sshd(tmp_path / "sshd", wrapper=small_disk(disk, f"{kib}k")) as server:
        connection = SshConnection(server.settings())
        try:
            with pytest.raises(DiskFull, match="no room on the device") as caught:
                connection.put(large, f"{disk}/large", mode=0o600, progress=lambda *_: None)
            assert f"{server.address}:{disk}/large" == caught.value.where
            assert b"" == connection.run(["ls", "-A", str(disk)]).stdout
            connection.put(small, f"{disk}/large", mode=0o600, progress=lambda *_: None)
            assert b"it fits" == connection.run(["cat", f"{disk}/large"]).stdout
        finally:
            connection.close()
    assert [] == list(disk.iterdir())
