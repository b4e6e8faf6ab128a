"""Calibration data: every way of giving it, and every way of giving it wrong."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.model import Model
from converters.quantize.integer.statistics import collect
from converters.quantize.samples import rows as rows_module
from converters.quantize.samples import sources
from converters.quantize.samples.calibration import FEW_SAMPLES, InputValues, load_calibration
from device_agent.bundle import Preprocessing, TensorSpec
from device_agent.errors import CalibrationError, EdgeError, FileMissing, InvalidRequest

X = np.random.default_rng(0).random((24, 4, 4, 3)).astype(np.float32)


def model(*specs: TensorSpec) -> Model:
    specs = specs or (TensorSpec("image", "float32", (1, 4, 4, 3)),)
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, specs, specs, (), 0, None)


def save(tmp_path: Path, **arrays: np.ndarray) -> str:
    file = tmp_path / "data.npz"
    np.savez(file, **arrays)
    return str(file)


def rows(calibration) -> np.ndarray:
    return np.concatenate([sample["image"] for sample in calibration.samples()])


def test_npz_by_input_name(tmp_path):
    """An array with the input's name is taken, a sample at a time, in order, again on every pass."""
    calibration = load_calibration(save(tmp_path, image=X, other=X[:2]), model())
    assert 24 == calibration.count
    assert {(1, 4, 4, 3)} == {sample["image"].shape for sample in calibration.samples()}
    np.testing.assert_array_equal(X, rows(calibration))
    np.testing.assert_array_equal(X, rows(calibration))
    assert () == calibration.notes


def test_npz_beside_labels(tmp_path):
    """With one input, the only array that is no label is taken, whatever its name."""
    calibration = load_calibration(save(tmp_path, x=X, y=np.arange(24)), model())
    np.testing.assert_array_equal(X, rows(calibration))


def test_npy(tmp_path):
    """A bare .npy file holds the samples of the only input."""
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(X, rows(load_calibration(tmp_path / "x.npy", model())))


@pytest.mark.parametrize("source", [X, {"image": X}, list(X), iter(X[:, None]), [{"image": x} for x in X]])
def test_arrays_in_memory(source):
    """From Python: one array, a dict, samples with or without a batch axis, an iterator, dicts."""
    calibration = load_calibration(source, model())
    np.testing.assert_array_equal(X, rows(calibration))
    np.testing.assert_array_equal(X, rows(calibration))


@pytest.mark.parametrize("body", ["return X", "yield from X", "return {'image': X}", "return list(X)"])
def test_function_in_the_current_folder(tmp_path, monkeypatch, request, body):
    """`module:function` is imported from the current folder and called for every pass."""
    name = f"mine_{abs(hash(request.node.name))}"
    np.save(tmp_path / "x.npy", X)
    (tmp_path / f"{name}.py").write_text(
        f"import numpy as np\nX = np.load('x.npy')\ndef samples():\n    {body}\n"
    )
    monkeypatch.chdir(tmp_path)
    calibration = load_calibration(f"{name}:samples", model())
    assert 24 == calibration.count
    np.testing.assert_array_equal(X, rows(calibration))


def test_limit_stops_early(tmp_path):
    """No more than `limit` samples are taken."""
    assert 5 == load_calibration(save(tmp_path, x=X), model(), limit=5).count


def test_batches_of_the_model(tmp_path):
    """With a batch of 4, four rows make a sample, also where they come one by one."""
    batched = model(TensorSpec("image", "float32", (4, 4, 4, 3)))
    for source in (save(tmp_path, x=X[:23]), list(X[:23])):
        calibration = load_calibration(source, batched)
        assert 5 == calibration.count
        np.testing.assert_array_equal(X[:20], rows(calibration))


def test_two_inputs(tmp_path):
    """Several inputs go by their names, walked together; a state without a batch axis has its own shape."""
    two = model(TensorSpec("image", "float32", (1, 4, 4, 3)), TensorSpec("state", "float32", (2, 1, 8)))
    states = np.random.default_rng(1).random((24, 2, 1, 8)).astype(np.float32)
    calibration = load_calibration(save(tmp_path, image=X, state=states), two)
    assert 24 == calibration.count
    np.testing.assert_array_equal(states, np.stack([sample["state"] for sample in calibration.samples()]))


