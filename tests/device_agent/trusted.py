"""A device with signers, keys that are none, and statements to try on it."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from device_agent import codec, identity, signers, sshsig
from device_agent.activator import Activator
from device_agent.bundle import Bundle
from device_agent.deadlines import Deadlines
from device_agent.protocol import Deployed
from device_agent.records import RecordFile
from device_agent.statement import NAMESPACE, Selector, dumps, statement_of
from device_agent.store import Store
from device_agent.trust import Offer
from tests.device_agent.harness import ROOT, AgentProcess, Client, DirectLive, comparison, make_bundle

if sshsig.tool() is None:
    pytest.skip("no ssh-keygen: install openssh-client", allow_module_level=True)

NAME = "digits"


def keygen(path: Path, kind: str = "ed25519", bits: int | None = None) -> Path:
    """A new key pair at `path` and `path`.pub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = [] if bits is None else ["-b", str(bits)]
    command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def public(key: Path) -> str:
    """A key's public line."""
    return Path(f"{key}.pub").read_text()


def sign(text: str, key: Path, namespace: str = NAMESPACE) -> str:
    """The armored signature of a text, by the real tool."""
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(key)]
    done = subprocess.run(command, check=True, capture_output=True, input=text.encode())
    return done.stdout.decode()


def edge_agent(state: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command `edge-agent` with this state folder."""
    command = [sys.executable, "-m", "device_agent", *words, "--state-dir", str(state)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT, check=False)


def send(client: Client, digest: str, statement: str, signature: str, *, name: str = NAME) -> dict[str, Any]:
    """Ask for a deployment; the result."""
    body = {"manifest_digest": digest, "statement": statement, "signature": signature}
    return dict(list(client.events(f"/edge/v1/models/{name}/deploy", body))[-1]["result"])


Offered = tuple[str, str, str]  # a manifest's digest, a statement, its signature


def ask(world: World, route: str, offered: Offered, *, name: str = NAME) -> dict[str, Any]:
    """Have a bundle deployed, compared with what is active, or its runtime asked; the result."""
    request, beside = (
        dict(zip(("manifest_digest", "statement", "signature"), values, strict=True))
        for values in (offered, world.used[3])
    )
    path = f"/edge/v1/models/{name}/{route}"
    if route == "query":
        return dict(world.client.json("POST", path, {"bundle": request, "devices": ["CPU"]}))
    body = request if route == "deploy" else comparison() | {"candidates": [beside, request]}
    return dict(list(world.client.events(path, body))[-1]["result"])


class World:
    """One model active, signed with generation 3 after 2; a second bundle pushed, but not deployed."""

    def __init__(self, folder: Path, agent: AgentProcess) -> None:
        self.folder = folder
        self.agent = agent
        self.state = agent.state_dir
        self.client = agent.client
        self.signer = keygen(folder / "signer")
        self.stranger = keygen(folder / "stranger")
        self.revoked = keygen(folder / "revoked")
        for key in (self.signer, self.revoked):
            signers.add(self.state, public(key))
        signers.revoke(self.state, "revoked")
        self.device_id: str = self.client.json("GET", "/edge/v1/agent")["trust"]["device_id"]
        self.before = make_bundle(folder / "before", seed=1)
        self.active = make_bundle(folder / "active", seed=2)
        self.next = make_bundle(folder / "next", seed=3)
        self.used: dict[int, tuple[str, str, str]] = {}
        for generation, bundle in ((2, self.before), (3, self.active)):
            self.client.push(bundle)
            self.deploy(bundle, generation)
        self.client.push(self.next)

    def deploy(self, bundle: Bundle, generation: int) -> dict[str, Any]:
        """Deploy as the signer means it."""
        text = self.statement(bundle, generation=generation)
        self.used[generation] = (bundle.manifest_digest, text, sign(text, self.signer))
        return send(self.client, *self.used[generation])

    def fields(self, bundle: Bundle, **changes: Any) -> dict[str, Any]:
        """A statement as JSON data; `changes` replace fields, None removes one."""
        made = statement_of(bundle, Selector((self.device_id,)), 4, agent_version="0.0.1")
        fields: dict[str, Any] = json.loads(dumps(made))
        for key, value in changes.items():
            if value is None:
                del fields[key]
            else:
                fields[key] = value
        return fields

    def statement(self, bundle: Bundle, **changes: Any) -> str:
        """The canonical text of such a statement."""
        return canonical(self.fields(bundle, **changes))

    def attempt(self, text: str, *, key: Path | None = None, bundle: Bundle | None = None) -> None:
        """Deploy the next bundle with a text that the signer has signed (or another key)."""
        digest = (bundle or self.next).manifest_digest
        send(self.client, digest, text, sign(text, key or self.signer))

    def standing(self) -> tuple[Any, ...]:
        """All that an attempt might change: what answers, the highest generation, and who may sign."""
        status = self.client.json("GET", f"/edge/v1/models/{NAME}")
        signature = self.client.json("GET", f"/edge/v1/models/{NAME}/signature")
        files = [(self.state / "trust" / file).read_bytes() for file in ("allowed_signers", "revoked_keys")]
        names = [model["name"] for model in self.client.json("GET", "/edge/v1/models")]
        return status["generation"], status["manifest_digest"], signature, names, files


class Device:
    """A device without its server: started anew with `start`, as after a power cut; one key is its signer."""

    def __init__(
        self, folder: Path, live: DirectLive | None = None, deadlines: Deadlines | None = None
    ) -> None:
        self.state = folder / "state"
        self.signer = keygen(folder / "signer")
        self.live = live or DirectLive()
        self._deadlines = deadlines
        signers.add(self.state, public(self.signer))
        self.start()
        self.device_id = identity.establish(self.state).id

    def start(self) -> None:
        """Read everything anew from the disk."""
        self.store = Store(self.state)
        self.records = RecordFile(self.state)
        self.activator = Activator(self.store, self.records, self.live, self._deadlines)
        self.activator.start()

    def push(self, bundle: Bundle) -> None:
        """Make a bundle's files blobs."""
        for digest in [*(blob.digest for blob in bundle.manifest.blobs()), bundle.manifest_digest]:
            part = self.state / "part"
            part.write_bytes(bundle.blob_path(digest).read_bytes())
            self.store.adopt_blob(part, digest)

    def offer(self, bundle: Bundle, generation: int, selector: Selector | None = None) -> Offer:
        """What the signer says of a bundle."""
        meant = selector or Selector((self.device_id,))
        text = dumps(statement_of(bundle, meant, generation, agent_version="0.0.1"))
        return Offer(text, sign(text, self.signer))

    def deploy(self, bundle: Bundle, offer: Offer) -> Deployed:
        """Activate a bundle whose files are here."""
        deployed = self.activator.deploy(bundle.config.name, bundle.manifest_digest, lambda _: None, offer)
        return asyncio.run(deployed)

    def active(self) -> str | None:
        """The digest of what answers."""
        return next((status.manifest_digest for status in self.activator.statuses()), None)

    def highest(self) -> int:
        """The highest generation that was committed."""
        return self.activator.signature(NAME).highest_generation


def canonical(fields: Mapping[str, Any]) -> str:
    """JSON as a statement has it, whatever is in it."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def decoded(signature: str) -> bytes:
    """The bytes in an armored signature."""
    return base64.b64decode("".join(signature.splitlines()[1:-1]))


def armored(raw: bytes) -> str:
    """Bytes as an armored signature."""
    body = base64.b64encode(raw).decode()
    lines = [body[k : k + 70] for k in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def manifest_of(bundle: Bundle) -> dict[str, Any]:
    """A bundle's manifest as JSON data."""
    return dict(codec.to_json(bundle.manifest))
