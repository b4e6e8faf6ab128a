"""The commands over SSH: register, examine, deploy to one device and to several."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.devices import inventory
from tests.sshd import HOST, Sshd, bridge, free_port, keygen, serving, sshd

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "examples/digits"
NULL = ("--target", "null", "--no-bench")


@pytest.fixture
def add(run: Run, server: Sshd) -> Callable[..., Any]:
    """Registers the server as a device, with an agent's state folder behind it."""

    def register(name: str, state: Path, *more: str | Path, target: str | Path = "null") -> Any:
        return run(
            "devices", "add", name, server.address, "--target", target, "--identity", server.identity,
            "--known-hosts", server.known_hosts, "--agent-command", bridge(state), *more, "--json", "-",
        )  # fmt: skip

    return register


@pytest.fixture
def two(tmp_path: Path, add: Callable[..., Any]) -> Iterator[list[Path]]:
    """Two registered devices, `one` and `two`: two agents behind one server."""
    states = [tmp_path / "state-one", tmp_path / "state-two"]
    with serving(states[0]), serving(states[1]):
        for name, state in zip(("one", "two"), states, strict=True):
            assert 0 == add(name, state).code
        yield states


def board(tmp_path: Path, architecture: str = "host") -> Path:
    """A board of the test's own that runs LiteRT."""
    file = tmp_path / "bench-board.toml"
    text = (ROOT / "targets/boards/local.toml").read_text()
    file.write_text(text.replace('architecture = "host"', f'architecture = "{architecture}"'))
    return file


def test_null_road(run: Run, server: Sshd, agent: Path, add: Callable[..., Any], make_model: Run) -> None:
    """Registered once, a device is deployed to, measured, rolled back and cleaned by its name."""
    assert 0 == add("kitchen", agent).code
    done = run("deploy", make_model(width=4), "--target", "null", "--device", "kitchen", "--json", "-")
    assert 0 == done.code, done.err
    assert ("kitchen", 1, True) == (
        done.json["device"], done.json["generation"], done.json["parity"]["passed"]
    )  # fmt: skip
    assert done.json["latency_ns"]["samples"] >= 200
    # the target comes from the device where none is named
    done = run("deploy", make_model(width=5), "--device", "kitchen", "--no-bench", "--json", "-")
    assert (2, "null") == (done.json["generation"], done.json["target"])
    assert 1 == run("rollback", "toy", "--device", "kitchen", "--json", "-").json["generation"]
    assert 0 == run("bench", "toy", "--iterations", "10", "--seconds", "0", "--device", "kitchen").code
    shown = run("devices", "show", "kitchen", "--json", "-").json
    assert (["toy"], "null") == ([row["name"] for row in shown["deployments"]], shown["target"])
    assert server.address == shown["registration"]["address"]
    assert "Address" in run("devices", "show", "kitchen").out
    assert 0 == run("remove", "toy", "--device", "kitchen").code
    assert 0 == run("devices", "remove", "kitchen").code
    assert {} == inventory.load()
    assert 2 == run("devices", "remove", "kitchen").code


def test_litert_deploy(run: Run, agent: Path, add: Callable[..., Any], tmp_path: Path) -> None:
    """The digits model runs on a device behind SSH, chosen by its target, as it does on the host."""
    target = board(tmp_path)
    assert 0 == add("bench", agent, target=target).code
    done = run(
        "deploy", DIGITS / "digits.onnx", "--target", target, "--calibration", DIGITS / "calibration.npz",
        "--json", "-",
    )  # fmt: skip
    assert 0 == done.code, done.err
    report = done.json
    assert ("bench", "bench-board", "int8") == (report["device"], report["target"], report["precision"])
    assert report["parity"]["passed"]
    assert "litert" == report["runtime"]["name"]
    assert report["latency_ns"]["p50"]["value"] > 0


