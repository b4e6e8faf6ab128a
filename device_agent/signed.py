"""What was signed under each name: asked of `trust`, remembered in the records and beside them."""

from __future__ import annotations

from functools import partial

from device_agent import activation, log, statement
from device_agent.admission import examine
from device_agent.bundle import Manifest
from device_agent.errors import EdgeError
from device_agent.protocol import SignatureStatus
from device_agent.records import RecordFile
from device_agent.store import Generation, Store
from device_agent.trust import Highest, Offer, Signed, Trust


class SignedMemory:
    """The highest generations that signers gave, which never go down.

    Args:
        trust: decides, and keeps the copy.
        models: has the statements of generations.
        records: have the highest of each name, written with every commit.
    """

    def __init__(self, trust: Trust, models: Store, records: RecordFile) -> None:
        self._trust = trust
        self._store = models
        self._records = records

    def authorize(self, name: str, digest: str, offer: Offer, active: Generation | None) -> Signed | None:
        """What was signed, None where that is not asked for; refusals as of `Trust.authorize`.

        Args:
            name: to deploy under.
            digest: of the manifest.
            offer: the statement and its signature.
            active: the generation that answers under the name.
        """
        text = "" if active is None else self._store.statement(name, active.number)[0]
        highest = self._records.get(name).signed
        return self._trust.authorize(name, digest, offer, highest=highest, active=text)

    def admit(
        self, name: str, digest: str, offer: Offer, active: Generation | None
    ) -> tuple[Manifest, Signed | None]:
        """The manifest of an uploaded bundle that may be deployed, and what was signed; as `authorize`.

        Raises:
            InvalidBundle: the bundle makes no sense, or is not all here.
            RuntimeMissing: the device cannot run it.
        """
        signed = self.authorize(name, digest, offer, active)
        manifest = examine(self._store, name, digest)
        if signed is not None:
            signed.check_blobs(manifest)
        return manifest, signed

    def status(self, name: str, active: Generation | None) -> SignatureStatus:
        """What was signed under a name, and what of it is active."""
        highest = self._records.get(name).signed
        if active is None:
            return SignatureStatus(highest)
        return SignatureStatus(highest, *self._store.statement(name, active.number))

    def adopt(self, name: str, number: int, signed: Signed) -> None:
        """What is active was signed anew: that statement is not to be used again for anything else."""
        if signed.text == self._store.statement(name, number)[0]:
            return
        self._records.update(name, lambda r: activation.raise_signed(r, signed.generation))
        self._store.keep_statement(name, number, signed.text, signed.signature)
        self.keep()

    def keep(self) -> None:
        """Copy the highest generations out of the records, which may be lost."""
        highest = {name: record.signed for name, record in self._records.models.items() if record.signed}
        self._trust.keep(Highest(highest, self._records.signed_floor))

    def recall(self) -> None:
        """Where records were lost, or written by an agent that knew of no signatures: the highest stay.

        A medium that takes no writes is no reason not to answer: that is only logged.
        """
        kept = self._trust.recall()
        found = dict(kept.models)
        if not self._records.found:
            for name in self._store.names():
                for number in self._store.numbers(name):
                    found[name] = max(found.get(name, 0), self._generation(name, number))
        try:
            self._records.raise_signed_floor(kept.floor)
            for name, generation in found.items():
                if generation > self._records.get(name).signed:
                    self._records.update(name, partial(activation.raise_signed, generation=generation))
        except EdgeError as e:
            log.event("cannot record the highest generations", reason=str(e))

    def _generation(self, name: str, number: int) -> int:
        try:
            return statement.parse(self._store.statement(name, number)[0]).generation
        except EdgeError:  # it is not signed, or not whole: then it was never committed
            return 0