def test_casts_and_few_samples_are_noted(tmp_path):
    """A cast that changes the dtype and a small set are said, not refused."""
    calibration = load_calibration(save(tmp_path, x=(X[:3] * 255).astype(np.uint8)), model())
    assert np.float32 == next(calibration.samples())["image"].dtype
    cast, few = calibration.notes
    assert "cast from uint8 to float32" in cast
    assert "only 3" in few
    assert f"at least {FEW_SAMPLES}" in few


def bad(**changes: np.ndarray) -> np.ndarray:
    array = X.copy()
    array[7, 0, 0, 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X[:0]}, ["no calibration samples"]),
        ({"imagee": X, "z": X}, ["'imagee', 'z'", "'image'", "Is 'imagee' meant"]),
        ({"x": X[..., :2]}, ["[24, 4, 4, 2]", "[N, 4, 4, 3]"]),
        ({"x": X.transpose(0, 3, 1, 2)}, ["[24, 3, 4, 4]", "channels come first", "transpose(0, 2, 3, 1)"]),
        ({"x": X.astype(str)}, ["<U", "float32"]),
        ({"x": X.astype(complex)}, ["complex128", "float32"]),
        ({"x": bad()}, ["sample 7", "'image'", "NaN"]),
        ({"x": np.where(X > 2, X, np.inf)}, ["sample 0", "Inf"]),
        ({"x": np.ones_like(X)}, ["the same", "is 1 throughout"]),
        ({"y": np.arange(3)}, ["'y'"]),
    ],
)
def test_bad_arrays(tmp_path, arrays, words):
    """Each is a CalibrationError that says what was found and what was expected."""
    with pytest.raises(CalibrationError) as caught:
        load_calibration(save(tmp_path, **arrays), model())
    for word in ["data.npz", *words]:
        assert word in str(caught.value)


def test_pickles_are_never_loaded(tmp_path):
    """An array of objects would run code when loaded: refused."""
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_calibration(tmp_path / "data.npz", model())


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"hello world, this is text"])
def test_files_that_are_something_else(tmp_path, suffix, content):
    """A truncated file or another format is refused by name."""
    file = tmp_path / f"data{suffix}"
    file.write_bytes(content)
    with pytest.raises(CalibrationError, match=f"data{suffix}.*cannot be read"):
        load_calibration(file, model())


def test_truncated_npz(tmp_path):
    """An archive that was cut off is refused."""
    file = Path(save(tmp_path, x=X))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_calibration(file, model())


@pytest.mark.parametrize("source", ["nowhere.npz", "nowhere", "nowhere/"])
def test_missing(source):
    """A path that is not there is a missing file, and the three ways are shown."""
    with pytest.raises(FileMissing, match=r"--calibration data\.npz"):
        load_calibration(source, model())


def test_unknown_kind(tmp_path):
    """A file of another kind is refused with the three ways."""
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(InvalidRequest, match=r"\.csv.*folder of images"):
        load_calibration(tmp_path / "data.csv", model())
    with pytest.raises(InvalidRequest, match="int"):
        load_calibration(5, model())


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        ("", "no_such_module:f", "cannot be imported"),
        ("", "MODULE:missing", "no function 'missing'"),
        ("f = 3", "MODULE:f", "no function"),
        ("1 / 0", "MODULE:f", "ZeroDivisionError"),
        ("def f(:", "MODULE:f", "SyntaxError"),
        ("def f():\n    raise RuntimeError('boom')", "MODULE:f", "boom"),
        ("def f():\n    yield [1.0]\n    raise RuntimeError('later')", "MODULE:f", "wrong shape"),
        ("def f():\n    return []", "MODULE:f", "no calibration samples"),
        (
            "import numpy as np\ndef f():\n    yield np.ones((4, 4, 3))\n    1 / 0",
            "MODULE:f",
            "ZeroDivisionError",
        ),
    ],
)
def test_bad_functions(tmp_path, monkeypatch, request, body, name, words):
    """A function that is not there or fails is named, with what it raised."""
    module = f"bad_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalibrationError, match=words):
        load_calibration(name.replace("MODULE", module), model())


def test_different_numbers_of_samples():
    """Inputs with different numbers of samples cannot be walked together."""
    two = model(TensorSpec("image", "float32", (1, 4, 4, 3)), TensorSpec("b", "float32", (1, 2)))
    with pytest.raises(CalibrationError, match=r"different numbers.*'b'"):
        load_calibration({"image": X, "b": np.random.default_rng(0).random((25, 2))}, two)


