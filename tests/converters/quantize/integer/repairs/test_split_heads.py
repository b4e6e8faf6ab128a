"""Outputs that join ranges far apart: found by their steps, joined in int16, the parts' ranges left alone."""

import numpy as np
import pytest
from attrs import evolve

from converters import registry
from converters.backends import litert
from converters.graph.ir import Graph, GraphOperator
from converters.graph.write import write
from converters.progress import silent
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.engine import Built
from converters.quantize.integer.litert_engine import LiteRTEngine
from converters.quantize.integer.prepared import Prepared, Range
from converters.quantize.integer.quantizer import apply, float_operators
from converters.quantize.integer.repairs.base import Context
from converters.quantize.integer.repairs.split_heads import heads, split_heads
from converters.quantize.integer.statistics import Statistics
from converters.quantize.integer.tracing import Tracing
from converters.quantize.samples.calibration import Calibration, load_calibration
from converters.quantize.scheme import Scheme
from converters.shaping import Shaping
from tests.models import data

JOIN = {"axis": 1, "fusedActivationFunction": "NONE"}
PLAIN = {"fusedActivationFunction": "NONE"}


def context(precision: str = "int8") -> Context:
    nothing = Calibration("nothing", 0, lambda: iter(()))
    return Context(nothing, Statistics({}, 0), Scheme(precision), lambda: None)


def joined(graph_of) -> Graph:
    """Two RELU: boxes [1, 4, 9], scores [1, 3, 9] -> CONCATENATION c -> TRANSPOSE -> y: [1, 9, 7]."""
    tensors = {"a": (1, 4, 9), "b": (1, 3, 9), "boxes": (1, 4, 9), "scores": (1, 3, 9), "c": (1, 7, 9)}
    tensors |= {"y": (1, 9, 7), "order": np.array([0, 2, 1], np.int32)}
    rows = [
        ("RELU", ["a"], ["boxes"]),
        ("RELU", ["b"], ["scores"]),
        ("CONCATENATION", ["boxes", "scores"], ["c"], JOIN),
        ("TRANSPOSE", ["c", "order"], ["y"]),
    ]
    return graph_of(tensors, rows, ["a", "b"], ["y"])


def ranges(graph: Graph, wide: float) -> dict[str, Range]:
    """The scores in 0..1, everything else in 0..wide."""
    found = {name: Range(0.0, wide) for name, tensor in graph.tensors.items() if tensor.data is None}
    return found | dict.fromkeys(("b", "scores"), Range(0.0, 1.0))


@pytest.mark.parametrize(
    ("precision", "wide", "joint"),
    [
        ("int8", 8.0, None),
        ("int8", 8.1, "int16x8"),
        ("int8", 513.0, "int16x8"),  # 4 * 32767 / 255
        ("int8", 515.0, "float32"),
        ("int16x8", 8.1, None),
        ("int16x8", 513.0, None),
        ("int16x8", 515.0, "float32"),
    ],
)
def test_parts_are_apart_by_their_steps(graph_of, precision, wide, joint):
    """Past 8 times the narrowest int8 step, parts are joined in int16; where that is coarser, in float32."""
    graph = joined(graph_of)
    found = heads(graph, ranges(graph, wide), precision)
    assert ([joint] if joint else []) == [head.precision for head in found]
    assert [("c", "y")] * len(found) == [head.joining for head in found]


def test_the_step_of_a_logistic_is_the_one_its_kernel_has(graph_of):
    """Scores that calibration saw below 0.01 are still 1/256 apart in int8: int16 is fine enough for them."""
    graph = joined(graph_of)
    seen = ranges(graph, 100.0) | {"scores": Range(0.0, 0.01)}
    assert ["float32"] == [head.precision for head in heads(graph, seen, "int8")]
    graph.operators[1].type = "LOGISTIC"
    assert ["int16x8"] == [head.precision for head in heads(graph, seen, "int8")]
    graph.tensors["moved"] = evolve(graph.tensors["scores"], name="moved")
    graph.operators.insert(2, GraphOperator("SQUEEZE", ["scores"], ["moved"]))
    graph.operators[3].inputs[1] = "moved"
    seen["moved"] = seen["scores"]
    assert ["int16x8"] == [head.precision for head in heads(graph, seen, "int8")]


