"""`Signature`: what a report tells of who signed a deployment; apart, so that a report needs no keys."""

from __future__ import annotations

from attrs import frozen


@frozen
class Signature:
    """What was signed for a deployment, as reports show it; `note` says why nothing was."""

    signed: bool
    signer: str | None = None  # fingerprint
    key: str | None = None  # where it was found
    generation: int | None = None
    note: str = ""

    def __str__(self) -> str:
        if not self.signed:
            return self.note
        key = f", {self.key}" if self.key is not None else ""
        return f"generation {self.generation} by {self.signer}{key}" + (f"; {self.note}" if self.note else "")