def test_one_array_for_two_inputs():
    """An array without a name does not say which of two inputs it is for."""
    two = model(TensorSpec("image", "float32", (1, 4, 4, 3)), TensorSpec("b", "float32", (1, 2)))
    with pytest.raises(CalibrationError, match=r"2 inputs.*'image', 'b'"):
        load_calibration(X, two)


def test_integer_inputs():
    """An integer input takes integers and refuses fractions."""
    ids = model(TensorSpec("ids", "int64", (1, 3)))
    assert (
        np.int64
        == next(load_calibration(np.arange(60, dtype=np.int32).reshape(20, 3), ids).samples())["ids"].dtype
    )
    with pytest.raises(CalibrationError, match=r"float64.*int64"):
        load_calibration(np.random.default_rng(0).random((20, 3)), ids)


def test_values_that_do_not_fit():
    """Numbers that the input's dtype cannot hold are refused, not wrapped."""
    bytes_in = model(TensorSpec("image", "uint8", (1, 2)))
    with pytest.raises(CalibrationError, match=r"do not fit uint8.*0 \.\. 300.*0 \.\. 255"):
        load_calibration(np.array([[0, 300]] * 20), bytes_in)
    with pytest.raises(CalibrationError, match=r"sample 0.*Inf"):
        load_calibration(X.astype(np.float64) * 1e300, model())


def test_damaged_archives(tmp_path):
    """Whatever a flipped byte does to an archive, the error is ours."""
    compressed = tmp_path / "small.npz"
    np.savez_compressed(compressed, x=X[:20])
    generator = np.random.default_rng(0)
    for file in (compressed, Path(save(tmp_path, x=X[:20]))):
        good = file.read_bytes()
        for place in generator.integers(0, len(good), 300):
            data = bytearray(good)
            data[place] ^= 1 << int(generator.integers(8))
            file.write_bytes(data)
            with contextlib.suppress(EdgeError):
                load_calibration(file, model())


def test_images_go_through_their_description(tmp_path):
    """A folder of images is calibration data, one image a sample, in sorted order."""
    for index in range(3):
        (tmp_path / "sub").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (index * 100, 0, 0)).save(tmp_path / "sub" / f"{index}.png")
    (tmp_path / "preprocessing.toml").write_text("scale = 0.01")
    calibration = load_calibration(tmp_path, model())
    assert 3 == calibration.count
    np.testing.assert_allclose([0, 1, 2], rows(calibration)[:, 0, 0, 0], rtol=1e-6)


def test_iterators_without_an_end():
    """Of an iterator that never ends as many samples are taken as asked for; later passes see the same."""
    drawn = iter(np.random.default_rng(3).random((50, 4, 4, 3)).astype(np.float32))

    def stream():
        yield from drawn
        while True:
            yield X[0]

    calibration = load_calibration(stream(), model(), limit=60)
    assert 60 == calibration.count
    first = rows(calibration)
    np.testing.assert_array_equal(first, rows(calibration))
    np.testing.assert_array_equal(X[0], first[-1])


def test_passes_over_an_iterator_may_cross():
    """Two passes at once over what came from an iterator do not disturb each other."""
    calibration = load_calibration(iter(X), model())
    one, other = calibration.samples(), calibration.samples()
    next(one)
    np.testing.assert_array_equal(X[:1], next(other)["image"])
    np.testing.assert_array_equal(X[1:2], next(one)["image"])


def test_iterators_that_fail():
    """What an iterator raises is named and chained, as what a function raises is."""

    def stream():
        yield X[0]
        raise OSError("the camera is gone")

    with pytest.raises(CalibrationError, match="the camera is gone") as caught:
        load_calibration(stream(), model())
    assert isinstance(caught.value.__cause__, OSError)


def test_a_function_that_gives_the_same_iterator_twice(tmp_path, monkeypatch, conv_graph):
    """The second pass finds nothing; that is said, and what to do, instead of statistics of nothing."""
    (tmp_path / "once.py").write_text(
        "import numpy as np\n"
        "X = iter(np.random.default_rng(0).normal(size=(24, 4, 4, 4)).astype('float32'))\n"
        "def samples():\n    return X\n"
    )
    monkeypatch.chdir(tmp_path)
    calibration = load_calibration("once:samples", model(TensorSpec("input", "float32", (1, 4, 4, 4))))
    assert 24 == calibration.count
    with pytest.raises(CalibrationError, match=r"once:samples.*none when it was read again.*new iterator"):
        collect(conv_graph(np.ones((8, 3, 3, 4)), np.zeros(8)), calibration, lambda *_: None)


