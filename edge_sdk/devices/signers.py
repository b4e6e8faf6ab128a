"""Who may sign for a device: `edge-agent signers`, run there as the agent's own user over SSH.

The socket has no route for it, so whoever can reach only that cannot make themselves a signer.
"""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from device_agent import codec, home, identity, signers, sshsig
from device_agent.errors import (
    DeviceError,
    EdgeError,
    FileMissing,
    InvalidRequest,
    MissingDependency,
    ProtocolError,
    RevokedKey,
    UntrustedSigner,
    tree,
)
from device_agent.signers import SignerRow
from edge_sdk.devices.remote import Remote
from edge_sdk.devices.transports.ssh import DEFAULT_AGENT_COMMAND

_SAFE = re.compile(r"[A-Za-z0-9@._+-]{1,64}")
_CONNECT = re.compile(r"(?<=\s)connect(?![\w./-])")
Rows = tuple[SignerRow, ...]


class LocalSigners:
    """The signers of this user's own agent on this machine."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self._state = state_dir or home.default_state_dir()

    def rows(self) -> Rows:
        """Every key, the revoked ones last."""
        return signers.load(self._state).rows()

    def add(self, line: str, name: str | None = None) -> Rows:
        """Make a public key's line one of the signers."""
        signers.add(self._state, line, name)
        return self.rows()

    def revoke(self, what: str) -> Rows:
        """Trust a key no more: a name, a fingerprint or a line."""
        signers.revoke(self._state, what)
        return self.rows()

    def set_target(self, target: str) -> None:
        """Tell the device which board it is."""
        identity.set_target(self._state, target)


@frozen
class RemoteSigners:
    """The signers of a device that commands can be run on.

    Args:
        remote: the device.
        agent_command: what leads to the agent there, as the inventory has it, with the word `connect`.
    """

    remote: Remote
    agent_command: str = DEFAULT_AGENT_COMMAND

    def rows(self) -> Rows:
        """Every key, the revoked ones last."""
        return self._rows("signers list", "")

    def add(self, line: str, name: str | None = None) -> Rows:
        """Make a public key's line one of the signers."""
        return self._rows("signers add" + (f" --name {_plain(name)}" if name is not None else ""), line)

    def revoke(self, what: str) -> Rows:
        """Trust a key no more: a name, a fingerprint or a line."""
        return self._rows("signers revoke", what)

    def set_target(self, target: str) -> None:
        """Tell the device which board it is."""
        self._run(f"identity --target {_plain(target)}", "")

    def _rows(self, words: str, stdin: str) -> Rows:
        answer = self._run(words, stdin)
        try:
            return codec.from_json(answer, Rows, where=self.remote.address)
        except InvalidRequest as e:
            raise ProtocolError(
                "the agent's answer has another form", where=self.remote.address, got=repr(answer[:200])
            ) from e

    def _run(self, words: str, stdin: str) -> bytes:
        found = _CONNECT.search(self.agent_command)
        if found is None:
            raise InvalidRequest("the agent's command has no word `connect`", got=self.agent_command)
        command = f"{self.agent_command[: found.start()]}{words}{self.agent_command[found.end() :]}"
        done = self.remote.run(("sh", "-c", command), stdin=stdin.encode())
        if done.status:
            said = done.stderr.decode(errors="replace").strip()
            kinds = {kind.exit_code: kind for kind in tree(EdgeError)}
            kind = kinds.get(done.status, DeviceError) if said.startswith("edge-agent: ") else DeviceError
            raise kind(f"`edge-agent {words}` failed", where=self.remote.address, got=said[-500:])
        return done.stdout


def _plain(word: str) -> str:
    if not _SAFE.fullmatch(word):
        raise InvalidRequest("not a plain name", got=repr(word[:80]), expected="letters, digits, @ . _ + -")
    return word


def public_line(path: Path) -> str:
    """The line of a public key file, or of the one beside a private key.

    Raises:
        FileMissing: there is none. UntrustedSigner: it holds no key that can be a signer.
    """
    path = path.expanduser()
    file = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        line = file.read_text("ascii", errors="replace").strip()
    except OSError as e:
        raise FileMissing(
            "no public key here", where=str(file), got=e.strerror, next_step="`ssh-keygen -y` makes one."
        ) from e
    sshsig.parse_key(line)
    return line


def introduce(remote: Remote, target: str, key: str | None) -> str:
    """Tell a newly installed device which board it is, and make the installer's key its signer.

    Args:
        remote: the device, connected.
        target: its board's name.
        key: the public key's line; the one that logged in if None.

    Returns:
        What was done, or why nothing was.

    Raises:
        DeviceError: a command failed on the device.
    """
    there = RemoteSigners(remote)
    there.set_target(target)
    line = key or remote.login_key
    if line is None:
        return "no signer is installed, because no key logged in: `edge devices signers add` installs one"
    fingerprint = sshsig.parse_key(line).fingerprint
    try:
        there.add(line, None if key is not None else "installer")
    except (MissingDependency, RevokedKey, UntrustedSigner) as e:
        return f"no signer was installed: {e}"
    return f"{fingerprint} may sign for it: it takes signed bundles only"
