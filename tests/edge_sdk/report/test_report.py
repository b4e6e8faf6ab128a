"""Reports: what stands in them, as data and as text."""

import json
import re
from pathlib import Path

import attrs
import pytest

from converters.artifact import Artifact
from converters.convert import Conversion
from converters.quantize.accuracy.fidelity import Fidelity, OutputFidelity
from device_agent.bundle import Bundle
from device_agent.protocol import (
    BenchmarkResult,
    Deployed,
    DeploymentStatus,
    MachineState,
    OperatorTiming,
    Parity,
    Profile,
    TensorParity,
)
from edge_sdk import pipeline
from edge_sdk.report import profile, text
from edge_sdk.report.build import bench_report, convert_report, deploy_report, fidelity_report
from edge_sdk.report.result import DeployReport
from edge_sdk.saving import Saved

NULL_MODEL = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": [-1, 10]}],
}
STATE = MachineState(51.2, "ondemand", 1_800_000_000, 0.25, 3_000_000_000)
RESULT = BenchmarkResult(
    name="toy",
    generation=3,
    runtime="null",
    runtime_version="1.0",
    threads=2,
    load_ns=12_300_000,
    warmup_latencies_ns=(5000,),
    latencies_ns=tuple(range(1000, 1500)),
    peak_rss_bytes=23_400_000,
    before=STATE,
    after=STATE,
)

PROFILE = Profile(
    runs=20,
    latency_ns=6000,
    operators=(
        OperatorTiming("quick", "Relu", "jit", "CPU", 500),
        OperatorTiming("slow", "Convolution", "jit", "CPU", 3000),
        OperatorTiming("middling", "Add", "ref", "CPU", 2000),
    ),
    unattributed_ns=500,
    resolution_ns=1000,
)


@pytest.fixture
def conversion(tmp_path: Path) -> Conversion:
    """A conversion of the null road, with a fidelity as a real runtime would have it."""
    path = tmp_path / "toy.null.json"
    path.write_text(json.dumps(NULL_MODEL))
    model = pipeline.load(path)
    made = pipeline.convert(model, pipeline.plan(model, "null"))
    outputs = (
        OutputFidelity("y", 0.995, 31.5, 0.25, 2.0),
        OutputFidelity("same", None, None, 0.0, 1.0),
    )
    return attrs.evolve(
        made,
        artifact=_artifact(made.artifact),
        fidelity=Fidelity("onnxruntime 1.0", "x.npz", 200, outputs),
        baseline_fidelity=Fidelity(
            "onnxruntime 1.0", "x.npz", 200, (OutputFidelity("y", 1.0, None, 0.0, 2.0),)
        ),
    )


@pytest.fixture
def bundle(conversion: Conversion, tmp_path: Path) -> Bundle:
    """The conversion, packed."""
    return pipeline.pack(conversion, tmp_path / "bundle", name="toy")


@pytest.fixture
def report(conversion: Conversion, bundle: Bundle) -> DeployReport:
    """A deployment of it that was measured."""
    return deploy_report(conversion, bundle, "local", _deployed(bundle), RESULT, {"convert": 1_000_000})


def test_json_has_the_documented_keys(report: DeployReport) -> None:
    """The JSON of a deployment has exactly the keys that docs/report-schema.md lists, in that order."""
    page = (Path(__file__).resolve().parents[3] / "docs/report-schema.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", page, flags=re.M)
    assert documented == list(report.to_json())


def test_json_round_trips(report: DeployReport) -> None:
    """The JSON is plain: no infinities, no types of ours."""
    data = report.to_json()
    assert data == json.loads(json.dumps(data, allow_nan=False))


def test_figures_come_from_the_stages(report: DeployReport, conversion: Conversion, bundle: Bundle) -> None:
    """Sizes, counts and percentiles are those of the conversion, the bundle and the raw latencies."""
    data = report.to_json()
    assert {
        "source": conversion.model.size_bytes,
        "float32": len(conversion.baseline.data),
        "deployed": len(conversion.artifact.data),
        "bundle": bundle.size_bytes,
    } == data["sizes_bytes"]
    assert {"CONV_2D": 2, "ADD": 1} == data["operators"]
    assert {"fold": 2} == data["rewrites"]
    assert {"value": 1249, "low": 1137, "high": 1362, "confidence": 0.95} == data["latency_ns"]["p50"]
    assert (500, 2) == (data["latency_ns"]["samples"], data["latency_ns"]["threads"])
    assert list(RESULT.latencies_ns) == data["latencies_ns"]
    assert (3, 2) == (data["generation"], data["previous_generation"])


def test_overall_fidelity_is_the_worst_of_the_outputs(conversion: Conversion) -> None:
    """An identical output, which has no SNR, does not hide a worse one."""
    found = fidelity_report(conversion.fidelity)
    assert found is not None
    assert (0.995, 31.5) == (found.top1_agreement, found.snr_db)


def test_without_a_benchmark_its_fields_are_null(conversion: Conversion, bundle: Bundle) -> None:
    """A deployment that was not measured says so and invents nothing."""
    data = deploy_report(conversion, bundle, "local", _deployed(bundle), None, {}).to_json()
    keys = ("latency_ns", "latencies_ns", "load_ns", "peak_rss_bytes", "machine")
    assert [None] * 5 == [data[key] for key in keys]


