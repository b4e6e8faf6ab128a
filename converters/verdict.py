"""`Verdict`: yes, or no *because*. A refusal is a value, so that all of them can be shown at once."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen


@frozen
class Verdict:
    """Whether an operator can be handled, and why.

    Args of a refusal: `operator` is its type, `place` its name in the source graph, `got` what was found,
    `limit` what can be handled, `help` what would make it a yes.
    """

    ok: bool
    reason: str
    operator: str = ""
    place: str = ""
    got: str | None = None
    limit: str | None = None
    help: str | None = None
    becomes: tuple[str, ...] = ()  # of a yes: the compiled operators that compute it; none where it is folded
    # of a yes: by precision what it computes in, where that is not one kernel of that precision
    integer: Mapping[str, str] = field(factory=dict)

    @classmethod
    def yes(
        cls, reason: str, *, operator: str = "", place: str = "", becomes: tuple[str, ...] = ()
    ) -> Verdict:
        """It can be handled; `reason` says how, `becomes` by which compiled operators."""
        return cls(True, reason, operator, place, becomes=becomes)

    @classmethod
    def no(
        cls,
        reason: str,
        *,
        operator: str = "",
        place: str = "",
        got: str | None = None,
        limit: str | None = None,
        help: str | None = None,  # noqa: A002 - the field's name, as it stands in the JSON
    ) -> Verdict:
        """It cannot be handled; `reason` says why."""
        return cls(False, reason, operator, place, got, limit, help)

    def with_integer(self, integer: Mapping[str, str]) -> Verdict:
        """The same with what it computes in by precision."""
        return evolve(self, integer=dict(integer))

    def __str__(self) -> str:
        """One line: operator, place, reason, got, limit, help."""
        place = f" at {self.place!r}" if self.place else ""
        text = f"{self.operator}{place}: {self.reason}" if self.operator or self.place else self.reason
        if self.got is not None:
            text += f" (got {self.got}" + (f", limit {self.limit})" if self.limit is not None else ")")
        return f"{text}. {self.help}" if self.help else text
