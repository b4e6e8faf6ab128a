"""Sign bundles with the user's SSH key: which key, what is said, and what a report tells of it.

`ssh-keygen -Y sign` makes the signature, from a private key file or with a key that the SSH agent holds.
What is signed is `device_agent.statement`'s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from device_agent import sshsig, statement
from device_agent.bundle import SIGNATURE_FILE, STATEMENT_FILE, Bundle
from device_agent.errors import (
    EdgeError,
    FileMissing,
    InvalidBundle,
    InvalidRequest,
    OutputError,
    UntrustedSigner,
)
from device_agent.protocol import SignatureStatus, TrustInfo
from device_agent.sshsig import PublicKey
from device_agent.statement import MAX_GENERATION, NAMESPACE, Selector
from device_agent.trust import OFF, REQUIRE, UNSIGNED, Offer
from edge_sdk.devices.ssh_keys import PASSPHRASE_VARIABLE
from edge_sdk.signature import Signature

PROMPT_S = 120.0  # for a passphrase that is typed, or a security key that is touched
LEAST_AGENT = "0.1.0"  # the first that knows of statements


@frozen
class SigningKey:
    """A key to sign with. `path` is its private or public file; None: the SSH agent holds it."""

    public: PublicKey
    path: Path | None

    @property
    def label(self) -> str:
        """What to call it."""
        return str(self.path) if self.path is not None else f"{self.public.comment} (in the SSH agent)"

    def sign(self, text: str) -> str:
        """The armored signature of a text.

        Raises:
            UntrustedSigner: the private key is not to be had.
            MissingDependency: there is no ssh-keygen.
        """
        with tempfile.TemporaryDirectory(prefix="edge-sign-") as folder:
            path = self.path
            if path is None:
                path = Path(folder) / "key.pub"
                path.write_text(f"{self.public}\n")
            words = ["-Y", "sign", "-n", NAMESPACE, "-f", str(path)]
            done = sshsig.run(words, text.encode(), environment=_askpass(Path(folder)), timeout_s=PROMPT_S)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise UntrustedSigner(
                "the key cannot sign",
                where=self.label,
                got=said[-200:],
                next_step=f"Load it with `ssh-add {self.path or ''}`, or set {PASSPHRASE_VARIABLE}.",
            )
        return done.stdout.decode("ascii")


def key_at(path: Path) -> SigningKey:
    """The key of a private or public key file; an encrypted one is not decrypted for that.

    Raises:
        FileMissing: no such file. UntrustedSigner: it holds no key that can be a signer.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileMissing("no such key file", where=str(path))
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    if public.is_file():
        return SigningKey(sshsig.parse_key(_read(public)), path)
    done = sshsig.run(["-y", "-P", "", "-f", str(path)], b"")
    if done.returncode:
        raise UntrustedSigner(
            "the key's public half cannot be read",
            where=str(path),
            got=done.stderr.decode(errors="replace").strip()[-200:],
            next_step=f"Put it beside it: `ssh-keygen -y -f {path} > {path}.pub`.",
        )
    return SigningKey(sshsig.parse_key(done.stdout.decode(errors="replace")), path)


def find_key(trusted: Sequence[str], files: Iterable[Path]) -> SigningKey | None:
    """The first of the user's keys that is one of a device's signers.

    Args:
        trusted: the signers' fingerprints.
        files: private key files to look at; the SSH agent's keys come after them.
    """
    for path in files:
        with suppress(EdgeError):  # it is not there, or no signer: another may be
            key = key_at(path)
            if key.public.fingerprint in trusted:
                return key
    for line in _agent_keys():
        with suppress(UntrustedSigner):  # of a kind that cannot sign for a device
            public = sshsig.parse_key(line)
            if public.fingerprint in trusted:
                return SigningKey(public, None)
    return None


def sign(
    bundle: Bundle,
    key: SigningKey,
    selector: Selector,
    generation: int,
    *,
    least_agent: str = LEAST_AGENT,
) -> Offer:
    """What a device needs to see that a bundle is meant for it.

    Raises:
        InvalidRequest: a value that cannot be.
        UntrustedSigner: the private key is not to be had.
    """
    if not 1 <= generation <= MAX_GENERATION:
        raise InvalidRequest("a generation is out of range", got=str(generation), expected="from 1")
    text = statement.dumps(statement.statement_of(bundle, selector, generation, agent_version=least_agent))
    try:
        statement.parse(text)
    except InvalidBundle as e:
        raise InvalidRequest(e.what, where=e.where, got=e.got, expected=e.expected) from e
    return Offer(text, key.sign(text))