def test_unknown_host_key_is_accepted_by_its_fingerprint(
    run: Run, server: Sshd, agent: Path, make_model: Run
) -> None:
    """The refusal holds the command that accepts the key; typed with the right fingerprint it does."""
    options = ("--identity", server.identity, "--agent-command", bridge(agent))
    add = ("devices", "add", "kitchen", server.address, "--target", "null")
    assert 0 == run(*add, *options).code
    refused = run("deploy", make_model(), *NULL, "--device", "kitchen", "--json", "-")
    assert (40, "host_key") == (refused.code, refused.json["code"])
    command = re.search(r"`edge (devices add [^`]*)`", refused.json["error"])
    assert command is not None
    wrong = run(*add, "--accept-key", "SHA256:" + "x" * 43)
    assert 40 == wrong.code
    assert server.host_key.fingerprint in wrong.err
    accepted = run(*command[1].split())
    assert 0 == accepted.code, accepted.err
    assert f"{server.host_key.fingerprint}: it matches" in accepted.out
    assert server.host_key == inventory.load()["kitchen"].pinned
    assert 0 == run("deploy", make_model(), *NULL, "--device", "kitchen").code


def test_changed_host_key_is_never_accepted(run: Run, server: Sshd, agent: Path, tmp_path: Path) -> None:
    """A device that has a key pinned is refused with another one, even where that is to be accepted."""
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text().split()
    path = inventory.path()
    path.parent.mkdir(parents=True)
    path.write_text(
        f'[kitchen]\naddress = "{server.address}"\ntarget = "null"\nhost_key = "{other[0]} {other[1]}"\n'
    )
    refused = [
        run("devices", "show", "kitchen", "--json", "-"),
        run(
            "devices", "add", "kitchen", server.address, "--target", "null",
            "--accept-key", server.host_key.fingerprint, "--json", "-",
        ),
    ]  # fmt: skip
    for done in refused:
        assert 40 == done.code
        assert "has changed" in done.err
        assert server.host_key.fingerprint in done.json["got"]
        assert inventory.load()["kitchen"].pinned.fingerprint in done.json["expected"]


def test_address_that_is_not_registered(run: Run, server: Sshd, own_settings: Path, make_model: Run) -> None:
    """An address works without registration where ~/.ssh has all it takes; its target must be said."""
    (own_settings / ".ssh/known_hosts").write_text(server.known_hosts.read_text())
    shutil.copy(server.identity, own_settings / ".ssh/id_ed25519")
    done = run("deploy", make_model(), *NULL, "--device", server.address, "--json", "-")
    assert (21, "no agent is installed on the device") == (done.code, done.json["what"])
    done = run("deploy", make_model(), "--device", f"ssh://{server.address}")
    assert 2 == done.code
    assert "--target" in done.err


def test_doctor(run: Run, agent: Path, add: Callable[..., Any], tmp_path: Path) -> None:
    """Each step of the way is looked at, and all are right."""
    assert 0 == add("kitchen", agent).code
    done = run("devices", "doctor", "kitchen", "--json", "-")
    assert 0 == done.code, done.out
    # which finds processors of its own, where it is installed
    openvino = ["openvino"] if importlib.util.find_spec("openvino") is not None else []
    assert [
        "config", "name", "port", "host key", "login", "agent", "protocol", "runtimes", *openvino, "disk",
        "trust", "workers", "memory", "target",
    ] == [check["name"] for check in done.json["checks"]]  # fmt: skip
    assert all("CPU (" in check["message"] for check in done.json["checks"] if check["name"] == "openvino")
    text = run("devices", "doctor", "kitchen").out
    assert "ok    login" in text
    wrong = "armv7l" if platform.machine() != "armv7l" else "aarch64"
    assert 0 == add("kitchen", agent, target=board(tmp_path, wrong)).code
    done = run("devices", "doctor", "kitchen", "--json", "-")
    assert (1, "fail") == (done.code, done.json["checks"][-1]["status"])
    assert wrong in done.json["checks"][-1]["message"]
    assert 0 == run("devices", "doctor", "fake").code


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"address": "x@nosuch.invalid"}, "name"),
        ({"address": f"x@{HOST}:{{port}}"}, "port"),
        ({"known_hosts": "/dev/null"}, "host key"),
        ({"identity": "{stranger}"}, "login"),
        ({"agent_command": "no-such-agent"}, "agent"),
    ],
)
def test_doctor_stops_at_what_fails(
    change: dict[str, str], step: str, run: Run, server: Sshd, tmp_path: Path
) -> None:
    """The first step that fails is the last, with what to do."""
    places = {"port": free_port(), "stranger": keygen(tmp_path / "stranger")}
    fields = {
        "address": server.address,
        "target": "null",
        "identity": str(server.identity),
        "known_hosts": str(server.known_hosts),
        **{key: value.format(**places) for key, value in change.items()},
    }
    path = inventory.path()
    path.parent.mkdir(parents=True)
    path.write_text("[pi]\n" + "".join(f'{key} = "{value}"\n' for key, value in fields.items()))
    done = run("devices", "doctor", "pi", "--json", "-")
    assert 1 == done.code
    last = done.json["checks"][-1]
    assert (step, "fail") == (last["name"], last["status"])
    assert last["next_step"]
    assert all("ok" == check["status"] for check in done.json["checks"][:-1])