def test_rows_of_different_lengths():
    """Lists that make no array are refused, not a traceback of NumPy's."""
    with pytest.raises(CalibrationError, match=r"'image' are no array"):
        load_calibration([[1.0, [2.0]]], model())


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_large_archives_are_read_piece_by_piece(tmp_path, monkeypatch, save_as):
    """An array larger than what is held is read from the disk a few samples at a time, on every pass."""
    monkeypatch.setattr(rows_module, "SMALL", 1000)
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 700)
    batched = model(TensorSpec("image", "float32", (2, 4, 4, 3)), TensorSpec("b", "int64", (1, 2)))
    numbers = np.arange(24).reshape(12, 2)
    save_as(tmp_path / "data.npz", image=X, b=numbers)
    calibration = load_calibration(tmp_path / "data.npz", batched)
    for _ in range(2):
        np.testing.assert_array_equal(X, rows(calibration))
        np.testing.assert_array_equal(numbers, np.concatenate([one["b"] for one in calibration.samples()]))
    np.savez(tmp_path / "data.npz", image=X, b=numbers[:11])
    with pytest.raises(CalibrationError, match=r"different numbers.*'image'"):
        load_calibration(tmp_path / "data.npz", batched)


def test_the_whole_shape_is_told(monkeypatch):
    """An array that does not fit is told of with all its samples, however few are taken at a time."""
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 1)
    with pytest.raises(CalibrationError, match=r"\[24, 4, 4, 2\]"):
        load_calibration(X[..., :2], model())


def test_arrays_by_columns(tmp_path):
    """An array that is stored by columns holds the same samples."""
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    np.testing.assert_array_equal(X, rows(load_calibration(tmp_path / "x.npy", model())))


def test_progress_while_checking(tmp_path):
    """Every sample is told of as it is checked, of how many where that is known beforehand."""
    for source, total in [(save(tmp_path, x=X), 24), (list(X), 24), (iter(X), 0)]:
        seen: list[tuple[str, int, int]] = []
        load_calibration(source, model(), progress=lambda *step, seen=seen: seen.append(step))
        assert [("checking calibration data", done, total) for done in range(25)] == seen


def test_the_digest_is_of_the_content(tmp_path):
    """Equal samples have one digest however they come; one bit, name or order more is another."""
    one = load_calibration(save(tmp_path, x=X), model()).digest
    assert one == load_calibration(list(X), model()).digest
    changed = X.copy()
    changed[20, 3, 3, 2] = np.nextafter(changed[20, 3, 3, 2], np.float32(9))
    others = [
        load_calibration(changed, model()).digest,
        load_calibration(X[::-1], model()).digest,
        load_calibration(X[:23], model()).digest,
        load_calibration({"other": X}, model(TensorSpec("other", "float32", (1, 4, 4, 3)))).digest,
    ]
    assert 5 == len({one, *others})


def test_what_the_inputs_hold(tmp_path):
    """The least and greatest value of each input, and whether there are whole numbers only."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 3))
    two = model(TensorSpec("image", "float32", (1, 4, 4, 3)), TensorSpec("x", "float32", (1, 4, 4, 3)))
    values = load_calibration({"image": pixels, "x": X}, two).values
    assert InputValues(pixels.min(), pixels.max(), whole=True) == values["image"]
    assert InputValues(float(X.min()), float(X.max()), whole=False) == values["x"]


def test_images_bring_their_description(tmp_path):
    """How the images became inputs is kept with the samples, with nothing left open."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "0.png")
    Image.new("RGB", (8, 8), (3, 2, 1)).save(tmp_path / "1.png")
    (tmp_path / "preprocessing.toml").write_text('scale = 0.5\nresize = "crop"')
    found = load_calibration(tmp_path, model()).preprocessing
    assert Preprocessing("crop", 4, 4, "rgb", "NHWC", 0.5) == found
    assert load_calibration(X, model()).preprocessing is None
