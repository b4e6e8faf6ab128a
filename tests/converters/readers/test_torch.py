"""Reading exported PyTorch programs: what survives, what is refused, and that torch stays outside."""

import contextlib
import json
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'edge-deployment-sdk[torch]'"
)
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import edge_sdk  # noqa: E402 - after what may skip
from converters.graph.read import read as read_graph  # noqa: E402
from converters.quantize.accuracy.fidelity import runner  # noqa: E402
from converters.readers import torch_archive  # noqa: E402
from converters.readers.torch import reader  # noqa: E402
from converters.shaping import Shaping  # noqa: E402
from device_agent.errors import (  # noqa: E402
    FidelityError,
    FileMissing,
    InvalidModel,
    InvalidRequest,
    MissingDependency,
)
from tests.converters.readers.torch_models import Nested, Shown, seeded  # noqa: E402

pytestmark = pytest.mark.filterwarnings(  # torch's own chatter: its deprecated parts use each other
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def folder(torch_samples) -> Path:
    return torch_samples


@pytest.fixture(scope="session")
def shown(torch_shown) -> edge_sdk.Model:
    return torch_shown


@pytest.fixture(scope="session")
def conversion(shown):
    plan = edge_sdk.plan(shown, "local", precision="float32")
    return edge_sdk.convert(shown, plan)


def test_the_shown_network(shown, conversion):
    """Residual blocks, depthwise convolutions, squeeze and excite and attention: within 1e-4 of torch."""
    generator = np.random.default_rng(0)
    run = runner(conversion.artifact)
    module = seeded(Shown())
    for _ in range(8):
        image = generator.normal(size=(1, 3, 32, 32)).astype(np.float32)
        expected = module(torch.from_numpy(image)).detach().numpy()
        (got,) = run({"image": image}).values()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_shown_network_is_lean(conversion):
    """No operator is there that the network does not need: batch norms and most activations are folded."""
    operators = Counter(
        operator.type for operator in read_graph(conversion.artifact.data, where="").operators
    )
    assert (12, 2) == (operators["CONV_2D"], operators["DEPTHWISE_CONV_2D"])
    assert 2 >= operators["TRANSPOSE"] - 4


def test_fidelity_is_against_torch(conversion):
    """The conversion was compared with torch itself, and says so with its version."""
    assert f"torch {torch.__version__.partition('+')[0]}" == conversion.fidelity.reference
    assert conversion.fidelity.outputs[0].snr_db > 100


def test_int8(shown, conversion):
    """An exported program becomes int8 with calibration data, close to torch."""
    samples = np.random.default_rng(1).normal(size=(16, 3, 32, 32)).astype(np.float32)
    plan = edge_sdk.plan(shown, "local", precision="int8")
    made = edge_sdk.convert(shown, plan, calibration=samples)
    assert ("int8", "int8") == (made.artifact.inputs[0].dtype, made.artifact.outputs[0].dtype)
    assert made.fidelity.outputs[0].snr_db > 15


def test_names_and_nesting_in_a_process_without_torch(folder):
    """Names come from the signature and the keys of what comes out; torch is never imported here."""
    code = (
        "import json, sys\n"
        "import numpy as np\n"
        "from converters.readers.torch import reader\n"
        "from converters.shaping import Shaping\n"
        "from pathlib import Path\n"
        f"model = reader.read(Path({str(folder / 'nested.pt2')!r}), Shaping(3))\n"
        "name, run = reader.reference(model)\n"
        "feed = {s.name: np.arange(np.prod(s.shape), dtype=s.dtype).reshape(s.shape) for s in model.inputs}\n"
        "got = {k: v.tolist() for k, v in run(feed).items()}\n"
        "specs = [[(s.name, s.dtype, s.shape) for s in end] for end in (model.inputs, model.outputs)]\n"
        "print(json.dumps([specs, got, sorted({'torch', 'onnxscript'} & set(sys.modules))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "" == done.stderr
    (inputs, outputs), got, imported = json.loads(done.stdout)
    assert [] == imported
    assert [
        ["x", "float32", [3, 8]], ["pair_0", "float32", [3]], ["pair_1_key", "float32", [3]],
        ["scale", "float32", [1]], ["unused", "float32", [5]],
    ] == inputs  # fmt: skip
    assert [
        ["logits", "float32", [3, 4]], ["again", "float32", [3, 4]], ["x_1", "float32", [3, 8]],
        ["aux_0", "float32", [3]], ["aux_2_0", "float32", []],
    ] == outputs  # fmt: skip
    x = np.arange(24, dtype=np.float32).reshape(3, 8)
    assert (x.tolist(), x.sum(), [0, 2, 4]) == (got["x_1"], got["aux_2_0"], got["aux_0"])
    linear = seeded(Nested()).linear(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got["logits"], 0 * linear, atol=1e-6)  # the scale is arange(1)


class Scaled(torch.nn.Module):
    """An image convolved and scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Conv2d(3, 4, 3)

    def forward(self, image, scale):
        return self.body(image) * scale


def test_a_module_in_memory():
    """A module is exported here and shaped as a file is; the reference follows; its file goes with it."""
    module = seeded(Scaled())
    model = edge_sdk.load(
        module,
        example_inputs=(torch.zeros(1, 3, 6, 8), torch.ones(1)),
        bind={"scale": [2.0]},
        layout="nhwc",
    )
    assert ("torch", "Scaled") == (model.format, model.name)
    assert [("image", (1, 6, 8, 3))] == [(spec.name, spec.shape) for spec in model.inputs]
    _, run = reader.reference(model)
    image = np.random.default_rng(0).random((1, 6, 8, 3), np.float32)
    (got,) = run({"image": image}).values()
    expected = module(torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.tensor([2.0])).detach().numpy()
    np.testing.assert_allclose(got, expected.transpose(0, 2, 3, 1), atol=1e-5)
    file = model.payload.program
    assert file.is_file()
    del model, run
    assert not file.exists()


@pytest.mark.parametrize(
    ("module", "options", "match"),
    [
        (torch.nn.Linear(2, 2).eval(), {}, "example_inputs"),
        (torch.nn.Linear(2, 2).eval(), {"example_inputs": torch.zeros(1, 2)}, "as a tuple"),
        (torch.nn.Linear(2, 2), {"example_inputs": (torch.zeros(1, 2),)}, "training mode"),
        (torch.nn.Linear(2, 2, device="meta").eval(), {"example_inputs": (torch.zeros(1, 2),)}, "CPU"),
        (torch.zeros(3), {}, "no model"),
    ],
)
def test_modules_that_cannot_be_taken(module, options, match):
    """What is missing or wrong with a module is an InvalidRequest that says what to do."""
    with pytest.raises(InvalidRequest, match=match):
        edge_sdk.load(module, **options)


def test_a_module_that_cannot_be_exported():
    """What torch.export refuses is an InvalidModel with torch's reason."""

    class Branches(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InvalidModel, match=r"Branches: torch\.export\.export cannot export"):
        edge_sdk.load(Branches().eval(), example_inputs=(torch.zeros(2),))


def test_examples_are_for_modules(folder):
    """A file with example inputs is a contradiction."""
    with pytest.raises(InvalidRequest, match="in memory"):
        edge_sdk.load(folder / "shown.pt2", example_inputs=(1,))


def test_torch_is_missing(folder, monkeypatch):
    """Without torch the error says what to install, before anything is started."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"torch is missing.*edge-deployment-sdk\[torch\]"):
        reader.read(folder / "shown.pt2", Shaping())


def test_a_program_that_trains(tmp_path):
    """A program that changes its own buffers is no function of its inputs: batch norm in training mode."""
    file = tmp_path / "training.pt2"
    torch.export.save(torch.export.export(torch.nn.BatchNorm1d(3), (torch.zeros(2, 3),)), file)
    with pytest.raises(InvalidModel, match=r"training.pt2: the program changes its own buffers.*eval"):
        reader.read(file, Shaping())


def test_the_reference_finds_what_the_export_loses(tmp_path):
    """torch.onnx.export drops an LSTM's projection; ONNX Runtime would agree with us, torch does not."""
    file = tmp_path / "lstm.pt2"
    layer = torch.nn.LSTM(4, 6, proj_size=2, batch_first=True)
    torch.export.save(torch.export.export(layer.eval(), (torch.zeros(1, 3, 4),)), file)
    model = edge_sdk.load(file)
    with pytest.raises(FidelityError):
        edge_sdk.convert(model, edge_sdk.plan(model, "local", precision="float32"))


def test_a_file_that_changed(shown, folder, tmp_path):
    """The reference runs the file that was read, or says that it is another one now."""
    file = tmp_path / "net.pt2"
    shutil.copy(folder / "shown.pt2", file)
    from attrs import evolve

    model = evolve(shown, payload=evolve(shown.payload, program=file))
    with file.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InvalidModel, match="changed"):
        reader.reference(model)


def _state(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)


def _old_state(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False)


def _whole(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def _checkpoint(path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2), "epoch": 3}, path)