def test_doctor_of_a_changed_host_key(
    run: Run, server: Sshd, add: Callable[..., Any], tmp_path: Path
) -> None:
    """A key that has changed is the step that fails: both fingerprints, and how to forget the old one."""
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text().split()
    assert 0 == add("pi", tmp_path / "state").code
    path = inventory.path()
    path.write_text(path.read_text() + f'host_key = "{other[0]} {other[1]}"\n')
    done = run("devices", "doctor", "pi", "--json", "-")
    last = done.json["checks"][-1]
    assert (1, "host key", "fail") == (done.code, last["name"], last["status"])
    assert server.host_key.fingerprint in last["message"]
    assert "edge devices remove" in last["next_step"]


def test_doctor_of_a_dead_agent(run: Run, add: Callable[..., Any], tmp_path: Path) -> None:
    """An agent that was killed leaves its socket; the step says where, and what to do."""
    folder = tmp_path / "there"
    with serving(folder) as process:
        process.kill()
        process.wait()
    assert (folder / "agent.sock").exists()
    assert 0 == add("pi", folder).code
    done = run("devices", "doctor", "pi", "--json", "-")
    last = done.json["checks"][-1]
    assert (1, "agent", "fail") == (done.code, last["name"], last["status"])
    assert str(folder) in last["message"]
    assert last["next_step"]