def test_the_parts_keep_their_steps(graph_of):
    """Boxes and scores stay int8 with their own steps, the output is int16, nothing is float."""
    graph = joined(graph_of)
    prepared = Prepared(graph, ranges(graph, 100.0))
    effect = split_heads(prepared, context())
    assert ("split_heads", 2) == (effect.repair, effect.changed)
    assert "'y' joins parts whose ranges are 100 times apart: joined in int16" in effect.what
    made, fallbacks = apply(prepared, Scheme())
    assert ((), ()) == (fallbacks, float_operators(made, ends_convert=False))
    steps = {name: made.tensors[name].quantization.scale[0] for name in ("boxes", "scores", "y")}
    assert {"boxes": 100 / 255, "scores": 1 / 255, "y": 100 / 32767} == pytest.approx(steps)
    assert ["int8", "int8", "int16"] == [made.tensors[name].dtype for name in steps]
    run = Tracing(made, write(made))
    given = np.arange(-128, -101, dtype=np.int8).reshape(1, 3, 9)  # of the scores, from 0 to 26 steps
    run.run({"a": np.zeros((1, 4, 9), np.int8), "b": given})
    got = run.value("y").transpose(0, 2, 1)[:, 4:] * steps["y"]
    np.testing.assert_allclose((given + 128.0) * steps["scores"], got, atol=steps["y"])


def test_too_far_apart_for_int16(graph_of):
    """Ranges 640 times apart are joined in float32, by operators that only move them."""
    graph = joined(graph_of)
    prepared = Prepared(graph, ranges(graph, 640.0))
    assert "joined in float32, as int16 is too coarse" in split_heads(prepared, context()).what
    made, _ = apply(prepared, Scheme())
    assert ("DEQUANTIZE", "DEQUANTIZE", "CONCATENATION", "TRANSPOSE") == float_operators(
        made, ends_convert=True
    )
    assert ["int8", "int8", "float32"] == [made.tensors[name].dtype for name in ("boxes", "scores", "y")]


def test_what_is_near_stays_as_it_is(graph_of):
    """Parts of like ranges are no head to repair, and a second time there is nothing left to do."""
    near = Prepared(joined(graph_of), ranges(joined(graph_of), 4.0))
    assert (0, {}) == (split_heads(near, context()).changed, near.precisions)
    far = Prepared(joined(graph_of), ranges(joined(graph_of), 40.0))
    assert [2, 0] == [split_heads(far, context()).changed for _ in range(2)]


def test_a_scheme_has_the_last_word(graph_of):
    """An exception of the scheme for the joint goes before what the repair prefers."""
    prepared = Prepared(joined(graph_of), ranges(joined(graph_of), 40.0))
    split_heads(prepared, context())
    made, _ = apply(prepared, Scheme(exceptions={"c": "int8", "y": "int8"}))
    assert "int8" == made.tensors["y"].dtype


def test_joints_of_joints(graph_of):
    """Where each scale of a detector joins boxes and scores and a joint joins the scales, all are int16."""
    tensors = dict.fromkeys(("b1", "b2", "s1", "s2"), (1, 4, 9)) | {"y": (1, 8, 18)}
    tensors |= dict.fromkeys(("c1", "c2", "r1"), (1, 8, 9)) | {"shape": np.array([1, 8, 9], np.int32)}
    rows = [
        ("CONCATENATION", ["b1", "s1"], ["c1"], JOIN),
        ("CONCATENATION", ["b2", "s2"], ["c2"], JOIN),
        ("RESHAPE", ["c1", "shape"], ["r1"]),
        ("CONCATENATION", ["r1", "c2"], ["y"], JOIN | {"axis": 2}),
    ]
    graph = graph_of(tensors, rows, ["b1", "b2", "s1", "s2"], ["y"])
    seen = ranges(graph, 90.0) | {"s1": Range(0.0, 1.0), "s2": Range(0.0, 1.0)}
    (head,) = heads(graph, seen, "int8")
    assert (("c1", "c2", "r1", "y"), "int16x8") == (head.joining, head.precision)
    seen |= {"b1": Range(0.0, 999.0), "c1": Range(0.0, 999.0), "r1": Range(0.0, 999.0)}
    (head,) = heads(graph, seen, "int8")
    assert (("c1", "c2", "r1", "y"), "float32") == (head.joining, head.precision)


def test_a_constant_that_scales_the_parts_apart(graph_of):
    """MUL by [64, 64, 1] mixes ranges as a joint does; by one factor for all it mixes nothing."""
    rows = [("MUL", ["x", "k"], ["m"], PLAIN), ("ADD", ["m", "offset"], ["y"], PLAIN)]
    for factors, expected in (([64.0, 64.0, 1.0], [("m", "y")]), ([64.0], [])):
        tensors = {"x": (1, 9, 3), "k": np.array(factors), "m": (1, 9, 3), "y": (1, 9, 3)}
        graph = graph_of(tensors | {"offset": np.array([3.0])}, rows, ["x"], ["y"])
        found = heads(graph, ranges(graph, 64.0) | {"x": Range(0.0, 1.0)}, "int8")
        assert expected == [head.joining for head in found]