def _script(path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2, 3]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            _state,
            r"state_dict.*load_state_dict\(torch.load\('net.pt', weights_only=True.*torch.export.save",
        ),
        (_old_state, "state_dict.*load_state_dict"),
        (_whole, r"pickled module.*torch.nn.modules.linear.Linear.*If you trust it.*torch.export.save"),
        (_checkpoint, "pickled module or checkpoint"),
        (_script, "TorchScript.*torch.export.export"),
        (_pickle, "no PyTorch file"),
        (lambda path: path.write_bytes(b""), "no PyTorch file"),
        (lambda path: path.write_bytes(b"\x80\x02"), "no PyTorch file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "damaged or truncated"),
    ],
)
def test_what_is_no_program(tmp_path, make, match):
    """A state_dict, a pickled module, TorchScript and foreign files are refused with the way out."""
    path = tmp_path / "net.pt"
    make(path)
    with pytest.raises(InvalidModel, match=rf"net.pt: .*{match}"):
        reader.read(path, Shaping())


def test_no_such_file(tmp_path):
    """A file that is not there is a FileMissing."""
    with pytest.raises(FileMissing):
        reader.read(tmp_path / "net.pt2", Shaping())


def _changed(folder: Path, to: Path, changes: dict[str, bytes]) -> Path:
    """`nested.pt2` with entries replaced or added."""
    with zipfile.ZipFile(folder / "nested.pt2") as before, zipfile.ZipFile(to, "w") as after:
        root = before.namelist()[0].partition("/")[0]
        for name in before.namelist():
            if name.partition("/")[2] not in changes:
                after.writestr(name, before.read(name))
        for name, data in changes.items():
            after.writestr(f"{root}/{name}", data)
    return to