def test_text_says_everything_in_eighty_columns(
    report: DeployReport, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed report names sizes, fidelity, parity, latency, memory, generation and the next commands."""
    monkeypatch.setenv("COLUMNS", "80")
    text.print_deployment(report)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in (
        "'toy' on local",
        "top-1 agreement 99.50 %, SNR 31.5 dB",
        "(float32: top-1 agreement 100.00 %, identical)",
        "y off by 1 steps (2 allowed)",
        "p50 1.25 us (1.14 us to 1.36 us)",
        "95 % confidence",
        "peak 23.4 MB",
        "governor ondemand, 1.80 GHz, 51 C",
        "3, before it 2",
        "edge rollback toy --device local",
        "edge bench toy --threads 4 --device local",
        "edge forward --port 8000 --device local",
    ):
        assert words in " ".join(out.split())


def test_first_generation_offers_no_rollback(
    conversion: Conversion, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is nothing to go back to, rolling back is not offered."""
    deployed = _deployed(bundle)
    first = attrs.evolve(deployed, status=attrs.evolve(deployed.status, previous_generation=None))
    text.print_deployment(deploy_report(conversion, bundle, "local", first, None, {}))
    out = capsys.readouterr().out
    assert "rollback" not in out
    assert "not measured" in out


def test_bench_report_keeps_the_raw_latencies(capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark's JSON holds the raw samples, and its text says where an interval is not known."""
    few = attrs.evolve(RESULT, latencies_ns=(1_500_000, 1_600_000, 1_700_000))
    found = bench_report("local", few)
    assert [1_500_000, 1_600_000, 1_700_000] == found.to_json()["latencies_ns"]
    text.print_bench(found)
    assert "p50 1.6 ms, too few runs for an interval" in capsys.readouterr().out


def test_a_bench_reports_keys_are_documented() -> None:
    """The JSON of a benchmark and of its profile has the keys that docs/report-schema.md names."""
    page = (Path(__file__).resolve().parents[3] / "docs/report-schema.md").read_text()
    section = page.split("## `edge bench`", 1)[1].split("\n## ", 1)[0]
    data = bench_report("local", attrs.evolve(RESULT, profile=PROFILE)).to_json()
    documented = set(re.findall(r"`(\w+)`", section))
    assert set() == {*data, *data["profile"], *data["profile"]["operators"][0]} - documented


def test_a_profile_adds_up_to_its_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """The longest operators, the rest, what no operator accounts for: the total is what was measured."""
    report = bench_report("local", attrs.evolve(RESULT, profile=PROFILE))
    assert report.profile is not None
    assert (6000, 1250) == (report.profile.latency_ns, report.profile.plain_latency_ns)
    assert [
        ("slow", "Convolution", "jit", "CPU", "3 us", "50.0 %"),
        ("2 more", "", "", "", "2.5 us", "41.7 %"),
        ("unattributed", "", "", "", "500 ns", "8.3 %"),
        ("total", "", "", "", "6 us", "100.0 %"),
    ] == profile.rows(report.profile, 1)
    assert 5 == len(profile.rows(report.profile, 3))
    text.print_bench(report, 1)
    out = " ".join(capsys.readouterr().out.split())
    assert "Means of 20 runs with counters, which took 6 us against 1.25 us without (+380.0 %)." in out
    assert "Counters have a resolution of 1 us" in out
    assert "Half the runs take 1.25 us at most: the machine was busy" in out
    assert 2 == len(profile.notes(report.profile, 4001))


def test_counters_that_say_too_much_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Operators that come to more than the latency leave less than nothing unattributed."""
    over = attrs.evolve(PROFILE, latency_ns=5000, unattributed_ns=-500)
    text.print_bench(bench_report("local", attrs.evolve(RESULT, profile=over)))
    assert "unattributed -500 ns -10.0 %" in " ".join(capsys.readouterr().out.split())


def test_a_cached_load_is_told_beside_the_first(
    conversion: Conversion, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a deployment and of a benchmark, as text and as JSON; a load that compiled is told plainly."""
    cached = attrs.evolve(RESULT, from_cache=True, first_load_ns=180_000_000)
    found = deploy_report(conversion, bundle, "local", _deployed(bundle), cached, {})
    assert (True, 180_000_000) == tuple(found.to_json()[key] for key in ("from_cache", "first_load_ns"))
    text.print_deployment(found)
    text.print_bench(bench_report("local", cached))
    out = " ".join(capsys.readouterr().out.split())
    assert 2 == out.count("loaded in 12.3 ms from the cache, first load 180 ms")
    text.print_bench(bench_report("local", attrs.evolve(RESULT, first_load_ns=12_300_000)))
    assert "the cache" not in capsys.readouterr().out


def test_throughput_is_told_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """In runs per second."""
    text.print_bench(bench_report("local", attrs.evolve(RESULT, runs_per_second=5740.12)))
    assert "Throughput 5740 runs per second side by side" in " ".join(capsys.readouterr().out.split())


def test_convert_report_names_its_files(conversion: Conversion, bundle: Bundle, tmp_path: Path) -> None:
    """The JSON of a conversion says where the compiled file and the bundle are."""
    data = convert_report(conversion, Saved(tmp_path / "toy_int8.tflite", bundle, None)).to_json()
    assert str(tmp_path / "toy_int8.tflite") == data["file"]
    assert str(bundle.path) == data["bundle"]
    assert bundle.manifest_digest == data["manifest_digest"]
    assert 1 == data["schema_version"]


def _artifact(null: Artifact) -> Artifact:
    return attrs.evolve(null, operators=("CONV_2D", "CONV_2D", "ADD"), rewrites={"fold": 2, "never": 0})


def _deployed(bundle: Bundle) -> Deployed:
    status = DeploymentStatus(
        "toy", 3, bundle.manifest_digest, "COMMITTED", 2, "null", "null", bundle.size_bytes
    )
    return Deployed(status, Parity(4, (TensorParity("y", "int8", 1.0, 2.0, True),)))
