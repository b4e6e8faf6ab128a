"""Who gets in: other users on the socket, clients of the TLS listener with and without a certificate."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from attrs import frozen

from device_agent import network
from tests.device_agent.harness import ROOT, AgentProcess, make_bundle, null_samples
from tests.device_agent.trusted import NAME, World, edge_agent, keygen, public, sign

HOST = "127.0.0.1"
# comes with paramiko, which the agent's own tests do without on the oldest Python
x509 = pytest.importorskip("cryptography.x509")
hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
ExtendedKeyUsageOID, NameOID = x509.oid.ExtendedKeyUsageOID, x509.oid.NameOID
LISTENER = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(1, flush=True); input()"
INFER = {"inputs": [{"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8",
                     "data": list(null_samples(1, 1)[0]["image"].data)}]}  # fmt: skip


@frozen
class Certificate:
    """A certificate with its key, and the PEM file that holds both."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path


def certify(
    file: Path,
    name: str,
    issuer: Certificate | None = None,
    *,
    ca: bool = False,
    days: tuple[int, int] = (-1, 30),
    usage: x509.ObjectIdentifier | None = None,
) -> Certificate:
    """A certificate; self-signed without an issuer. `days`: valid from and to, relative to now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now().astimezone()
    signer = issuer.key if issuer is not None else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True
        )
    )  # fmt: skip
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + pem)
    return Certificate(certificate, key, file)


@frozen
class Secured:
    """An agent that listens on the network too, and the certificates around it."""

    agent: AgentProcess
    port: int
    folder: Path
    ca: Certificate
    client: Certificate

    def connect(
        self, certificate: Path | None, *, version: ssl.TLSVersion | None = None
    ) -> http.client.HTTPSConnection:
        """A plain Python client, with a certificate or without one."""
        context = ssl.create_default_context(cafile=str(self.folder / "server-ca.pem"))
        if version is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():  # Python warns of what is tried here
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate)
        return http.client.HTTPSConnection(HOST, self.port, context=context, timeout=20)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Ask as the client that may; status and JSON."""
        connection = self.connect(self.client.file)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else {}
        finally:
            connection.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """An agent with a TLS listener, and no signer."""
    folder = tmp_path_factory.mktemp("tls")
    server_ca = certify(folder / "server-ca.pem", "server CA", ca=True)
    server = certify(folder / "server.pem", "agent", server_ca)
    ca = certify(folder / "ca.pem", "clients' CA", ca=True)
    client = certify(folder / "client.pem", "client", ca, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    options = [
        "--tls",
        f"{HOST}:0",
        "--tls-cert",
        server.file,
        "--tls-key",
        server.file,
        "--tls-client-ca",
        ca.file,
    ]
    with AgentProcess(folder / "state", *map(str, options)) as agent:
        agent.client.deploy(make_bundle(folder / "bundle"))
        lines = [json.loads(line) for line in agent.log.read_text().splitlines()]
        port = next(line["address"][1] for line in lines if line["event"] == "serving over TLS")
        yield Secured(agent, port, folder, ca, client)


def test_inference_over_tls(secured: Secured) -> None:
    """A plain Python client with a certificate infers, and gets what the socket gives."""
    assert "1" == secured.ask("GET", "/v2/models/digits/versions/1")[1]["versions"][0]  # type: ignore[index] # JSON
    status, answer = secured.ask("POST", "/v2/models/digits/infer", INFER)
    here = secured.agent.client.json("POST", "/v2/models/digits/infer", INFER)
    assert (200, here["outputs"]) == (status, answer["outputs"])
    assert 1 == secured.ask("GET", "/edge/v1/models/digits")[1]["generation"]
    assert 200 == secured.ask("GET", "/edge/v1/agent")[0]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/edge/v1/agent/shutdown"),
        ("POST", "/edge/v1/agent/keep"),
        ("GET", "/edge/v1/lease"),
        ("DELETE", "/edge/v1/models/digits"),
        ("POST", "/edge/v1/models/digits/rollback"),
        ("POST", "/edge/v1/models/digits/benchmark"),
    ],
)
def test_control_is_not_the_networks(secured: Secured, method: str, path: str) -> None:
    """What changes something and is not signed is refused over the network."""
    assert (403, "peer_refused") == _told(secured.ask(method, path))
    assert 1 == secured.agent.client.generation(NAME)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/edge/v1/uploads"),
        ("PATCH", "/edge/v1/uploads/x"),
        ("POST", "/edge/v1/models/digits/deploy"),
    ],
)
def test_nothing_unsigned_over_the_network(secured: Secured, method: str, path: str) -> None:
    """Without signers the socket takes everything, and the network nothing."""
    assert (403, "unsigned") == _told(secured.ask(method, path, {"manifest_digest": "sha256:" + "0" * 64}))


