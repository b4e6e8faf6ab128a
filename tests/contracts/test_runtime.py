"""What every runtime must do, run against each of them."""

import math
from pathlib import Path

import pytest

from device_agent import runtimes
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidRequest, RuntimeMissing, WorkerFailed
from device_agent.runtimes.null import null_model
from device_agent.tensors import DTYPES, Tensor

NULL_SPECS = tuple(TensorSpec(dtype, dtype, (1, 3)) for dtype in DTYPES)


@pytest.fixture(params=["null", pytest.param("litert", marks=pytest.mark.zoo), "openvino"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A runtime's name and a model for it."""
    if request.param == "null":
        path = tmp_path / "model.json"
        path.write_bytes(null_model(NULL_SPECS, NULL_SPECS))
    elif request.param == "openvino":
        path = request.getfixturevalue("write_ir")(tmp_path / "net.xml")
    else:
        zoo: Path = request.getfixturevalue("zoo")
        path = zoo / "models/mlperf-tiny/kws_ref_model.tflite"
    return request.param, path


def zeros(spec: TensorSpec, fill: int = 0) -> Tensor:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    return Tensor(spec.dtype, shape, bytes([fill]) * (math.prod(shape) * DTYPES[spec.dtype][2]))


def test_it_is_registered_and_installed(model: tuple[str, Path]) -> None:
    """It is found by its name and says its version without being imported."""
    assert model[0] == runtimes.get(model[0]).name
    assert model[0] in [info.name for info in runtimes.installed()]


def test_it_computes_the_same_again(model: tuple[str, Path]) -> None:
    """Equal inputs give equal outputs, in the shapes and dtypes announced; other inputs give others."""
    session = runtimes.get(model[0]).load(model[1])
    found = []
    for fill in (0, 0, 1):
        session.set_inputs({spec.name: zeros(spec, fill) for spec in session.inputs})
        session.invoke()
        found.append(session.get_outputs())
    assert found[0] == found[1]
    assert found[0] != found[2]
    for spec in session.outputs:
        tensor = found[0][spec.name]
        assert spec.dtype == tensor.dtype
        assert tuple(1 if size < 0 else size for size in spec.shape) == tensor.shape


def test_inputs_are_checked(model: tuple[str, Path]) -> None:
    """An input that is missing, unknown, or of another dtype or shape is refused by name."""
    session = runtimes.get(model[0]).load(model[1])
    good = {spec.name: zeros(spec) for spec in session.inputs}
    name = session.inputs[0].name
    wrong = Tensor("float64", (1,), bytes(8))
    for bad in ({}, {**good, "stranger": wrong}, {**good, name: wrong}):
        with pytest.raises(InvalidRequest):
            session.set_inputs(bad)
    session.set_inputs(good)
    session.invoke()


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[" * 100_000])
def test_null_refuses_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    """A broken null model is a WorkerFailed; LiteRT gets broken files only in a worker (test_litert)."""
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(WorkerFailed):
        runtimes.get("null").load(tmp_path / "broken")


def test_unknown_and_too_old_runtimes() -> None:
    """A runtime that is not known, or older than asked, is a RuntimeMissing that says what brings it."""
    with pytest.raises(RuntimeMissing):
        runtimes.get("abacus")
    with pytest.raises(RuntimeMissing, match=r"too old.*`edge devices install DEVICE --runtime null`"):
        runtimes.check("null", "1.0.1")
    assert (
        "1.0" == runtimes.check("null", "0") == runtimes.check("null", "1") == runtimes.check("null", "1.0.0")
    )


def test_null_floats_are_finite(tmp_path: Path) -> None:
    """The null function gives floats in [0, 1) and bools that are 0 or 1."""
    specs = tuple(TensorSpec(dtype, dtype, (1, 64)) for dtype in ("float32", "float64", "bool"))
    (tmp_path / "m").write_bytes(null_model((), specs))
    session = runtimes.get("null").load(tmp_path / "m")
    session.set_inputs({})
    session.invoke()
    outputs = session.get_outputs()
    assert {0, 1} == set(outputs["bool"].data)
    for name in ("float32", "float64"):
        values = memoryview(outputs[name].data).cast("f" if name == "float32" else "d")
        assert all(0 <= value < 1 for value in values)
