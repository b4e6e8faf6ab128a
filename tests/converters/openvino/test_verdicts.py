"""What OpenVINO says, as verdicts: from its own texts, and from models of the zoo that it rejects."""

from pathlib import Path

import pytest

from converters.model import Model, Operator
from converters.openvino.opened import OpenModel, OpenOperator
from converters.openvino.roads import Road
from converters.openvino.verdicts import accepted, condensed, refusals

LISTED = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: my.own.Bar, Det-17
"""
FAILED = LISTED.replace(
    "-- No conversion rule found for operations: my.own.Bar, Det-17",
    "Unsupported padding mode: [wrap]\n\nSummary:\n-- Conversion is failed for: Conv-20, Pad-20",
)
FIRST = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'translate_map.count(decoder->get_op_type())' failed at src/frontends/x/src/frontend.cpp:221:
FrontEnd API failed with OpConversionFailure:
No translator found for Det node.
"""
WORKING = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'false' failed at src/frontends/tensorflow_lite/src/input_model.cpp:180:
FrontEnd API failed with GeneralFailure:
This tensor should be either input, constant or should be already produced by previous operators: s. \
Error is encountered while working with operation of type Conv and name 0.
"""
NAMELESS = "Exception from src/core/src/shape.cpp:12:\nAxes are out of range\n"


def model(*kinds: str) -> Model:
    operators = tuple(Operator(index, kind, f"n{index}") for index, kind in enumerate(kinds))
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, (), (), operators, 0, None)


@pytest.mark.parametrize(
    ("message", "places", "reason", "other"),
    [
        (LISTED, [1, 2], "No conversion rule found for operations: my.own.Bar, Det-17", "has a rule for it"),
        (FAILED, [0], "Unsupported padding mode: [wrap] Conversion is failed for: Conv-20, Pad-20", "has a"),
        (FIRST, [2], "No translator found for Det node", "stopped at Det"),
        (WORKING, [0], "should be already produced by previous operators: s", "stopped at Conv"),
        (NAMELESS, [0], "Axes are out of range", "stopped at Conv"),
        ("n1 is bad", [1], "n1 is bad", "stopped at Bar"),
    ],
)
def test_refusals(message, places, reason, other):
    """The operators that a message names carry its reason; the others say that they are not meant."""
    found = refusals(model("Conv", "Bar", "Det"), [(Road("its ONNX file", "m.onnx", {}), message)])
    assert places == [index for index, verdict in enumerate(found) if not verdict.ok]
    for verdict in found:
        assert (other if verdict.ok else reason) in verdict.reason
        assert "cpp" not in verdict.reason
        assert "Exception" not in verdict.reason


def test_a_format_without_a_road():
    """Models that OpenVINO has no form of are refused by format."""
    first, second = refusals(model("A", "B"), [])
    assert "OpenVINO does not read the format onnx" == first.reason
    assert second.ok


def test_condensed():
    """One line, no longer than a terminal takes, nothing twice."""
    assert "same" == condensed("same\n  same  \n")
    assert 300 == len(condensed("x" * 1000))


def test_what_the_cpu_cannot_run():
    """Operators that OpenVINO reads and its CPU plugin refuses are a no, at the operator they came from."""
    named = (Operator(0, "A", "a"), Operator(1, "B", "b"))
    source = Model(Path("m.xml"), "openvino", "0" * 64, 1, (), (), named, 0, None)
    operators = (OpenOperator("a", "A", 0, ()), OpenOperator("b", "B", 0, ("a",)))
    road = Road("its IR", "m.xml", {})
    found = OpenModel(None, "m.xml", road, (), operators, ("b",), {"a": ("A",), "b": ("B",)}, "2026.4.1")
    first, second = accepted(source, found)
    assert (True, ("A",)) == (first.ok, first.becomes)
    assert (False, "OpenVINO's CPU plugin cannot run B") == (second.ok, second.reason)
