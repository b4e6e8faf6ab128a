"""Which of a board's runtimes a plan is for: what is asked, what each can make, what another would do."""

import importlib.util

import pytest
from attrs import evolve

from converters import registry
from converters.convert import refused
from converters.partition import planner
from converters.partition.types import Alternative, Recipe
from converters.shaping import Shaping
from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest, MissingDependency
from targets.schema import Processor, Target, load_target

FLOAT, INT8 = Recipe("float32", "float"), Recipe("int8", "integer")
LOCAL = load_target("local")


@pytest.fixture
def digits(request):
    """The digits CNN."""
    path = request.config.rootpath / "examples/digits/digits.onnx"
    return registry.reader("onnx").read(path, Shaping())


@pytest.fixture
def ir(write_ir, tmp_path):
    """An IR, which OpenVINO alone runs."""
    return registry.reader("openvino").read(write_ir(tmp_path / "net.xml"), Shaping())


def test_nothing_changes_for_who_does_not_ask(digits):
    """Without a runtime it is the board's first, which has no execution."""
    made = planner.plan(digits, LOCAL, recipe=INT8)
    assert ("litert", None, (), "integer") == (
        made.runtime, made.execution, made.alternatives, made.recipe.io
    )  # fmt: skip


def test_openvino_is_asked_for(openvino, digits):
    """The plan is OpenVINO's: float ends, no int16x8 among its steps, and how it will be run."""
    made = planner.plan(digits, LOCAL, recipe=INT8, runtime="openvino")
    assert ("openvino", "float", ("float32",)) == (made.runtime, made.recipe.io, made.recipe.steps)
    assert Execution("CPU", "latency", "f32") == made.execution
    assert ("cpu", "openvino") == (made.segments[0].processor, made.segments[0].backend)


def test_another_device_than_the_processor(openvino, digits):
    """Where another device is asked for, it is what the plan says computes."""
    asked = Execution(device="hetero:gpu,cpu", hint="throughput")
    made = planner.plan(digits, LOCAL, recipe=FLOAT, runtime="openvino", execution=asked)
    assert {"HETERO:GPU,CPU", None} == {operator.processor for operator in made.operators} | {None}
    assert ("throughput", "HETERO:GPU,CPU") == (made.execution.hint, made.segments[0].processor)


def test_a_board_with_a_gpu(openvino, digits):
    """A processor of the board is a device by its name."""
    gpu = Processor("gpu", "integrated", ("openvino",), ("float32",))
    board = evolve(LOCAL, processors=(gpu, *LOCAL.processors))
    made = planner.plan(digits, board, recipe=FLOAT)
    assert ("openvino", "GPU", "gpu") == (made.runtime, made.execution.device, made.segments[0].processor)


@pytest.mark.parametrize(
    ("recipe", "runtime", "execution", "words"),
    [
        (
            FLOAT,
            "tvm",
            None,
            "no processor of local has the runtime 'tvm'.*litert or openvino.*targets show local",
        ),
        (FLOAT, "auto", None, "measuring on a device.*edge deploy --runtime auto"),
        (FLOAT, None, Execution(device="GPU"), "litert cannot be told.*openvino.*`--runtime openvino` can"),
        (FLOAT, "litert", Execution(strict=True), "litert cannot be told"),
        (
            Recipe("int16x8", "integer"),
            "openvino",
            None,
            "int16x8 through openvino.*`--runtime litert` makes int16x8",
        ),
        (Recipe("dynamic", "float"), "openvino", None, "through openvino.*expected int8 or weight-int8"),
        (
            evolve(INT8, ranges="octav"),
            "openvino",
            None,
            "openvino: unknown way.*'octav', expected minmax or mse",
        ),
        (evolve(INT8, repairs=("equalization",)), "openvino", None, "unknown repair.*smooth_quant"),
        (evolve(INT8, ranges="mean-minmax"), None, None, "litert: unknown way.*percentile"),
    ],
)
def test_what_a_runtime_does_not_have(openvino, digits, recipe, runtime, execution, words):
    """What the runtime cannot make or be told is refused, with what can, before anything is converted."""
    with pytest.raises(InvalidRequest, match=words):
        planner.plan(digits, LOCAL, recipe=recipe, runtime=runtime, execution=execution)


def test_the_other_runtime_is_offered(ir):
    """A plan that is refused says which runtime of the board takes the model, and so does the error."""
    made = planner.plan(ir, LOCAL, recipe=FLOAT)
    told = planner.with_alternatives(made, ir, LOCAL, recipe=FLOAT)
    assert (False, ()) == (made.accepted, made.alternatives)
    assert (Alternative("openvino", accepted=True, reason="takes every operator"),) == told.alternatives
    assert str(refused(told)).endswith("`--runtime openvino` takes it.")
    taken = planner.plan(ir, LOCAL, recipe=FLOAT, runtime="openvino")
    assert taken is planner.with_alternatives(taken, ir, LOCAL, recipe=FLOAT)


def test_no_other_runtime_helps(openvino, digits):
    """An alternative that refuses says how much of the model and why; one that cannot be asked says why."""
    cpu = Processor("cpu", "", ("openvino", "null", "litert"), ("int8", "float32"))
    board = Target(
        "mine", "", "host", None, {"openvino": "2025.4", "null": "1", "litert": "2.3.0"}, (cpu,), ""
    )
    recipe = Recipe("int8", "integer", ranges="mean-minmax")
    made = planner.plan(digits, board, recipe=recipe, runtime="openvino")
    told = planner.with_alternatives(evolve(made, refusals=(None,)), digits, board, recipe=recipe)
    assert [("null", False), ("litert", False)] == [(e.runtime, e.accepted) for e in told.alternatives]
    assert all("mean-minmax" in each.reason for each in told.alternatives)


def test_openvino_is_not_installed(request, monkeypatch):
    """Where the package is absent, the error names the extra and offers the other runtime."""
    # of another batch than in the other tests: a model that was opened before needs openvino no more
    path = request.config.rootpath / "examples/digits/digits.onnx"
    digits = registry.reader("onnx").read(path, Shaping(batch=7))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency) as caught:
        planner.plan(digits, LOCAL, recipe=FLOAT, runtime="openvino")
    assert "edge-deployment-sdk[openvino]" in str(caught.value)
    assert str(caught.value).endswith("Or choose `--runtime litert`.")
