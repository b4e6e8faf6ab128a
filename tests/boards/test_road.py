"""The road to a virtual Raspberry Pi 4: install, deploy, infer, measure, lose power, uninstall."""

import json
from pathlib import Path

import pytest

from tests.boards.breakage import cut_while_deploying
from tests.boards.conftest import converted
from tests.boards.emulator import Board
from tests.boards.observe import NO_ROUTE, answers, everything_on, on_host
from tests.edge_sdk.cli.conftest import Ran, invoke

pytestmark = [pytest.mark.board, pytest.mark.vm, pytest.mark.zoo, pytest.mark.slow, pytest.mark.timeout(900)]


def edge(*words: str | Path) -> Ran:
    done = invoke(*words)
    assert 0 == done.code, done.err
    return done


def test_from_a_fresh_image_to_nothing_left(
    raspberry: Board, zoo: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No route to a registry; int8 ResNet-8 computes there what it computes here; a power cut in the middle
    of the next deployment leaves one of the two active; nothing is left in the end."""
    on_host(raspberry, NO_ROUTE)
    before = everything_on(raspberry)
    monkeypatch.setenv("EDGE_DEVICES", str(tmp_path / "devices.toml"))
    model = zoo / "models/onnx/resnet8.onnx"
    edge(
        "devices", "add", "pi", raspberry.address, "--target", "rpi4", "--identity", raspberry.identity,
        "--known-hosts", raspberry.known_hosts,
    )  # fmt: skip
    installed = edge("devices", "install", "pi", "--json", "-").json
    assert ("installed", "system") == (installed["action"], installed["service"])
    assert {"machine": "aarch64", "word_bits": 64, "memory_cgroup": True}.items() <= installed[
        "agent"
    ].items()

    deployed = edge("deploy", model, "--device", "pi", "--calibration", calibration, "--json", "-").json
    assert (1, True) == (deployed["generation"], deployed["parity"]["passed"])
    assert deployed["latency_ns"]["samples"] >= 200

    known = [converted(model, "rpi4", precision, calibration, tmp_path) for precision in ("int8", "float32")]
    assert 1 == answers(raspberry, *known).generation
    active, _ = cut_while_deploying(raspberry, known[1], known, 6.0)
    assert active in [bundle.manifest_digest for bundle in known]
    with raspberry.device() as device:  # whatever was cut off, the next one goes through
        assert "COMMITTED" == device.deploy(known[1]).deployed.status.state
    answers(raspberry, known[1])
    checks = edge("devices", "doctor", "pi", "--json", "-").json["checks"]
    # the card of a virtual board is small
    assert {"disk"} >= {check["name"] for check in checks if check["status"] != "ok"}, json.dumps(checks)

    edge("devices", "uninstall", "pi")
    assert before == everything_on(raspberry)