def store(bundle: Bundle, offer: Offer) -> None:
    """Keep a statement and its signature in the bundle's folder; OutputError where that cannot be done."""
    try:
        (bundle.path / STATEMENT_FILE).write_text(offer.statement)
        (bundle.path / SIGNATURE_FILE).write_text(offer.signature)
    except OSError as e:
        raise OutputError("cannot write the signature", where=str(bundle.path), got=str(e)) from e


def stored(bundle: Bundle) -> Offer | None:
    """What `store` kept with a bundle; None where it is not signed."""
    path = bundle.path / STATEMENT_FILE
    return Offer(_read(path), _read(bundle.path / SIGNATURE_FILE)) if path.is_file() else None


def prepare(
    trust: TrustInfo | None,
    bundle: Bundle,
    status: Callable[[], SignatureStatus],
    files: Callable[[], Iterable[Path]],
    *,
    sign_key: Path | None,
) -> tuple[Offer, Signature]:
    """Decide how a bundle is signed for a device, and sign it.

    Args:
        trust: what the device asks for; None from an agent that knows of no signatures.
        bundle: what is to be deployed.
        status: asks the device what was signed under the bundle's name.
        files: the user's key files for that device.
        sign_key: the key to use, whatever the device says.

    Raises:
        UntrustedSigner: the device requires a signature, and no key of the user's is one of its signers.
    """
    if trust is None:
        return UNSIGNED, Signature(signed=False, note="not signed: the agent knows of no signatures")
    before = stored(bundle)
    if before is not None and sign_key is None:
        return before, _told(before, "signed beforehand")
    if trust.policy == OFF and sign_key is None:
        return UNSIGNED, Signature(signed=False, note="not signed: no signer is installed on the device")
    known = status()
    if sign_key is None and _covers(known, bundle, trust):
        again = Offer(known.statement, known.signature)
        return again, _told(again, "as it was signed before")
    key = key_at(sign_key) if sign_key is not None else find_key(trust.signers, files())
    if key is None and trust.policy != REQUIRE:
        return UNSIGNED, Signature(signed=False, note="not signed: no key of yours is one of its signers")
    if key is None:
        raise UntrustedSigner(
            "the device takes signed bundles only, and none of your keys is one of its signers",
            expected=", ".join(trust.signers) or "none is left",
            next_step="Name a key with --sign-key, or `edge devices signers add DEVICE FILE.pub`.",
        )
    offer = sign(bundle, key, Selector(devices=(trust.device_id,)), known.highest_generation + 1)
    unused = "the device has no signers, and takes it unchecked" if trust.policy == OFF else ""
    generation = known.highest_generation + 1
    return offer, Signature(True, key.public.fingerprint, key.label, generation, unused)


def _covers(known: SignatureStatus, bundle: Bundle, trust: TrustInfo) -> bool:
    """Whether what is active is this very bundle, signed by one who still counts."""
    if not known.statement:
        return False
    try:
        same = statement.parse(known.statement).manifest == bundle.manifest_digest
        return same and sshsig.signer_of(known.signature, NAMESPACE).fingerprint in trust.signers
    except EdgeError:
        return False


def _told(offer: Offer, note: str) -> Signature:
    said = statement.parse(offer.statement)
    signer = sshsig.signer_of(offer.signature, NAMESPACE)
    return Signature(True, signer.fingerprint, None, said.generation, note)


def _agent_keys() -> list[str]:
    """The public keys that the SSH agent holds; none without an agent."""
    program = shutil.which("ssh-add")
    if program is None or "SSH_AUTH_SOCK" not in os.environ:
        return []
    done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _askpass(folder: Path) -> dict[str, str]:
    """An environment in which ssh-keygen takes the passphrase from the variable, where that is set."""
    environment = dict(os.environ)
    if PASSPHRASE_VARIABLE in environment:
        script = folder / "askpass"
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' \"${PASSPHRASE_VARIABLE}\"\n")
        script.chmod(0o700)
        environment |= {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force"}
    return environment


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError as e:
        raise FileMissing("cannot read a file", where=str(path), got=str(e)) from e
