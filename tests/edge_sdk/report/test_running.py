"""How a model is run and where its operators are, in words."""

from converters.partition.types import Alternative
from device_agent.bundle import Execution
from device_agent.protocol import PlacedOperator, Placement
from edge_sdk.report import running
from edge_sdk.report.build import runs_on_report

OPERATORS = tuple(
    PlacedOperator(str(number), "Add", "GPU.0" if number < 3 else "CPU", "f16", ()) for number in range(4)
)


def test_an_execution_in_words() -> None:
    """Device, hint and precision; streams and strictness where they are asked for."""
    assert "on CPU for latency in f32" == running.words(Execution(precision="f32"))
    full = Execution("HETERO:GPU,CPU", "throughput", "f16", 1, strict=True)
    assert "on HETERO:GPU,CPU for throughput in f16, 1 stream, strictly" == running.words(full)


def test_where_operators_run() -> None:
    """Counts by processor, the most first; all of them where there is one."""
    spread = runs_on_report(Placement("HETERO:GPU,CPU", OPERATORS))
    assert {"GPU.0": 3, "CPU": 1} == spread.devices
    assert [("Runs on", "HETERO:GPU,CPU: 3 on GPU.0, 1 on CPU of 4 operators")] == running.rows(spread)
    alone = runs_on_report(Placement("GPU", OPERATORS[:3]))
    assert [("Runs on", "GPU: all 3 operators on GPU.0")] == running.rows(alone)
    assert (None, []) == (runs_on_report(None), running.rows(None))


def test_departures_are_a_warning() -> None:
    """The first are told, the rest counted; the report has them all."""
    gone = tuple(f"{number} runs on CPU, not on GPU" for number in range(7))
    report = runs_on_report(Placement("HETERO:GPU,CPU", OPERATORS, gone))
    _, (head, text) = running.rows(report)
    assert ("Warning", gone) == (head, report.departures)
    assert ["7 operators are not where planned:", *gone[:5], "and 2 more"] == text.splitlines()
    _, (_, one) = running.rows(runs_on_report(Placement("GPU", OPERATORS, gone[:1])))
    assert ["1 operator is not where planned:", gone[0]] == one.splitlines()


def test_alternatives() -> None:
    """What takes the model says what to type, what does not says why."""
    lines = running.alternatives(
        (Alternative("openvino", accepted=True, reason="takes every operator"),
         Alternative("tflite", accepted=False, reason="refuses 1 of 2 operators: Foo"))
    )  # fmt: skip
    assert [
        "instead: `--runtime openvino` takes every operator",
        "neither does tflite: refuses 1 of 2 operators: Foo",
    ] == lines