@contextmanager
def imposter(path: Path, answer: bytes) -> Iterator[None]:
    """Something that listens on an agent's socket: leases are given, all else is answered with `answer`."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            if b"/lease " in request:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n{}\n")
                self.rfile.read()
            else:
                self.wfile.write(answer)

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        block_on_close = False

    with Server(str(path), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            listening.shutdown()
            thread.join()


ANSWERS = [
    ("protocol", "version", b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"protocol": 0}'),
    ("protocol", "not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("protocol", "error that is not one of ours", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"),
    ("agent", "broke", b""),
]


@pytest.mark.parametrize(("step", "said", "answer"), ANSWERS)
def test_doctor_of_what_is_not_our_agent(
    step: str, said: str, answer: bytes, run: Run, add: Callable[..., Any], tmp_path: Path
) -> None:
    """An agent of another protocol, and what is no agent at all, are told apart, with what to do."""
    folder = tmp_path / "there"
    folder.mkdir(mode=0o700)

    with imposter(folder / "agent.sock", answer):
        assert 0 == add("pi", folder).code
        done = run("devices", "doctor", "pi", "--json", "-")
    last = done.json["checks"][-1]
    assert (1, step, "fail") == (done.code, last["name"], last["status"]), last
    assert said in last["message"]
    assert last["next_step"]


def test_doctor_of_a_device_without_its_runtime(
    run: Run, agent: Path, add: Callable[..., Any], tmp_path: Path
) -> None:
    """A runtime that the target needs and the device has not, or too old, fails with what brings it."""
    target = board(tmp_path)
    target.write_text(re.sub(r'litert = "[^"]*"', 'litert = "99.0"', target.read_text()))
    assert 0 == add("pi", agent, target=target).code
    done = run("devices", "doctor", "pi", "--json", "-")
    (check,) = [check for check in done.json["checks"] if check["name"] == "runtimes"]
    assert (1, "fail") == (done.code, check["status"])
    assert "litert >= 99.0" in check["message"]
    assert "edge devices upgrade pi" in check["next_step"]


def test_doctor_of_nobody(run: Run) -> None:
    """A name that nothing has is the first step that fails."""
    done = run("devices", "doctor", "nobody", "--json", "-")
    assert (1, "address") == (done.code, done.json["checks"][0]["name"])


def test_several_devices(run: Run, two: list[Path], make_model: Run) -> None:
    """One conversion reaches two devices; a table for people, a list of reports as JSON."""
    words = ("--device", "one", "--device", "two")
    done = run("deploy", make_model(), "--target", "null", *words, "--json", "-")
    assert 0 == done.code, done.err
    assert done.json["ok"]
    rows = done.json["devices"]
    assert [("one", 1), ("two", 1)] == [(row["device"], row["generation"]) for row in rows]
    assert all(row["parity"]["passed"] and row["latencies_ns"] for row in rows)
    assert "one: upload ..." in done.err
    text = run("deploy", make_model(), *NULL, *words).out
    assert 2 == text.count("was active already")
    assert max(map(len, text.splitlines())) <= 80


def test_one_of_several_fails(run: Run, two: list[Path], add: Callable[..., Any], make_model: Run) -> None:
    """The others are deployed to; the exit code is the worst one's, its error in the summary."""
    assert 0 == add("gone", Path("/nowhere")).code
    words = ("--device", "one", "--device", "gone", "--device", "two")
    done = run("deploy", make_model(), *NULL, *words, "--json", "-")
    assert 21 == done.code
    assert [1, None, 1] == [row.get("generation") for row in done.json["devices"]]
    assert (False, "agent_unreachable") == (done.json["ok"], done.json["devices"][1]["code"])
    assert "failed: agent_unreachable" in run("deploy", make_model(), *NULL, *words).out


def test_none_of_several_answers(run: Run, add: Callable[..., Any], make_model: Run) -> None:
    """Where no device can be reached nothing is converted, and every reason is given."""
    for name in ("a", "b"):
        assert 0 == add(name, Path("/nowhere") / name).code
    done = run("deploy", make_model(), *NULL, "--device", "a", "--device", "b")
    assert 21 == done.code
    assert "none of the devices" in done.err
    assert "convert ..." not in done.err
    assert 2 == run("deploy", make_model(), *NULL, "--device", "a", "--device", "a").code


def test_list(run: Run, state: Path, two: list[Path], add: Callable[..., Any]) -> None:
    """All devices are listed; with --check each is asked."""
    assert 0 == add("gone", Path("/nowhere")).code
    rows = run("devices", "list", "--json", "-").json
    assert ["local", "fake", "one", "two", "gone"] == [row["name"] for row in rows]
    assert all("reachable" not in row for row in rows)
    rows = run("devices", "list", "--check", "--json", "-").json
    assert [True, True, True, True, False] == [row["reachable"] for row in rows]
    text = run("devices", "list", "--check").out
    assert "answers" in text
    assert "no agent answers" in text


def test_the_only_device_of_a_target(
    run: Run, agent: Path, add: Callable[..., Any], tmp_path: Path, make_model: Run
) -> None:
    """Without --device a target without devices, and one with several, say what to type."""
    target = tmp_path / "mine.toml"
    shutil.copy(ROOT / "targets/boards/null.toml", target)
    done = run("deploy", make_model(), "--target", target, "--no-bench")
    assert (2, True) == (done.code, "edge devices add" in done.err)
    assert 0 == add("one", agent, target=target).code
    assert 0 == run("deploy", make_model(), "--target", target, "--no-bench").code
    assert 0 == add("other", agent, target=target).code
    done = run("deploy", make_model(), "--target", target, "--no-bench")
    assert 2 == done.code
    assert "one, other" in done.err


