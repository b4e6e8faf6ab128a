"""Who may sign: what can become a signer, and what lines of the files count."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent import signers, sshsig
from device_agent.errors import DeviceError, EdgeError, MissingDependency, RevokedKey, UntrustedSigner
from device_agent.protocol import TrustInfo
from device_agent.trust import describe
from tests.device_agent.trusted import edge_agent, keygen, public, sign


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key pair."""
    return keygen(tmp_path / "user")


def _first_two(key: Path) -> str:
    return " ".join(public(key).split()[:2])


LINES: dict[str, Callable[[Path], str]] = {
    "nothing": lambda key: "",
    "a certificate authority": lambda key: f"cert-authority {public(key)}",
    "a wildcard principal": lambda key: f"* {public(key)}",
    "options before the key": lambda key: f'namespaces="file" {public(key)}',
    "a validity by the clock": lambda key: f'valid-before="20990101" {public(key)}',
    "two keys": lambda key: public(key) + public(key),
    "a second line hidden by a carriage return": lambda key: public(key).strip() + "\r\n* " + public(key),
    "a private key": lambda key: key.read_text(),
    "a type that the blob does not have": lambda key: public(key).replace("ssh-ed25519 ", "ssh-rsa "),
    "a certificate": lambda key: public(key).replace("ssh-ed25519 ", "ssh-ed25519-cert-v01@openssh.com "),
    "half a blob": lambda key: _first_two(key)[:-30],
    "a blob that is not base64": lambda key: "ssh-ed25519 ????",
    "a DSA key": lambda key: public(key).replace("ssh-ed25519 ", "ssh-dss "),
    "a short RSA key": lambda key: public(keygen(key.with_name("short"), "rsa", 1024)),
    "100 kB": lambda key: public(key).strip() + "x" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("what", LINES)
def test_cannot_be_a_signer(tmp_path: Path, key: Path, what: str) -> None:
    """A line that is not one plain public key makes nobody a signer."""
    with pytest.raises(UntrustedSigner):
        signers.add(tmp_path / "state", LINES[what](key))
    assert not signers.load(tmp_path / "state").installed


@pytest.mark.parametrize("name", ["*", "a b", "x\ny", "", "-x", "x" * 65, "é", '"'])
def test_cannot_be_a_name(tmp_path: Path, key: Path, name: str) -> None:
    """A name that ssh-keygen would read as a pattern, or as several, is refused; an empty one is made up."""
    if not name:
        assert "user" == signers.add(tmp_path / "state", public(key), name).name
        return
    with pytest.raises(UntrustedSigner):
        signers.add(tmp_path / "state", public(key), name)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_kinds(tmp_path: Path, kind: str) -> None:
    """Keys of the kinds that people have can be signers; adding one twice changes nothing."""
    key = keygen(tmp_path / "user", kind)
    for _ in range(2):
        signer = signers.add(tmp_path / "state", public(key))
    assert (signer,) == signers.load(tmp_path / "state").allowed
    text = "what is signed"
    sshsig.verify(text.encode(), sign(text, key, "test"), "test", signer.key, ())
    with pytest.raises(EdgeError):
        sshsig.verify(b"something else", sign(text, key, "test"), "test", signer.key, ())
    with pytest.raises(EdgeError):  # ssh-keygen itself refuses what is revoked
        sshsig.verify(text.encode(), sign(text, key, "test"), "test", signer.key, (signer.key,))


@pytest.mark.parametrize(
    "line",
    [
        "* {key}",
        '* namespaces="edge-bundle@edge-deployment-sdk" {key}',
        'user namespaces="*" {key}',
        'user cert-authority,namespaces="edge-bundle@edge-deployment-sdk" {key}',
        'user namespaces="edge-bundle@edge-deployment-sdk",valid-before="20990101" {key}',
        "# a comment",
    ],
)
def test_lines_written_by_hand(tmp_path: Path, key: Path, line: str) -> None:
    """A line that the command would not write makes every signature be refused, and is named."""
    state = tmp_path / "state"
    signers.add(state, public(key))
    path = state / "trust/allowed_signers"
    path.write_text(path.read_text() + line.format(key=_first_two(key)) + "\n")
    with pytest.raises(DeviceError):
        signers.load(state)
    assert "did not write" in describe(state).problem


def test_links_are_not_followed(tmp_path: Path, key: Path) -> None:
    """A link in the place of the signers' file is refused."""
    state = tmp_path / "state"
    signers.add(state, public(key))
    path = state / "trust/allowed_signers"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError):
        signers.load(state)


def test_revoked_is_for_good(tmp_path: Path, key: Path) -> None:
    """By name, fingerprint or line; it stays refused, and with nobody left nothing is trusted."""
    state = tmp_path / "state"
    other = keygen(tmp_path / "other")
    for each in (key, other):
        signers.add(state, public(each))
    signers.revoke(state, "user")
    signers.revoke(state, signers.load(state).allowed[0].key.fingerprint)
    signers.revoke(state, public(other))
    with pytest.raises(RevokedKey):
        signers.add(state, public(key))
    with pytest.raises(UntrustedSigner):
        signers.revoke(state, "user")
    found = signers.load(state)
    assert ((), 2, True) == (found.allowed, len(found.revoked), found.installed)
    assert "require" == describe(state).policy


def test_files_are_private(tmp_path: Path, key: Path) -> None:
    """Nobody else may read or write the folder or its files."""
    state = tmp_path / "state"
    signers.add(state, public(key))
    modes = [
        path.stat().st_mode & 0o777 for path in (state, state / "trust", state / "trust/allowed_signers")
    ]
    assert [0o700, 0o700, 0o600] == modes


def test_the_command(tmp_path: Path, key: Path) -> None:
    """`edge-agent signers` adds from stdin, lists as JSON and revokes; an error is one line and a code."""
    state = tmp_path / "state"
    added = edge_agent(state, "signers", "add", "--name", "me@home", stdin=public(key))
    assert ("me@home", False) == (json.loads(added.stdout)[0]["name"], json.loads(added.stdout)[0]["revoked"])
    assert added.stdout == edge_agent(state, "signers", "list").stdout
    assert True is json.loads(edge_agent(state, "signers", "revoke", "me@home").stdout)[0]["revoked"]
    again = edge_agent(state, "signers", "add", stdin=public(key))
    assert (52, True) == (again.returncode, again.stderr.startswith("edge-agent: "))


def test_without_ssh_keygen(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that cannot check signatures refuses its first signer, by name, and says what is missing."""
    state = tmp_path / "state"
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="ssh-keygen is missing"):
        signers.add(state, public(key))
    assert ("off", "") == _policy(describe(state))
    monkeypatch.setenv("PATH", path)
    signers.add(state, public(key))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("require", "ssh-keygen is missing: no signature can be checked") == _policy(describe(state))
    with pytest.raises(MissingDependency):
        sshsig.verify(b"", "", "x", signers.load(state).allowed[0].key, ())


def _policy(info: TrustInfo) -> tuple[str, str]:
    return info.policy, info.problem