def test_the_wide_part_is_decoded_in_int16(graph_of):
    """What computes the boxes is in int16 too, back to the layer with weights; scores stay in int8."""
    tensors = dict.fromkeys(("x", "d", "s", "near", "far", "centre", "boxes", "logits"), (1, 9, 4))
    tensors |= {"flat": (1, 36), "half": np.array([0.5]), "scores": (1, 9, 4), "y": (1, 9, 8)}
    tensors |= {"w": np.eye(4), "grid": np.arange(9.0).reshape(1, 9, 1), "stride": np.array([8.0])}
    tensors |= {"line": np.array([1, 36], np.int32), "back": np.array([1, 9, 4], np.int32)}
    rows = [
        ("FULLY_CONNECTED", ["x", "w", None], ["d"], PLAIN | {"keepNumDims": True}),
        ("RESHAPE", ["d", "line"], ["flat"]),
        ("RESHAPE", ["flat", "back"], ["s"]),
        ("SUB", ["grid", "s"], ["near"], PLAIN),
        ("ADD", ["grid", "s"], ["far"], PLAIN),
        ("ADD", ["near", "far"], ["centre"], PLAIN),
        ("MUL", ["centre", "stride"], ["boxes"], PLAIN),
        ("FULLY_CONNECTED", ["x", "w", None], ["logits"], PLAIN | {"keepNumDims": True}),
        ("MUL", ["logits", "half"], ["scores"], PLAIN),
        ("CONCATENATION", ["boxes", "scores"], ["y"], JOIN | {"axis": 2}),
    ]
    graph = graph_of(tensors, rows, ["x"], ["y"])
    seen = ranges(graph, 90.0)
    (head,) = heads(graph, seen, "int8")
    assert (("y",), ("near", "far", "centre", "boxes")) == (head.joining, head.decoding)
    prepared = Prepared(graph, seen)
    split_heads(prepared, context())
    made, _ = apply(prepared, Scheme())
    dtypes = [made.tensors[name].dtype for name in ("s", "boxes", "scores", "y")]
    assert ["int8", "int16", "int8", "int16"] == dtypes
    assert () == float_operators(made, ends_convert=False)


def test_what_says_nothing_of_a_part(graph_of):
    """A part that is always 0 has no range to keep, and a joint of unknown range is left alone."""
    graph = joined(graph_of)
    assert () == heads(graph, ranges(graph, 90.0) | {"scores": Range(0.0, 0.0)}, "int8")
    known = ranges(graph, 90.0)
    del known["c"]
    assert () == heads(graph, known, "int8")


def test_features_within_the_graph_stay(graph_of):
    """A joint that layers read is no output: its parts are left to other repairs."""
    graph = joined(graph_of)
    tensors = {"w": np.ones((2, 7)), "z": (1, 9, 2)}
    behind = graph_of(tensors, [("FULLY_CONNECTED", ["y", "w", None], ["z"], PLAIN)], [], [])
    graph.tensors |= behind.tensors
    graph.operators += behind.operators
    graph.outputs = {"z": "z"}
    assert () == heads(graph, ranges(graph, 90.0), "int8")


def test_detector(detector):
    """Plain int8 loses more than 5 points of mAP on the detector; repaired, at most 0.5, all integer."""
    model = registry.reader_for(detector).read(detector, Shaping())
    graph, _ = registry.reader(model.format).lower(model)
    litert.rewrite(graph, model)
    calibration = load_calibration(data.scenes(data.CALIBRATION, 50)[0], model)
    engine = LiteRTEngine(model, graph, calibration, runtime="litert", least_version="1.0.1", progress=silent)
    images, labels = data.scenes(data.VALIDATION, 80)
    metric = open_metric("map", model)

    def outputs(built: Built) -> list[dict[str, np.ndarray]]:
        run = runner(built.artifact)
        return [run({"images": image[None]}) for image in images]

    def value(found: list[dict[str, np.ndarray]]) -> float:
        rows = zip(found, reference, labels, strict=True)
        return metric.value([metric.observe(*row) for row in rows])

    reference = outputs(engine.build(Scheme("float32", "float")))
    plain, repaired = engine.build(Scheme()), engine.build(Scheme(repairs=("split_heads",)))
    assert (9, 0) == (repaired.effects[0].changed, len(repaired.artifact.float_operators))
    assert "int16" == repaired.artifact.outputs[0].dtype
    drops = [value(reference) - value(outputs(built)) for built in (plain, repaired)]
    assert drops[0] > 5
    assert drops[1] < 0.5