def test_server_that_forbids_keys(run: Run, tmp_path: Path) -> None:
    """A server that takes no keys is said to be one; no password is asked for."""
    with sshd(tmp_path / "strict", "PubkeyAuthentication no\nPasswordAuthentication yes") as strict:
        done = run(
            "devices", "add", "strict", strict.address, "--target", "null", "--identity", strict.identity,
            "--known-hosts", strict.known_hosts,
        )  # fmt: skip
        assert 0 == done.code
        done = run("devices", "show", "strict", "--json", "-")
        assert (21, "the device does not take keys") == (done.code, done.json["what"])


def test_the_only_registered_device_is_meant(
    run: Run, state: Path, agent: Path, add: Callable[..., Any], make_model: Run
) -> None:
    """Without --device every command goes to it, says so on stderr, and starts nothing on this machine."""
    assert 0 == add("kitchen", agent).code
    for width in (4, 5):
        assert 0 == run("deploy", make_model(width=width), *NULL, "--device", "kitchen").code
    back = run("rollback", "toy", "--json", "-")
    assert (0, "kitchen", 1) == (back.code, back.json["device"], back.json["generation"])
    assert "device: kitchen" in back.err
    assert (
        "kitchen" == run("bench", "toy", "--iterations", "10", "--seconds", "0", "--json", "-").json["device"]
    )
    assert 3 == len(run("devices", "history", "toy", "--json", "-").json)
    assert ["toy"] == [row["name"] for row in run("devices", "show", "--json", "-").json["deployments"]]
    assert "kitchen" == run("devices", "doctor", "--json", "-").json["device"]
    assert 2 == run("rollback", "toy", "--target", "rpi5").code
    assert 2 == run("rollback", "toy", "--target", "rpi5", "--device", "kitchen").code
    assert "removed from kitchen" in run("remove", "toy", "--target", "null").out
    assert not state.exists()


def test_never_the_wrong_one_of_two(run: Run, state: Path, two: list[Path], make_model: Run) -> None:
    """With several registered a command that names none changes nothing, and lists them."""
    assert 0 == run("deploy", make_model(), *NULL, "--device", "one").code
    for words in (
        ("rollback", "toy"),
        ("remove", "toy"),
        ("bench", "toy"),
        ("forward",),
        ("devices", "show"),
    ):
        done = run(*words)
        assert (2, True) == (done.code, "one, two" in done.err), words
    assert ["toy"] == [
        row["name"] for row in run("devices", "show", "one", "--json", "-").json["deployments"]
    ]


def test_every_command_on_several_devices(run: Run, two: list[Path], make_model: Run) -> None:
    """Each takes several devices: a list in JSON, a table for people, the exit code of the worst."""
    both = ("--device", "one", "--device", "two")
    for width in (4, 5):
        assert 0 == run("deploy", make_model(width=width), *NULL, *both).code
    quick = ("--iterations", "10", "--seconds", "0")
    for words in (("bench", "toy", *quick), ("rollback", "toy"), ("devices", "history", "toy")):
        done = run(*words, *both, "--json", "-")
        assert (0, True) == (done.code, done.json["ok"]), done.err
        assert ["one", "two"] == [row["device"] for row in done.json["devices"]]
    assert [1, 1] == [
        row["deployments"][0]["generation"]
        for row in (run("devices", "show", name, "--json", "-").json for name in ("one", "two"))
    ]
    text = run("bench", "toy", *quick, *both).out
    assert (2, True) == (text.count("measured"), max(map(len, text.splitlines())) <= 80)
    assert 0 == run("remove", "toy", "--device", "one").code
    done = run("remove", "toy", *both, "--json", "-")
    assert (26, ["unknown_model", None]) == (done.code, [row.get("code") for row in done.json["devices"]])
    assert "failed: unknown_model" in run("remove", "toy", *both).out
    done = run("devices", "doctor", "one", "two", "--json", "-")
    assert (0, ["one", "two"]) == (done.code, [row["device"] for row in done.json["devices"]])
    done = run("devices", "uninstall", "one", "two", "--dry-run", "--json", "-")
    assert (0, ["one", "two"]) == (done.code, [row["device"] for row in done.json["devices"]]), done.err