@pytest.mark.parametrize(
    ("name", "replace"),
    [
        ("data/aotinductor/model/code.so", None),
        ("data/constants/custom_obj_0", None),
        ("data/constants/opaque_obj_0", None),
        ("data/weights/model.pt", None),
        ("data/weights/model_weights_config.json", ('"use_pickle": false', '"use_pickle": true')),
        ("data/weights/model_weights_config.json", ('"weight_0"', '"../weight_0"')),
        ("models/model.json", ("Symbol('", "open('")),
        ("models/model.json", ("Symbol('", "__import__('os').system('")),
        ("models/model.json", ("Symbol('", "Max('print(1)', '")),
        ("models/model.json", ('"torch.ops.aten.linear.default"', '"torch.os.system"')),
        ("models/model.json", ('"name": "linear"', '"name": "linear; import os"')),
    ],
)
def test_files_that_would_run_code(folder, tmp_path, name, replace):
    """Pickles, compiled libraries, and expressions or targets beyond torch's own are refused unread."""
    data = b"harmful"
    if replace is not None:
        with zipfile.ZipFile(folder / "nested.pt2") as archive:
            data = archive.read(f"nested/{name}")
        before, after = (text.encode() for text in replace)
        assert before in data
        data = data.replace(before, after)
    with pytest.raises(InvalidModel, match=r"net.pt2"):
        torch_archive.check(_changed(folder, tmp_path / "net.pt2", {name: data}))


def test_two_programs_in_one_archive(folder, tmp_path):
    """An archive of two folders is refused: torch might read the one that was not judged."""
    path = _changed(folder, tmp_path / "net.pt2", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/models/model.json", "{}")
    with pytest.raises(InvalidModel, match="several folders"):
        torch_archive.check(path)


def test_pickled_examples_import_nothing(folder, tmp_path):
    """The example inputs are read with torch's safe unpickler only: a pickle in their place is an error."""
    mark = tmp_path / "mark"

    class Harmful:
        def __reduce__(self):
            return Path.touch, (mark,)

    file = tmp_path / "examples.pt"
    torch.save(((Harmful(),), {}), file)
    program = _changed(folder, tmp_path / "net.pt2", {"data/sample_inputs/model.pt": file.read_bytes()})
    with pytest.raises(InvalidModel, match=r"net\.pt2: it holds pickled objects"):
        reader.read(program, Shaping())
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(folder, tmp_path, share):
    """A file without its end is an InvalidModel."""
    data = (folder / "nested.pt2").read_bytes()
    file = tmp_path / "cut.pt2"
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InvalidModel, match=r"cut\.pt2: a damaged or truncated"):
        reader.read(file, Shaping())


def test_mutations(folder, tmp_path):
    """However a file is damaged, it is let through whole or is an InvalidModel: 400 seeded mutations."""
    draw = random.Random(7)
    data = (folder / "nested.pt2").read_bytes()
    file = tmp_path / "mutant.pt2"
    for _ in range(400):
        mutant = bytearray(data)
        for _ in range(draw.choice([0, 1, 2, 16])):
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        start = draw.randrange(len(mutant))
        del mutant[start : start + draw.choice([0, 1, 100, len(mutant)])]
        file.write_bytes(mutant)
        with contextlib.suppress(InvalidModel):
            torch_archive.check(file)


def test_a_flipped_bit_in_the_weights(folder, tmp_path):
    """A damaged weight is found by its checksum, it does not become another model."""
    data = bytearray((folder / "nested.pt2").read_bytes())
    with zipfile.ZipFile(folder / "nested.pt2") as archive:
        entry = archive.getinfo("nested/data/weights/weight_0")
    data[entry.header_offset + 30 + len(entry.filename) + 64 + 20] ^= 1
    file = tmp_path / "flipped.pt2"
    file.write_bytes(data)
    with pytest.raises(InvalidModel, match="damaged"):
        torch_archive.check(file)
