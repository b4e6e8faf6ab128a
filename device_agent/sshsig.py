"""SSH keys and SSHSIG signatures, checked by OpenSSH's own `ssh-keygen`.

https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig describes the format. What is read
here decides only what a refusal is called; that a signature counts is decided by `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from attrs import field, frozen

from device_agent.errors import BadSignature, MissingDependency, UntrustedSigner

TIMEOUT_S = 20.0
MAX_SIGNATURE_BYTES = 16 << 10
MAX_KEY_BYTES = 8 << 10  # of a line
LEAST_RSA_BITS = 2048
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_MAGIC = b"SSHSIG"
_VERSION = 1
_ARMOR = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n?", re.ASCII
)
_LENGTH = struct.Struct(">I")
_PRINCIPAL = "signer"


@frozen
class PublicKey:
    """An SSH public key: its type and its blob, and what its owner calls it."""

    type: str
    blob: bytes
    comment: str = field(default="", eq=False)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: `SHA256:` and base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


def parse_key(line: str) -> PublicKey:
    """A line of a .pub file: type, base64, comment.

    Raises:
        UntrustedSigner: it is none, has options before it, is a certificate, or of a kind that is too weak.
    """
    words = line.strip().split(None, 2)
    if len(line) > MAX_KEY_BYTES or "\n" in line.strip() or len(words) < 2 or words[0] not in KEY_TYPES:
        raise UntrustedSigner(
            "not a public key that can be a signer",
            got=repr(line.strip()[:60]),
            expected=f"`TYPE BASE64 [COMMENT]` of one of {', '.join(KEY_TYPES)}",
            next_step="Give the .pub file: no certificate, no options before the key.",
        )
    try:
        blob = base64.b64decode(words[1], validate=True)
        fields = list(_strings(blob))
    except (binascii.Error, ValueError) as e:
        raise UntrustedSigner("a public key is damaged", got=words[1][:40]) from e
    if not fields or fields[0] != words[0].encode() or (words[0] == "ssh-rsa" and len(fields) != 3):
        raise UntrustedSigner("a public key is not of the type it says", got=words[0])
    if words[0] == "ssh-rsa" and int.from_bytes(fields[2], "big").bit_length() < LEAST_RSA_BITS:
        raise UntrustedSigner("an RSA key is too short to be a signer", expected=f">= {LEAST_RSA_BITS} bits")
    comment = words[2] if len(words) > 2 else ""
    plain = "".join(c for c in comment if c.isascii() and c.isprintable())
    return PublicKey(words[0], blob, plain[:80])


def signer_of(signature: str, namespace: str) -> PublicKey:
    """The key that a signature says it was made with; nothing is verified.

    Raises:
        BadSignature: it is no SSHSIG signature, or one for another purpose.
    """
    match = _ARMOR.fullmatch(signature) if len(signature) <= MAX_SIGNATURE_BYTES else None
    if match is None:
        raise BadSignature("not an SSH signature", got=repr(signature[:40]))
    try:
        raw = base64.b64decode(match[1].replace("\n", ""), validate=True)
        key, found, *_ = _strings(raw.removeprefix(_MAGIC + _LENGTH.pack(_VERSION)))
        kind = next(_strings(key)).decode("ascii")
    except (ValueError, StopIteration) as e:
        raise BadSignature("not an SSH signature of version 1") from e
    if found != namespace.encode():
        raise BadSignature(
            "signed for another purpose", got=found.decode(errors="replace")[:80], expected=namespace
        )
    return PublicKey(kind, key)


def tool() -> str | None:
    """Where ssh-keygen is; None where it is not installed."""
    return shutil.which("ssh-keygen")


def verify(
    message: bytes, signature: str, namespace: str, key: PublicKey, revoked: Sequence[PublicKey]
) -> None:
    """Check with ssh-keygen that a message was signed by a key.

    What ssh-keygen reads is passed as memory, so it judges what this process has read, and nothing is
    written to the device's disk.

    Raises:
        BadSignature: it was not, or the key is revoked.
        MissingDependency: there is no ssh-keygen.
    """
    allowed = f'{_PRINCIPAL} namespaces="{namespace}" {key}\n'
    with ExitStack() as stack:
        files = [allowed, signature, "".join(f"{other}\n" for other in revoked)]
        descriptors = [stack.enter_context(_in_memory(text.encode())) for text in files]
        allow, sign, revoke = (f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
        words = ["-Y", "verify", "-n", namespace, "-I", _PRINCIPAL, "-f", allow, "-s", sign]
        done = run([*words, *(("-r", revoke) if revoked else ())], message, descriptors)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BadSignature("the signature is not right", where=key.fingerprint, got=said[-200:] or None)


def run(
    words: Sequence[str],
    stdin: bytes,
    descriptors: Sequence[int] = (),
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen.

    Raises:
        MissingDependency: it is not installed, cannot be run, or does not end.
    """
    program = tool()
    if program is None:
        raise MissingDependency(
            "ssh-keygen is missing, which checks and makes signatures",
            next_step="Install OpenSSH's client there: `apt install openssh-client`.",
        )
    try:
        return subprocess.run(
            [program, *words],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            pass_fds=descriptors,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise MissingDependency("ssh-keygen cannot be run", where=program, got=str(e)) from e


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("edge-agent")
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def _strings(data: bytes) -> Iterator[bytes]:
    """The length-prefixed strings (RFC 4251) that a blob is made of; ValueError where it ends early."""
    while data:
        if len(data) < _LENGTH.size:
            raise ValueError("cut off")
        (length,) = _LENGTH.unpack_from(data)
        if len(data) < _LENGTH.size + length:
            raise ValueError("cut off")
        yield data[_LENGTH.size : _LENGTH.size + length]
        data = data[_LENGTH.size + length :]
