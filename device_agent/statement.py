"""What a signer says of a bundle: which one, for what name, which devices, and after which it comes.

A statement is canonical JSON: keys sorted, no spaces, ASCII, no floats, so that there is one sequence of
bytes for each meaning; those bytes are what is signed. Everything here is a pure function; `sshsig` checks
signatures. No clock is asked: those of devices are wrong, so what comes after what is a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from device_agent import codec
from device_agent.bundle import Bundle, Manifest, check_digest, check_name
from device_agent.errors import (
    AgentTooOld,
    BadSignature,
    EdgeError,
    InvalidBundle,
    InvalidRequest,
    ReplayedGeneration,
    RuntimeTooOld,
    WrongDevice,
    WrongModel,
)
from device_agent.versions import numbers

TYPE = "edge-bundle-statement.v1"
NAMESPACE = "edge-bundle@edge-deployment-sdk"  # SSHSIG's: a signature made for anything else is none for us
MAX_STATEMENT_BYTES = 64 << 10
MAX_GENERATION = (1 << 53) - 1  # what every JSON reader keeps exactly


@frozen
class Selector:
    """The devices that a statement is for: by their ids, by the boards they are, or both."""

    devices: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def matches(self, device_id: str, target: str | None) -> bool:
        """Whether a device is meant."""
        return device_id in self.devices or (target is not None and target in self.targets)


@frozen
class Statement:
    """A bundle as its signer means it.

    `generation` counts the signer's releases of that model: a device takes a greater one than the greatest it
    ever committed, and no other.
    """

    manifest: str  # digest
    blobs: dict[str, int]  # digest -> size in bytes, of everything the manifest refers to
    model: str
    selector: Selector
    generation: int
    agent_version: str  # the least
    runtimes: dict[str, str]  # name -> the least version
    type: str = TYPE


@frozen
class Facts:
    """What the device knows, that a statement is compared with.

    `highest` is the greatest generation that was committed under this name; `active` the statement of what
    is active (empty if that is not signed): that very one is no replay, because nothing is activated.
    """

    name: str
    manifest: str
    device_id: str
    target: str | None
    agent_version: str
    runtimes: Mapping[str, str] = field(factory=dict)
    highest: int = 0
    active: str = ""


def statement_of(
    bundle: Bundle, selector: Selector, generation: int, *, agent_version: str, name: str | None = None
) -> Statement:
    """A statement for a bundle, to be deployed under the name it carries unless another is given."""
    config = bundle.config
    return Statement(
        manifest=bundle.manifest_digest,
        blobs=_sizes(bundle.manifest),
        model=name or config.name,
        selector=selector,
        generation=generation,
        agent_version=agent_version,
        runtimes={config.runtime: config.runtime_version},
    )


def dumps(statement: Statement) -> str:
    """The canonical text of a statement."""
    return json.dumps(codec.to_json(statement), sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Statement:
    """A statement from its canonical text.

    Raises:
        InvalidBundle: it is any other text, also one that means the same; or a field cannot be.
    """
    if len(text) > MAX_STATEMENT_BYTES:
        raise InvalidBundle("the statement is too large", got=str(len(text)))
    try:
        statement = codec.from_json(text, Statement, where="statement", exact=True)
        _check(statement)
    except RecursionError as e:
        raise InvalidBundle("the statement is nested too deeply") from e
    except InvalidRequest as e:
        raise InvalidBundle(e.what, where=e.where or "statement", got=e.got, expected=e.expected) from e
    if dumps(statement) != text:
        raise InvalidBundle("the statement is not canonical JSON", where="statement", got=text[:100])
    return statement


def decide(statement: Statement, facts: Facts, text: str) -> EdgeError | None:
    """Why a statement, whose signature was found right, does not allow a deployment; None if it does.

    Args:
        statement: the signer's.
        facts: the device's.
        text: the statement's own text.
    """
    selector = statement.selector
    if statement.model != facts.name:
        return WrongModel("signed for another model", got=statement.model, expected=facts.name)
    if not selector.matches(facts.device_id, facts.target):
        return WrongDevice(
            "signed for other devices",
            got=", ".join((*selector.devices, *selector.targets))[:200],
            expected=f"{facts.device_id} or {facts.target or 'its board, which it was not told'}",
            next_step="Sign it for this device: `edge devices show` tells its id.",
        )
    if statement.manifest != facts.manifest:
        return BadSignature(
            "the signature is for another bundle", got=statement.manifest, expected=facts.manifest
        )
    if numbers(facts.agent_version) < numbers(statement.agent_version):
        return AgentTooOld(
            "the agent is older than the signer asks for",
            got=facts.agent_version,
            expected=f">= {statement.agent_version}",
            next_step="`edge devices upgrade` brings a later one.",
        )
    for runtime, least in statement.runtimes.items():
        version = facts.runtimes.get(runtime)
        if version is None or numbers(version) < numbers(least):
            return RuntimeTooOld(
                "a runtime is older than the signer asks for",
                where=runtime,
                got=version or "none",
                expected=f">= {least}",
                next_step="`edge devices upgrade` brings the runtimes of this SDK.",
            )
    if statement.generation <= facts.highest and text != facts.active:
        return ReplayedGeneration(
            "signed before what the device has accepted already",
            where=statement.model,
            got=str(statement.generation),
            expected=f"> {facts.highest}",
            next_step="Sign it again with a higher generation; `edge rollback` goes back on the device.",
        )
    return None


def check_blobs(statement: Statement, manifest: Manifest) -> None:
    """Refuse a manifest whose blobs are not those signed; only an error of the signer can make them differ.

    Raises:
        BadSignature: they are others.
    """
    if statement.blobs != _sizes(manifest):
        raise BadSignature("the signature is for other blobs than the manifest's", where=statement.manifest)


def _sizes(manifest: Manifest) -> dict[str, int]:
    return {blob.digest: blob.size for blob in manifest.blobs()}


def _check(statement: Statement) -> None:
    """Refuse values that have the right type and no meaning."""
    if statement.type != TYPE:
        raise InvalidRequest(
            "not a statement that this version knows", got=statement.type[:60], expected=TYPE
        )
    for digest, size in {statement.manifest: 0, **statement.blobs}.items():
        check_digest(digest)
        _in_range("a blob's size", size, 0)
    check_name(statement.model)
    _in_range("the generation", statement.generation, 1)
    if not (statement.selector.devices or statement.selector.targets):
        raise InvalidRequest("the statement is for no device")
    versions: dict[str, Any] = {"the agent": statement.agent_version, **statement.runtimes}
    for what, version in versions.items():
        if not numbers(version):
            raise InvalidRequest("not a version", where=what[:60], got=repr(version[:60]))


def _in_range(what: str, value: int, least: int) -> None:
    if not least <= value <= MAX_GENERATION:
        raise InvalidRequest(f"{what} is out of range", got=str(value)[:40], expected=f"from {least}")
