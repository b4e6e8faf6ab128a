"""The faster of the runtimes: real conversions, a real agent, real workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import edge_sdk
from device_agent.bundle import Execution
from device_agent.errors import AccuracyMissed, InvalidRequest, RuntimeMissing
from device_agent.protocol import BenchmarkRequest
from edge_sdk import candidates as making
from edge_sdk import fastest
from edge_sdk.bench.choice import CHOSEN
from edge_sdk.candidates import Refused
from edge_sdk.devices.device import Device
from edge_sdk.report.choice import choice_report, print_choice
from targets.schema import Target, load_target

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
QUICK = BenchmarkRequest(warmup_iterations=1, min_iterations=3, min_seconds=0.001, max_seconds=1.0)
ASKED: dict[str, Any] = {"calibration": DIGITS / "calibration.npz"}


@pytest.fixture(scope="module")
def digits() -> edge_sdk.Model:
    """The digits CNN."""
    return edge_sdk.load(DIGITS / "digits.onnx")


@pytest.fixture(autouse=True)
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """However noisy the machine is, nothing is measured for longer."""
    monkeypatch.setattr(fastest, "LOOKS", 1)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    """A device that all tests here share."""
    with edge_sdk.device("fake") as opened:
        yield opened


def deployed(device: Device) -> dict[str, str]:
    """The runtime of each deployment, by its name."""
    return {status.name: status.runtime for status in device.deployments()}


@pytest.fixture
def litert() -> Target:
    """This machine as a board that has LiteRT, and before it a runtime that is not installed anywhere."""
    board = load_target("local")
    processor = evolve(board.processors[0], backends=("tflite", "litert"))
    return evolve(board, processors=(processor,), runtimes={"tflite": "99.0", "litert": "2.3.0"})


def test_the_faster_is_deployed_and_the_other_is_gone(
    digits: edge_sdk.Model, device: Device, litert: Target
) -> None:
    """int8 and float32 are measured, one is deployed; of the other no file stays on the device."""
    found = edge_sdk.deploy_fastest(digits, device, target=litert, request=QUICK, name="both", **ASKED)
    choice = found.choice
    assert ["litert int8", "litert float32"] == [each.label for each in choice.candidates]
    assert fastest.CALLS * fastest.ROUNDS == choice.decision.rounds
    assert found.deployment.parity.passed
    assert {"both": "litert"} == deployed(device)
    blobs = {file.name for file in (Path(device.describe().state_dir) / "blobs/sha256").iterdir()}
    kept = [each for each in choice.candidates if each.conversion.artifact.sha256 in blobs]
    assert [choice.chosen] == kept


def test_what_the_device_lacks_is_not_converted(
    digits: edge_sdk.Model, device: Device, litert: Target
) -> None:
    """A runtime that the device does not have is refused with its name before anything is made for it."""
    told: list[str] = []
    made = fastest.candidates(
        digits, litert, (device,), precision="float32", progress=lambda what, *_: told.append(what)
    )
    assert [("tflite", RuntimeMissing)] == [(each.label, type(each.error)) for each in made.refused]
    assert ["litert float32"] == [each.label for each in made.made]
    assert not [what for what in told if what.startswith("tflite")]


def test_one_candidate_is_deployed_unmeasured(digits: edge_sdk.Model, device: Device, litert: Target) -> None:
    """Where a single candidate is left there is nothing to compare, and the report says so."""
    found = edge_sdk.deploy_fastest(digits, device, target=litert, precision="float32", name="alone")
    assert (None, "litert float32 is the only candidate left") == (
        found.choice.compared,
        found.choice.decision.sentence,
    )
    assert "alone" == found.deployment.name


def test_no_runtime_at_all(digits: edge_sdk.Model, device: Device, litert: Target) -> None:
    """A device without any of the board's runtimes is refused, with what would help."""
    none = evolve(litert, runtimes={"tflite": "99.0", "litert": "99.0"})
    with pytest.raises(RuntimeMissing, match=r"expected tflite >= 99\.0\. `edge devices install fake"):
        edge_sdk.deploy_fastest(digits, device, target=none, precision="float32", name="none")
    assert "none" not in deployed(device)


def test_accuracy_that_nothing_keeps(digits: edge_sdk.Model, device: Device, litert: Target) -> None:
    """Where no runtime keeps the accuracy the error is that of the nearest, and nothing is deployed."""
    with pytest.raises(AccuracyMissed) as caught:
        edge_sdk.deploy_fastest(
            digits, device, target=litert, precision="int8", metric="cosine", max_drop=0.0, name="missed",
            **ASKED,
        )  # fmt: skip
    assert "int8" == caught.value.best.artifact.precision
    assert "missed" not in deployed(device)
    far = AccuracyMissed("far")
    far.best = evolve(caught.value.best, search=_dropping(caught.value.best.search))
    other = RuntimeMissing("another reason")
    refused = [Refused(name, error) for name, error in (("a", other), ("b", far), ("c", caught.value))]
    assert caught.value is making.none_made(refused)
    assert other is making.none_made(refused[:1])


def _dropping(search: Any) -> Any:
    """A search whose best candidate drops by one more."""
    return evolve(
        search,
        candidates=tuple(
            evolve(one, judgement=evolve(one.judgement, drop=one.judgement.drop + 1))
            for one in search.candidates
        ),
    )


def test_each_runtime_has_its_own_journal() -> None:
    """Two searches never share a file that keeps what was tried."""
    assert Path("d/tried-openvino.json") == making.journal("d/tried.json", "openvino")
    assert making.journal(None, "openvino") is None


def test_an_unknown_device_needs_a_target(
    digits: edge_sdk.Model, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that does not say what it is cannot be converted for."""
    monkeypatch.setattr(device, "target", None)
    with pytest.raises(InvalidRequest, match="it is not known what the device is"):
        edge_sdk.deploy_fastest(digits, device)


@pytest.mark.usefixtures("openvino")
def test_openvino_against_litert(
    digits: edge_sdk.Model,
    device: Device,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both runtimes make the float model; on the device one is kept, and the report explains it.

    What only runtimes with several processors take is asked of those alone.
    """
    monkeypatch.setattr(fastest, "CALLS", 1)
    found = edge_sdk.deploy_fastest(
        digits, device, target="local", precision="float32", request=QUICK, name="two",
        execution=Execution(device="CPU"),
    )  # fmt: skip
    labels = [each.label for each in found.choice.candidates]
    assert (["litert float32", "openvino float32"], ()) == (labels, found.choice.refused)
    report = choice_report(found.choice)
    data = report.to_json()
    assert [CHOSEN] == [one["verdict"] for one in data["candidates"] if one["label"] == data["chosen"]]
    assert all(len(one["latencies_ns"]) == data["rounds"] for one in data["candidates"])
    print_choice(report)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{report.sentence}." in shown
    assert report.chosen.split()[0] == deployed(device)["two"]
