"""LiteRT models on a running agent: the real runtime in its workers, and a public client of the protocol."""

import json
import selectors
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from device_agent.bundle import Bundle
from device_agent.errors import ActivationFailed
from device_agent.runtimes.litert import LiteRT
from tests.device_agent.harness import AgentProcess, litert_bundle

pytestmark = pytest.mark.zoo
MODELS = [
    "kws_ref_model_float32.tflite",
    "kws_ref_model.tflite",
    "ad01_int8.tflite",
    "pretrainedResnet_quant.tflite",
]


@pytest.fixture
def bundle(zoo: Path, tmp_path: Path) -> Bundle:
    """The keyword spotter, int8, with golden outputs computed here."""
    return litert_bundle(tmp_path / "kws", zoo / "models/mlperf-tiny/kws_ref_model.tflite")


@pytest.mark.parametrize("file", MODELS)
def test_model_computes_on_the_device_what_it_does_here(
    agent: AgentProcess, zoo: Path, tmp_path: Path, file: str
) -> None:
    """On the same machine the parity is exact, for float and int8 models."""
    deployed = agent.client.deploy(litert_bundle(tmp_path, zoo / "models/mlperf-tiny" / file))
    assert [0.0] == [row["max_abs_diff"] for row in deployed["parity"]["tensors"]]


def test_metadata_has_the_quantisation(agent: AgentProcess, bundle: Bundle) -> None:
    """An integer model's metadata says what its steps mean."""
    agent.client.deploy(bundle)
    (output,) = agent.client.json("GET", "/v2/models/kws")["outputs"]
    assert ("INT8", [0.00390625], [-128]) == (
        output["datatype"],
        output["parameters"]["scale"],
        output["parameters"]["zero_point"],
    )


@pytest.mark.parametrize("content", [b"", b"\x1c\x00\x00\x00TFL3", b"garbage" * 100, bytes(4096)])
def test_broken_model_takes_only_its_worker(
    agent: AgentProcess, bundle: Bundle, zoo: Path, tmp_path: Path, content: bytes
) -> None:
    """A file that crashes or confuses the C++ loader fails its preflight; the earlier model answers."""
    agent.client.deploy(bundle)
    model = zoo / "models/mlperf-tiny/kws_ref_model.tflite"
    with pytest.raises(ActivationFailed, match="preflight failed"):
        agent.client.deploy(litert_bundle(tmp_path / "broken", model, content=content))
    assert 1 == agent.client.generation("kws")
    assert agent.client.deploy(bundle)["unchanged"]


class Relay(socketserver.BaseRequestHandler):
    """Carries bytes between a TCP client and the agent's socket until either side ends."""

    target: Path

    def handle(self) -> None:
        # a client that leaves may reset the connection instead of ending it
        with (
            suppress(ConnectionResetError),
            socket.socket(socket.AF_UNIX) as agent,
            selectors.DefaultSelector() as ready,
        ):
            agent.connect(str(self.target))
            ready.register(agent, selectors.EVENT_READ, self.request)
            ready.register(self.request, selectors.EVENT_READ, agent)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(1 << 16)
                    if not data:
                        return
                    key.data.sendall(data)


@pytest.fixture
def tcp(agent: AgentProcess) -> Iterator[int]:
    """A local TCP port relayed to the agent's socket, for clients that know no Unix sockets."""
    handler = type("ToThisAgent", (Relay,), {"target": agent.socket})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


TRITON = """
import json, sys
import numpy as np
import tritonclient.http as http

client = http.InferenceServerClient(sys.argv[1])
live = [client.is_server_live(), client.is_server_ready()]
live += [client.is_model_ready("kws"), client.is_model_ready("no")]
metadata = client.get_model_metadata("kws")
row = metadata["inputs"][0]
data = (np.arange(490) % 128).astype(np.int8).reshape(1, 49, 10, 1)
answers = []
for binary_in in (True, False):
    given = http.InferInput(row["name"], list(data.shape), row["datatype"])
    given.set_data_from_numpy(data, binary_data=binary_in)
    for wanted in (None, [http.InferRequestedOutput("Identity", binary_data=True)],
                   [http.InferRequestedOutput("Identity", binary_data=False)]):
        result = client.infer("kws", [given], outputs=wanted, request_id="7")
        answers.append(result.as_numpy("Identity").tolist())
server = client.get_server_metadata()["name"]
client.close()
print(json.dumps({"live": live, "server": server, "answers": answers, "versions": metadata["versions"]}))
"""


def test_unmodified_triton_client_infers(agent: AgentProcess, bundle: Bundle, tcp: int) -> None:
    """NVIDIA's public client reads metadata and infers, binary and JSON both ways, all alike."""
    # in a process of its own: its event library patches the interpreter and warns
    import importlib.util
    import sys

    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed: pip install 'tritonclient[http]'")
    agent.client.deploy(bundle)
    done = subprocess.run(
        [sys.executable, "-c", TRITON, f"127.0.0.1:{tcp}"], capture_output=True, text=True, timeout=60
    )
    assert 0 == done.returncode, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert [True, True, True, False] == answer["live"]
    assert ("edge-agent", ["1"]) == (answer["server"], answer["versions"])
    session = LiteRT().load(agent.state_dir / "models/kws/current" / bundle.config.model)
    from device_agent.tensors import Tensor

    data = bytes(index % 128 for index in range(490))
    session.set_inputs({"input_1": Tensor("int8", (1, 49, 10, 1), data)})
    session.invoke()
    expected = [list(memoryview(session.get_outputs()["Identity"].data).cast("b"))]
    assert [expected] * 6 == answer["answers"]