CERTIFICATES: dict[str, Callable[[Secured], Path | None]] = {
    "no certificate": lambda s: None,
    "self-signed": lambda s: certify(s.folder / "self.pem", "client").file,
    "self-signed in the CA's name": lambda s: certify(s.folder / "alias.pem", "clients' CA", ca=True).file,
    "of another CA": lambda s: certify(
        s.folder / "foreign.pem", "client", certify(s.folder / "foreign-ca.pem", "clients' CA", ca=True)
    ).file,
    "of the server's own CA": lambda s: s.folder / "server.pem",
    "expired": lambda s: certify(s.folder / "expired.pem", "client", s.ca, days=(-30, -1)).file,
    "not valid yet": lambda s: certify(s.folder / "early.pem", "client", s.ca, days=(10, 30)).file,
    "for servers only": lambda s: certify(
        s.folder / "purpose.pem", "client", s.ca, usage=ExtendedKeyUsageOID.SERVER_AUTH
    ).file,
    "of a client that plays CA": lambda s: certify(s.folder / "child.pem", "child", s.client).file,
}  # fmt: skip


@pytest.mark.parametrize("what", CERTIFICATES)
def test_certificate_is_refused(secured: Secured, what: str) -> None:
    """A client without a certificate of the CA, that is valid now and for clients, gets no answer."""
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        _get(secured.connect(CERTIFICATES[what](secured)))


def test_old_tls_is_refused(secured: Secured) -> None:
    """TLS 1.1 is not spoken, whatever the machine's OpenSSL would."""
    files = (secured.folder / "server.pem", secured.folder / "server.pem", secured.ca.file)
    made = network.context(network.settings(f"{HOST}:0", *files))
    assert (ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED) == (made.minimum_version, made.verify_mode)
    connection = secured.connect(secured.client.file, version=ssl.TLSVersion.TLSv1_1)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connection.request("GET", "/v2")
    connection.close()


def test_plain_http_is_refused(secured: Secured) -> None:
    """HTTP without TLS gets no answer."""
    connection = http.client.HTTPConnection(HOST, secured.port, timeout=20)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        _get(connection)


def test_deploy_over_tls(secured: Secured, tmp_path: Path) -> None:
    """With a signer, what is signed is taken over the network, and what is not is refused."""
    state = secured.agent.state_dir
    key = keygen(tmp_path / "signer")
    assert 0 == edge_agent(state, "signers", "add", stdin=public(key)).returncode
    try:
        bundle = make_bundle(tmp_path / "second", seed=2)
        secured.agent.client.push(bundle)
        body = {"manifest_digest": bundle.manifest_digest}
        assert (403, "unsigned") == _told(secured.ask("POST", "/edge/v1/models/digits/deploy", body))
        world = World.__new__(World)
        info = secured.ask("GET", "/edge/v1/agent")[1]
        world.device_id = info["trust"]["device_id"]  # type: ignore[index] # JSON
        text = world.statement(bundle, generation=1)
        connection = secured.connect(secured.client.file)
        connection.request(
            "POST",
            "/edge/v1/models/digits/deploy",
            json.dumps({**body, "statement": text, "signature": sign(text, key)}),
        )
        last = json.loads(connection.getresponse().read().splitlines()[-1])
        connection.close()
        assert ("result", 2) == (last["kind"], last["result"]["status"]["generation"])
    finally:
        shutil.rmtree(state / "trust")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--tls", "127.0.0.1:0"], 2),
        (["--tls", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "x"], 2),
        (["--tls-client-ca", "x"], 2),
        (["--tls", "everywhere", "--tls-cert", "x", "--tls-key", "x", "--tls-client-ca", "x"], 2),
        (["--tls", "127.0.0.1:99999", "--tls-cert", "x", "--tls-key", "x", "--tls-client-ca", "x"], 2),
        (["--tls", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "x", "--tls-client-ca", "/dev/null"], 20),
        (["--group", "no-such-group-here"], 2),
    ],
)
def test_refuses_to_start(tmp_path: Path, options: list[str], code: int) -> None:
    """A TLS listener without a CA for its clients, or with files that are none, does not start."""
    command = [
        sys.executable,
        "-m",
        "device_agent",
        "serve",
        "--state-dir",
        str(tmp_path / "state"),
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert code == done.returncode, done.stderr


def test_nothing_listens_on_the_network(tmp_path: Path) -> None:
    """Without --tls the agent and its workers have no TCP or UDP socket at all."""
    with AgentProcess(tmp_path / "state") as agent:
        agent.client.deploy(make_bundle(tmp_path / "bundle"))
        assert set() == _network_sockets(agent.process.pid)
    probe = subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with probe:
        assert probe.stdout is not None
        probe.stdout.readline()
        assert 1 == len(_network_sockets(probe.pid))  # so that the question above was a good one
        probe.kill()


def _network_sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets that are in the kernel's tables of the Internet protocols."""
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    inodes = {target[8:-1] for target in own if target.startswith("socket:[")}
    known = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        path = Path(f"/proc/{pid}/net/{table}")
        if path.exists():
            known |= {line.split()[9] for line in path.read_text().splitlines()[1:]}
    return inodes & known


def _get(connection: http.client.HTTPConnection) -> None:
    try:
        connection.request("GET", "/v2")
        connection.getresponse()
    finally:
        connection.close()


def _told(answer: tuple[int, dict[str, object]]) -> tuple[int, object]:
    return answer[0], answer[1].get("code")
