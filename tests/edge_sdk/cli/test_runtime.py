"""`--runtime` and what OpenVINO can be told, through the commands: a real network, a real agent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent.bundle import read_bundle
from edge_sdk.cli.running import RuntimeOptions

pytestmark = pytest.mark.usefixtures("openvino")
Run = Callable[..., Any]
DIGITS = Path(__file__).resolve().parents[3] / "examples/digits"
MODEL = DIGITS / "digits.onnx"
FLOAT = ("--runtime", "openvino", "--precision", "float32")


def test_nothing_asked_is_nothing_said() -> None:
    """Without an option there is no execution to plan with; with one, the device is the processor's."""
    assert None is RuntimeOptions("openvino").execution
    assert ("", "latency", True) == (
        (found := RuntimeOptions(strict=True).execution).device, found.hint, found.strict
    )  # fmt: skip


def test_a_plan_says_how_it_will_be_run(run: Run) -> None:
    """The first line names runtime, device, hint and precision; `--json` has the execution."""
    asked = (*FLOAT, "--device-kind", "hetero:gpu,cpu", "--hint", "throughput", "--streams", 2, "--strict")
    done = run("plan", MODEL, *map(str, asked))
    assert 0 == done.code
    head = " ".join(done.out.split())
    assert "(openvino >= 2025.4 on HETERO:GPU,CPU for throughput in f32, 2 streams, strictly, float32" in head
    execution = run("plan", MODEL, *map(str, asked), "--json", "-").json["execution"]
    assert ("HETERO:GPU,CPU", 2, True) == (
        execution["device"], execution["streams"], execution["strict"]
    )  # fmt: skip


def test_auto_is_for_devices(run: Run, tmp_path: Path) -> None:
    """A plan with `--runtime auto` shows every runtime; a conversion is refused: nothing can be measured."""
    done = run("plan", MODEL, "--runtime", "auto", "--json", "-")
    assert ["litert", "openvino"] == [plan["runtime"] for plan in done.json]
    for command in ("convert", "quantize"):
        refused = run(command, MODEL, "--runtime", "auto", "-o", tmp_path / "out")
        assert (2, False) == (refused.code, (tmp_path / "out").exists())
        assert "edge deploy --runtime auto" in refused.err
    told = run("deploy", MODEL, "--device", "fake", "--runtime", "auto", "--streams", "2")
    assert (2, True) == (told.code, "--runtime openvino" in told.err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device-kind", "GPU"), "`--runtime openvino` can"),
        ((*FLOAT, "--device-kind", "TPU"), "not a kind of device: got 'TPU'"),
        (("--runtime", "onnxruntime"), "litert or openvino"),
    ],
)
def test_what_cannot_be_asked(run: Run, words: tuple[str, ...], said: str) -> None:
    """It is refused with exit code 2 and what could be asked instead."""
    done = run("plan", MODEL, *words)
    assert (2, True) == (done.code, said in done.err)


def test_both_files_are_kept(run: Run, tmp_path: Path) -> None:
    """`edge convert` writes the IR's two files and a bundle that holds both, and says how it is run."""
    done = run("convert", MODEL, *FLOAT, "--inference-precision", "f16", "-o", tmp_path, "--json", "-").json
    assert [str(tmp_path / name) for name in ("digits_float32.xml", "digits_float32.bin")] == done["files"]
    assert all(Path(file).is_file() for file in done["files"])
    bundle = read_bundle(tmp_path / "bundle")
    assert (("digits_float32.bin",), "f16") == (bundle.config.files, bundle.config.execution.precision)
    assert done["execution"]["precision"] == "f16"
    assert bundle.config.tolerance["probabilities"] > 1e-3  # float32's is 1e-3
    clash = run("convert", tmp_path / "digits_float32.xml", *FLOAT, "--name", "x", "-o", tmp_path)
    assert (0, True) == (clash.code, (tmp_path / "digits_float32_float32.xml").is_file())


def test_where_operators_run_is_read_back(run: Run, tmp_path: Path, state: Path) -> None:
    """HETERO's operators are planned on the device, and run there: told as JSON, and as the bundle's text."""
    words = ("--device", "local", "--device-kind", "HETERO:CPU", "--strict", "--no-bench", "-o", tmp_path)
    done = run("deploy", MODEL, *FLOAT, *words, "--json", "-")
    assert 0 == done.code, done.err
    runs_on, execution = done.json["runs_on"], done.json["execution"]
    assert ("HETERO:CPU", [], ["CPU"]) == (
        runs_on["device"], runs_on["departures"], list(runs_on["devices"])
    )  # fmt: skip
    assert ({"CPU"}, True) == (set(execution["affinities"].values()), execution["strict"])
    assert set(execution["affinities"]) & {name for each in runs_on["operators"] for name in each["sources"]}
    assert "place" in done.json["timings_ns"]
    again = run("deploy", tmp_path, "--device", "local")
    assert (0, True) == (
        again.code,
        f"HETERO:CPU: all {len(runs_on['operators'])} operators on CPU" in again.out,
    )


def test_an_npu_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """The device is asked before anything is converted: what it has and what to type is said."""
    done = run("deploy", MODEL, *FLOAT, "--device", "fake", "--device-kind", "NPU", "-o", tmp_path / "out")
    assert (36, False) == (done.code, (tmp_path / "out").exists())
    assert "fake: the device has no NPU that OpenVINO can use: got CPU (" in done.err
    assert "--device-kind CPU" in done.err


def test_a_bundle_says_itself_how_it_runs(run: Run, make_bundle: Callable[..., Any]) -> None:
    """Options of the runtime beside a bundle are refused."""
    done = run("deploy", make_bundle().path, "--device", "fake", "--strict")
    assert (2, True) == (done.code, "a bundle says itself" in done.err)
