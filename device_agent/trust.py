"""Whether a bundle may be activated here: signed by whom the device trusts, for it, and not before.

`require` from the moment that a signer is installed, for good; `off` while there never was one, or where the
agent was started with `--accept-unsigned`. What decides is in `statement`, who may sign in `signers`.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

import device_agent
from device_agent import codec, durable, identity, log, runtimes, signers, sshsig, statement
from device_agent.bundle import Manifest
from device_agent.errors import BadSignature, EdgeError, InvalidRequest, Unsigned
from device_agent.identity import Identity
from device_agent.protocol import TrustInfo
from device_agent.signers import Signers
from device_agent.statement import NAMESPACE, Facts

REQUIRE, OFF, ACCEPTS_UNSIGNED = "require", "off", "accepts unsigned"
_HIGHEST = "trust/generations.json"


@frozen
class Offer:
    """What a request brings to show that it may: a statement's text and its armored signature.

    `must`: it has to be signed, whatever the policy.
    """

    statement: str = ""
    signature: str = ""
    must: bool = False


UNSIGNED = Offer()


@frozen
class Signed:
    """A statement whose signature was found right and which allows a deployment."""

    text: str
    signature: str
    generation: int
    signer: str  # fingerprint
    statement: statement.Statement

    def check_blobs(self, manifest: Manifest) -> None:
        """BadSignature unless the manifest's blobs are those that were signed."""
        statement.check_blobs(self.statement, manifest)


@frozen
class Highest:
    """The greatest generation committed under each name; `floor` covers names that were forgotten."""

    models: dict[str, int]
    floor: int = 0


class Trust:
    """Reads the signers and the device's identity anew for each question: commands may change them.

    Args:
        state_dir: where they are.
        accept_unsigned: take unsigned bundles although there are signers; said loudly.
    """

    def __init__(self, state_dir: Path, *, accept_unsigned: bool = False) -> None:
        self._state_dir = state_dir
        self._accept_unsigned = accept_unsigned
        try:
            identity.establish(state_dir)
        except EdgeError as e:  # a medium that takes no writes is no reason not to answer
            log.event("cannot record this device's identity", reason=str(e))
        if accept_unsigned:
            log.event("UNSIGNED BUNDLES ARE ACCEPTED: started with --accept-unsigned")

    @property
    def required(self) -> bool:
        """Whether an unsigned bundle is refused."""
        return self._policy(signers.load(self._state_dir)) == REQUIRE

    def describe(self) -> TrustInfo:
        """What a host needs to know before it signs."""
        return describe(self._state_dir, accept_unsigned=self._accept_unsigned)

    def authorize(
        self, name: str, manifest_digest: str, offer: Offer, *, highest: int, active: str
    ) -> Signed | None:
        """Decide whether a bundle may be deployed; nothing of it has been read but its manifest's digest.

        Args:
            name: to deploy under.
            manifest_digest: what is to be deployed.
            offer: the statement and its signature, where it has them.
            highest: the greatest generation that was committed under the name.
            active: the statement of what is active under the name, empty for none.

        Returns:
            What was signed; None where that is not asked for.

        Raises:
            EdgeError: each refusal is an error of its own; see `errors`.
        """
        known = signers.load(self._state_dir)
        if not offer.statement and not offer.signature:
            if offer.must or self._policy(known) == REQUIRE:
                raise Unsigned(
                    "the device takes signed bundles only",
                    where=name,
                    next_step="`edge deploy` signs with the key of --sign-key; `edge devices signers list` "
                    "shows who may sign.",
                )
            return None
        if not known.installed and not offer.must:
            return None  # nobody is known whose signature could count
        if not offer.statement.isascii() or not offer.signature.isascii():
            raise BadSignature("a statement and its signature are ASCII", where=name)
        # the signature first: what nobody vouches for is not even parsed
        signer = known.find(sshsig.signer_of(offer.signature, NAMESPACE))
        message = offer.statement.encode()
        sshsig.verify(message, offer.signature, NAMESPACE, signer.key, known.revoked)
        said = statement.parse(offer.statement)
        own = identity.establish(self._state_dir)
        facts = Facts(
            name=name,
            manifest=manifest_digest,
            device_id=own.id,
            target=own.target,
            agent_version=device_agent.__version__,
            runtimes={runtime.name: runtime.version for runtime in runtimes.installed()},
            highest=highest,
            active=active,
        )
        refusal = statement.decide(said, facts, offer.statement)
        if refusal is not None:
            raise refusal
        fingerprint = signer.key.fingerprint
        log.event("signed", model=name, generation=said.generation, signer=signer.name, key=fingerprint)
        return Signed(offer.statement, offer.signature, said.generation, fingerprint, said)

    def recall(self) -> Highest:
        """The highest generations as last kept beside the records; empty where there are none."""
        path = self._state_dir / _HIGHEST
        try:
            return codec.from_json(path.read_bytes(), Highest, where=str(path))
        except FileNotFoundError:
            return Highest({})
        except (OSError, InvalidRequest) as e:
            log.event("the copy of the highest generations cannot be read", reason=str(e))
            return Highest({})

    def keep(self, highest: Highest) -> None:
        """Keep the highest generations once more, should both slots of the records be lost.

        A copy that cannot be written is no failure: the records have them, and the next one is whole.
        """
        if highest == self.recall():
            return
        try:
            durable.make_folder(self._state_dir / "trust")
            durable.write_file(self._state_dir / _HIGHEST, codec.dumps(highest).encode())
        except EdgeError as e:
            log.event("cannot copy the highest generations", reason=str(e))

    def _policy(self, known: Signers) -> str:
        return policy(known, accept_unsigned=self._accept_unsigned)


def policy(known: Signers, *, accept_unsigned: bool) -> str:
    """What is asked of a bundle: `require`, `off` (nobody could sign it), `accepts unsigned`."""
    if not known.installed:
        return OFF
    return ACCEPTS_UNSIGNED if accept_unsigned else REQUIRE


def describe(state_dir: Path, *, accept_unsigned: bool = False) -> TrustInfo:
    """The trust of a state folder, which may not exist yet; changes nothing."""
    own = identity.find(state_dir) or Identity("")
    verifier = sshsig.tool() is not None
    try:
        known = signers.load(state_dir)
    except EdgeError as e:
        return TrustInfo(own.id, own.target, REQUIRE, (), verifier, str(e))
    keys = tuple(signer.key.fingerprint for signer in known.allowed)
    rule = policy(known, accept_unsigned=accept_unsigned)
    problem = "" if verifier or rule == OFF else "ssh-keygen is missing: no signature can be checked"
    return TrustInfo(own.id, own.target, rule, keys, verifier, problem)
