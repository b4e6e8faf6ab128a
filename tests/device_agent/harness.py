"""A real agent process on a Unix socket, a plain HTTP client for it, and bundles to give it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from device_agent import limits, tree
from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_TYPE,
    PLAN_TYPE,
    Bundle,
    BundleConfig,
    TensorSpec,
    write_bundle,
)
from device_agent.errors import ActivationFailed, from_json
from device_agent.isolation import Isolation
from device_agent.live import Checked
from device_agent.parity import compare, figures, golden_samples
from device_agent.runtimes.litert import LiteRT
from device_agent.runtimes.null import Null, null_model
from device_agent.store import Generation
from device_agent.tensors import DTYPES, Tensor, pack

ROOT = Path(__file__).resolve().parent.parent.parent
IN_PROCESS = Isolation(limits.of_this_machine(), None, ())
MISBEHAVING = {"PYTHONPATH": f"{ROOT / 'tests/device_agent/misbehaving'}{os.pathsep}{ROOT}"}
TRIGGER = {"image": Tensor("uint8", (1, 4, 4, 3), b"\xfe" * 48)}
A_MINUTE = {"warmup_iterations": 0, "min_iterations": 1, "min_seconds": 60.0, "max_seconds": 60.0}
STATES = ["STAGING", "VERIFIED", "PREFLIGHT", "ACTIVATING", "PROBING", "COMMITTED"]
NULL_INPUT = TensorSpec("image", "uint8", (1, 4, 4, 3), "NHWC")
NULL_OUTPUT = TensorSpec("scores", "float32", (1, 10))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        super().__init__("agent", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """The agent's routes, one connection a request, errors raised as the agent's classes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = UnixConnection(self.path)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        status, _, answer = self.request(method, path, body, named)
        if status >= 400:
            raise from_json(answer)
        return answer

    def json(self, method: str, path: str, value: Any = None) -> Any:
        answer = self.ok(method, path, b"" if value is None else json.dumps(value).encode())
        return json.loads(answer) if answer else None

    @contextmanager
    def stream(self, method: str, path: str, value: Any = None) -> Iterator[http.client.HTTPResponse]:
        connection = UnixConnection(self.path)
        try:
            body = b"" if value is None else json.dumps(value).encode()
            connection.request(method, path, body=body)
            response = connection.getresponse()
            if response.status >= 400:
                raise from_json(response.read())
            with response:
                yield response
        finally:
            connection.close()

    def events(self, path: str, value: Any = None) -> Iterator[dict[str, Any]]:
        """The events up to the result; an error event is raised."""
        with self.stream("POST", path, value) as response:
            for line in response:
                event = json.loads(line)
                if event["kind"] == "error":
                    raise from_json(event["error"])
                yield event

    def begin_upload(self, digest: str, size: int) -> tuple[str, int]:
        status, headers, body = self.request(
            "POST", "/edge/v1/uploads", headers={"Upload-Length": str(size), "Upload-Digest": digest}
        )
        if status >= 400:
            raise from_json(body)
        return headers["location"], int(headers["upload-offset"])

    def send_chunk(self, location: str, offset: int, chunk: bytes) -> bytes:
        checksum = "sha256 " + base64.b64encode(hashlib.sha256(chunk).digest()).decode()
        return self.ok("PATCH", location, chunk, Upload_Offset=str(offset), Upload_Checksum=checksum)

    def upload(self, data: bytes, *, chunk_bytes: int = 1 << 20) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location, offset = self.begin_upload(digest, len(data))
        while offset < len(data):
            chunk = data[offset : offset + chunk_bytes]
            self.send_chunk(location, offset, chunk)
            offset += len(chunk)
        return digest

    def push(self, bundle: Bundle) -> None:
        for digest in [*(blob.digest for blob in bundle.manifest.blobs()), bundle.manifest_digest]:
            self.upload(bundle.blob_path(digest).read_bytes())

    def deploy(self, bundle: Bundle) -> dict[str, Any]:
        """Push and deploy; the result."""
        self.push(bundle)
        events = self.events(
            f"/edge/v1/models/{bundle.config.name}/deploy", {"manifest_digest": bundle.manifest_digest}
        )
        return dict(list(events)[-1]["result"])

    def compare(self, *bundles: Bundle, rounds: int = 2) -> dict[str, Any]:
        """Push bundles of one name and compare them; the result."""
        for bundle in bundles:
            self.push(bundle)
        path = f"/edge/v1/models/{bundles[0].config.name}/compare"
        return dict(list(self.events(path, comparison(*bundles, rounds=rounds)))[-1]["result"])

    def rollback(self, name: str) -> dict[str, Any]:
        return dict(list(self.events(f"/edge/v1/models/{name}/rollback"))[-1]["result"])

    def generation(self, name: str) -> int:
        return int(self.json("GET", f"/edge/v1/models/{name}")["generation"])

    def infer(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        rows = [
            {"name": key, "shape": list(t.shape), "datatype": DTYPES[t.dtype][1], "data": list(t.data)}
            for key, t in inputs.items()
        ]
        return dict(self.json("POST", f"/v2/models/{name}/infer", {"inputs": rows}))


class AgentProcess:
    """An agent in a process of its own; a context that ends it, by force if need be."""

    def __init__(self, state_dir: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.state_dir = state_dir
        self.socket = state_dir / "agent.sock"
        self.client = Client(self.socket)
        self.log = state_dir.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "device_agent", "serve", "--state-dir", str(state_dir), *options],
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> AgentProcess:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client.json("GET", "/edge/v1/agent")
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise AssertionError(f"the agent did not start:\n{self.log.read_text()}") from None
            select.select([], [], [], 0.01)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """As a power cut would, but for what the kernel still holds."""
        self.process.kill()
        self.process.wait()


def comparison(*bundles: Bundle, rounds: int = 2, **request: Any) -> dict[str, Any]:
    """A CompareRequest for bundles that are here, one that is over soon."""
    quick = {"warmup_iterations": 1, "min_iterations": 3, "min_seconds": 0.0, "max_seconds": 20.0}
    candidates = [{"manifest_digest": bundle.manifest_digest} for bundle in bundles]
    return {"candidates": candidates, "request": quick | request, "rounds": rounds}


def workers_of(agent: AgentProcess) -> list[int]:
    """The pids of an agent's worker processes, which its keepers hold."""
    pending, found = [(agent.process.pid, 0)], []
    while pending:
        pid, depth = pending.pop()
        below = tree.children(pid)
        if depth and not below and b"keeper" in _command(pid):
            found.append(pid)
        pending += [(child, depth + 1) for child in below]
    return sorted(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def runs(pid: int) -> bool:
    """Whether a process still runs; one that ended and waits to be collected does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def null_samples(seed: int, count: int = 2) -> list[dict[str, Tensor]]:
    """Golden inputs for the null model."""
    return [
        {"image": Tensor("uint8", NULL_INPUT.shape, bytes((seed * 7 + index + k) % 256 for k in range(48)))}
        for index in range(count)
    ]


def make_bundle(
    folder: Path,
    *,
    name: str = "digits",
    seed: int = 1,
    corrupt: bool = False,
    padding: int = 0,
    plan: bytes = b"{}",
    load: str = "",
    infer: str = "",
) -> Bundle:
    """A bundle for the null runtime; another `seed` makes another model.

    With `load` or `infer`, for one that misbehaves so: when it is loaded, or at an input that begins with
    254. Its agent needs MISBEHAVING in its environment.
    """
    output = TensorSpec(f"scores{seed}", "float32", (1, 10))
    model = null_model((NULL_INPUT,), (output,))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_bytes(model)
    session = Null().load(folder / "model.json")
    inputs, outputs = {}, {}
    for index, sample in enumerate(null_samples(seed)):
        session.set_inputs(sample)
        session.invoke()
        inputs |= {f"{index}/{key}": tensor for key, tensor in sample.items()}
        outputs |= {f"{index}/{key}": tensor for key, tensor in session.get_outputs().items()}
    if corrupt:
        first = outputs[f"0/{output.name}"]
        outputs[f"0/{output.name}"] = Tensor(first.dtype, first.shape, bytes(4) + first.data[4:])
    config = BundleConfig(
        name=name,
        target="null",
        architecture="host",
        runtime="misbehaving" if load or infer else "null",
        runtime_version="0",
        model="model.json",
        inputs=(NULL_INPUT,),
        outputs=(output,),
        tolerance={output.name: 0.001},
        source_sha256="0" * 64,
        precision="float32",
        golden_samples=2,
    )
    layers = {
        "model.json": (MODEL_TYPE, _misbehaving(model, load, infer) if load or infer else model),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, pack(inputs)),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, pack(outputs)),
        "plan.json": (PLAN_TYPE, plan + b" " * padding),
    }
    return write_bundle(folder / "bundle", config, layers)


def _misbehaving(model: bytes, load: str, infer: str) -> bytes:
    return json.dumps({"load": load, "infer": infer, "model": json.loads(model)}).encode()


class DirectLive:
    """A serving side that runs null models in this process: for tests of the activator alone."""

    def __init__(self) -> None:
        self.live: dict[str, Generation] = {}

    def switch(self, name: str, generation: Generation | None) -> None:
        if generation is None:
            self.live.pop(name, None)
        else:
            self.live[name] = generation

    async def preflight(self, generation: Generation) -> Checked:
        session = Null().load(generation.folder / generation.config.model)
        pairs = []
        for sample in golden_samples(generation):
            session.set_inputs(sample.inputs)
            session.invoke()
            pairs.append((sample.outputs, session.get_outputs()))
        parity = compare(pairs, generation.config.tolerance)
        if not parity.passed:
            raise ActivationFailed("the device does not compute what the host computed", got=figures(parity))
        return Checked(parity)

    async def probe(self, name: str) -> Checked:
        return await self.preflight(self.live[name])

    async def retire(self, name: str) -> None:
        pass


def litert_bundle(folder: Path, model: Path, *, content: bytes | None = None) -> Bundle:
    """A bundle called kws of a TFLite file; `content` takes the file's place in the bundle."""
    session = LiteRT().load(model)
    inputs, outputs = {}, {}
    for index in range(2):
        feed = {}
        for spec in session.inputs:
            shape = tuple(1 if size < 0 else size for size in spec.shape)
            step = DTYPES[spec.dtype][2]
            data = bytes((index + k) % 64 if step == 1 else 0 for k in range(math.prod(shape) * step))
            feed[spec.name] = Tensor(spec.dtype, shape, data)
        session.set_inputs(feed)
        session.invoke()
        inputs |= {f"{index}/{key}": tensor for key, tensor in feed.items()}
        outputs |= {f"{index}/{key}": tensor for key, tensor in session.get_outputs().items()}
    config = BundleConfig(
        name="kws",
        target="local",
        architecture="host",
        runtime="litert",
        runtime_version="1.0",
        model=model.name,
        inputs=session.inputs,
        outputs=session.outputs,
        tolerance={},
        source_sha256="0" * 64,
        precision="int8",
        golden_samples=2,
    )
    layers = {
        model.name: (MODEL_TYPE, model.read_bytes() if content is None else content),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, pack(inputs)),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, pack(outputs)),
    }
    return write_bundle(folder / "bundle", config, layers)
