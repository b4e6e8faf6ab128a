"""Validation data: every way of giving samples and labels, and every way of giving them wrong."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from PIL import Image

from converters.model import Model
from converters.quantize.samples.validation import Validation, evenly, load_validation
from device_agent.bundle import TensorSpec
from device_agent.errors import CalibrationError, EdgeError, FileMissing, InvalidRequest, MetricError

X = np.random.default_rng(0).random((24, 4, 6, 3)).astype(np.float32)
Y = np.arange(24) % 3


def model(batch: int = 1, classes: int = 3) -> Model:
    image = TensorSpec("image", "float32", (batch, 4, 6, 3))
    return Model(
        Path("m.onnx"),
        "onnx",
        "0" * 64,
        1,
        (image,),
        (TensorSpec("y", "float32", (batch, classes)),),
        (),
        0,
        None,
    )


def pairs(validation: Validation) -> list[tuple[np.ndarray, object]]:
    assert validation.labels is not None
    found = zip(validation.samples.samples(), validation.labels(), strict=True)
    return [(sample["image"], label) for sample, label in found]


def check(validation: Validation, indices=range(24)) -> None:
    """The samples of these rows with their labels, in two passes."""
    indices = list(indices)
    for _ in range(2):
        found = pairs(validation)
        np.testing.assert_array_equal(X[indices], np.concatenate([sample for sample, _ in found]))
        assert Y[indices].tolist() == [int(label) for _, label in found]
    assert len(indices) == validation.count == validation.samples.count


@pytest.mark.parametrize(
    "arrays", [{"image": X, "labels": Y}, {"x": X, "y": Y}, {"a": X[:, None], "Target": Y}]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path, arrays, compressed):
    """An array of labels beside the samples is taken, whatever of the known names it has."""
    (np.savez_compressed if compressed else np.savez)(tmp_path / "v.npz", **arrays)
    check(load_validation(tmp_path / "v.npz", model()))
    check(load_validation(arrays, model()))


def test_large_arrays_stay_on_the_disk(tmp_path, monkeypatch):
    """Arrays past a limit are read a sample at a time."""
    monkeypatch.setattr("converters.quantize.samples.rows.SMALL", 100)
    np.savez_compressed(tmp_path / "v.npz", x=X, y=Y)
    check(load_validation(tmp_path / "v.npz", model()))
    np.save(tmp_path / "x.npy", X)
    check(load_validation(tmp_path / "x.npy", model(), labels=Y))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "\n".join(map(str, Y))),
        ("l.csv", "\n".join(map(str, Y))),
        ("l.csv", "id,label\n" + "\n".join(f"{100 - i},{y}" for i, y in enumerate(Y))),
        ("l.json", json.dumps(Y.tolist())),
        ("l.json", json.dumps({"labels": Y.tolist()})),
    ],
)
def test_labels_in_files(tmp_path, name, text):
    """Labels in their order: lines, a column, a list."""
    (tmp_path / name).write_text(text)
    check(load_validation(X, model(), labels=tmp_path / name))


def test_labels_in_arrays(tmp_path):
    """Labels as .npy, .npz or in memory."""
    np.save(tmp_path / "l.npy", Y)
    np.savez(tmp_path / "l.npz", other=X, label=Y)
    for labels in (tmp_path / "l.npy", str(tmp_path / "l.npz"), Y, Y.tolist()):
        check(load_validation(X, model(), labels=labels))


def test_a_limit_is_spread(tmp_path):
    """Fewer samples are taken from the whole set, with their own labels, and it is told."""
    found = load_validation({"x": X, "y": Y}, model(), limit=7)
    check(found, [0, 3, 6, 10, 13, 17, 20])
    assert ("7 of 24 validation samples are used, spread over all of them",) == found.notes
    for count, limit in ((5, 9), (1900, 1000), (10, 10)):
        chosen = evenly(count, limit)
        assert min(count, limit) == len(set(chosen))
        assert 0 == chosen[0]
        assert chosen[-1] >= count - 1 - count // limit


def test_batches(tmp_path):
    """With a batch of B, B rows and their labels make a sample; what is left over is dropped."""
    found = pairs(load_validation({"x": X, "y": Y}, model(batch=5)))
    assert 4 == len(found)
    np.testing.assert_array_equal(X[5:10], found[1][0])
    assert Y[5:10].tolist() == list(found[1][1])
    one_each = pairs(load_validation(X[:20], model(batch=5), labels=[7, 8, 9, 6]))
    assert [7, 8, 9, 6] == [label for _, label in one_each]
    stream = pairs(load_validation(list(zip(X, Y, strict=True)), model(batch=5)))
    assert [list(label) for _, label in found] == [list(label) for _, label in stream]


BODIES = [
    "for x, y in zip(X, Y):\n        yield x, y",
    "return list(zip(X, Y))",
    "return {'x': X, 'y': Y}",
    "for x, y in zip(X, Y):\n        yield {'image': x[None]}, int(y)",
]


@pytest.mark.parametrize("body", BODIES)
def test_functions(tmp_path, monkeypatch, request, body):
    """`module:function` yields or returns samples with their labels."""
    name = f"labelled_{abs(hash(request.node.name))}"
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    (tmp_path / f"{name}.py").write_text(
        f"import numpy as np\nd = np.load('d.npz')\nX, Y = d['x'], d['y']\ndef f():\n    {body}\n"
    )
    monkeypatch.chdir(tmp_path)
    try:
        check(load_validation(f"{name}:f", model()))
        if "zip" in body:
            first = load_validation(f"{name}:f", model(), limit=5)
            check(first, range(5))
            assert "only the first 5 validation samples are used" in first.notes
    finally:
        __import__(name).d.close()


def test_a_stream_that_changes():
    """A function that shuffles anew would part labels from samples: it is refused."""
    rng = np.random.default_rng(0)

    class Shuffled:
        def __iter__(self):
            return iter([(X[index], Y[index]) for index in rng.permutation(24)])

    with pytest.raises(CalibrationError, match=r"another one on a later pass.*seed"):
        pairs(load_validation(Shuffled(), model()))


def test_labels_too_large_to_hold(monkeypatch):
    """Labels of a stream are held, up to a limit."""
    monkeypatch.setattr("converters.quantize.samples.labelled_streams.MOST_LABELS", 5 * X[0].nbytes)
    with pytest.raises(
        MetricError, match=r"too large to be held: got more than 0 MiB after 6 samples.*\.npy"
    ):
        load_validation([(x, x) for x in X], model())


def test_inputs_of_different_lengths():
    """Every input has as many samples."""
    twins = tuple(TensorSpec(name, "float32", (1, 3)) for name in ("a", "b"))
    with pytest.raises(CalibrationError, match="different numbers of samples: got 'a' 24, 'b' 20"):
        load_validation({"a": X[:, 0, 0], "b": X[:20, 0, 0]}, evolve(model(), inputs=twins))


def test_without_labels(tmp_path):
    """Samples alone are fine: there are just no labels."""
    np.savez(tmp_path / "v.npz", x=X)
    for source in (X, tmp_path / "v.npz", list(X)):
        assert load_validation(source, model()).labels is None


def images(folder: Path, names: list[str], size=(6, 4)) -> None:
    (folder / "preprocessing.toml").write_text('resize = "crop"\n')
    for index, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[size[1] // 2 :] = 10 * index + 10
        Image.fromarray(pixels).save(file)


CLASSES = ["cat/a.png", "cat/b.png", "bird/c.png", "dog/d.png", "dog/deep/e.png"]


def test_folders_are_classes(tmp_path):
    """A subfolder per class: sorted, as many as the model has scores, and told."""
    images(tmp_path, CLASSES)
    found = load_validation(tmp_path, model())
    assert [(2, 0), (0, 1), (1, 1), (3, 2), (4, 2)] == [(int(x.max()) // 10 - 1, y) for x, y in pairs(found)]
    assert "classes, by their folders' names: 0 bird, 1 cat, 2 dog" in found.notes
    limited = load_validation(tmp_path, model(), limit=2)
    assert [(2, 0), (1, 1)] == [(int(x.max()) // 10 - 1, y) for x, y in pairs(limited)]


def test_classes_by_name_and_number(tmp_path):
    """A labels.txt says the order; folders called by numbers are those classes."""
    images(tmp_path, CLASSES)
    (tmp_path / "labels.txt").write_text("dog\nbird\n\ncat\n")
    found = load_validation(tmp_path, model(classes=4))
    assert [1, 3, 3, 0, 0] == [y for _, y in pairs(found)]
    assert "classes, as labels.txt says: 0 dog, 1 bird, 3 cat" in found.notes
    numbers = tmp_path / "numbers"
    images(numbers_made(numbers), ["10/a.png", "2/b.png", "0/c.png"])
    assert [0, 10, 2] == [y for _, y in pairs(load_validation(numbers, model(classes=11)))]


def numbers_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("classes", "names", "words"),
    [
        (5, None, r"3 folders: bird, cat, dog, expected 5.*labels\.txt"),
        (3, "dog\nbrid\ncat", r"no class 'bird' in labels\.txt.*'brid'"),
        (2, "dog\nbird\ncat", r"'cat' is class 2, expected 0 \.\. 1"),
    ],
)
def test_folders_that_are_not_the_classes(tmp_path, classes, names, words):
    """What maps a folder to a class is checked; it matters only where labels are asked for."""
    images(tmp_path, CLASSES)
    if names is not None:
        (tmp_path / "labels.txt").write_text(names)
    found = load_validation(tmp_path, model(classes=classes))
    assert found.labels is not None
    with pytest.raises(MetricError, match=words):
        next(found.labels())


def test_labels_by_file_name(tmp_path):
    """A table or object of labels by file name, as numbers or names of classes."""
    images(tmp_path, ["a.png", "sub/b.png"])
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    for name, text in (
        ("l.csv", "file,label\nb.png,0\na.png,1\nz.png,1\n"),
        ("l.csv", "sub/b.png,cat\na.png,dog"),
        ("l.json", '{"a": 1, "b": "cat"}'),
    ):
        (tmp_path / name).write_text(text)
        assert [1, 0] == [y for _, y in pairs(load_validation(tmp_path, model(), labels=tmp_path / name))]
    (tmp_path / "l.csv").write_text("a.png,1\n")
    with pytest.raises(MetricError, match=r"1 of 2 images have no label: got sub/b\.png"):
        load_validation(tmp_path, model(), labels=tmp_path / "l.csv")


def annotations(tmp_path: Path, **changes) -> Path:
    data = {
        "images": [{"id": 7, "file_name": "a.png", "width": 120, "height": 40}],
        "annotations": [
            {"image_id": 7, "bbox": [30, 10, 30, 20], "category_id": 18},
            {"image_id": 7, "bbox": [0, 0, 60, 40], "category_id": 3, "iscrowd": 1},
            {"image_id": 7, "bbox": [0, 0, 20, 40], "category_id": 3},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
    } | changes
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    return tmp_path / "annotations.json"


def test_coco(tmp_path):
    """Boxes are cropped as the image is; one that is out of sight is dropped; categories in order of ids."""
    images(tmp_path, ["a.png"], size=(120, 40))
    found = load_validation(tmp_path, model(), labels=annotations(tmp_path))
    # 120 x 40 filled into 6 x 4: the middle 60 of 120 columns are seen
    label = pairs(found)[0][1]
    np.testing.assert_allclose([[0.0, 0.25, 0.5, 0.75], [0.0, 0.0, 0.5, 1.0]], label["boxes"])
    assert ([1, 0], [False, True]) == (label["classes"], label["crowd"])
    assert "classes of the annotations: 0 cat, 1 dog" in found.notes
    (tmp_path / "preprocessing.toml").write_text('resize = "stretch"\n')
    (tmp_path / "labels.txt").write_text("dog\n???\ncat\n")
    label = pairs(load_validation(tmp_path, model(), labels=annotations(tmp_path)))[0][1]
    np.testing.assert_allclose([[0.25, 0.25, 0.5, 0.75], [0, 0, 0.5, 1], [0, 0, 1 / 6, 1]], label["boxes"])
    assert [0, 2, 2] == label["classes"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categories": []}, "not COCO's.*KeyError"),
        ({"annotations": [{"image_id": 8}]}, r"not COCO's.*KeyError\(8\)"),
        ({"images": [{"id": 7, "file_name": "b.png", "width": 1, "height": 1}]}, "no label: got a.png"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": 0, "height": 1}]}, "0 x 1 pixels"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2], "category_id": 3}]}, "not COCO's"),
    ],
)
def test_annotations_that_are_wrong(tmp_path, changes, words):
    """What is not COCO's format says where."""
    images(tmp_path, ["a.png"], size=(120, 40))
    with pytest.raises(MetricError, match=words):
        load_validation(tmp_path, model(), labels=annotations(tmp_path, **changes))


def test_boxes_in_npz():
    """`boxes` and `classes` of a detector become rows with a class; negative classes fill up."""
    boxes, classes = np.zeros((24, 2, 4)), np.zeros((24, 2), int) - 1
    boxes[0, 0], classes[0, 0] = [0, 0, 1, 1], 2
    found = pairs(load_validation({"image": X, "boxes": boxes, "classes": classes}, model()))
    assert [[0, 0, 1, 1, 2], [0, 0, 0, 0, -1]] == found[0][1].tolist()
    bad = load_validation({"image": X, "boxes": boxes, "classes": classes[:, :1]}, model())
    with pytest.raises(MetricError, match=r"boxes \[24, 2, 4\], classes \[24, 1\]"):
        pairs(bad)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (Y[:20], MetricError, "do not match the samples: got 20 labels, expected 24"),
        ("none.csv", FileMissing, "no such labels"),
        ("labels.xml", InvalidRequest, r"unknown kind: got \.xml"),
        ("bad.json", MetricError, "cannot be read"),
        ("bad.npy", MetricError, "cannot be read"),
        ("objects.npy", MetricError, "cannot be read.*plain array"),
        ("many.csv", MetricError, "which column holds the labels"),
        ("ragged.csv", MetricError, "row 1 of the labels has another number of columns: got 3, expected 2"),
        ("files.json", MetricError, "labels by file name go with a folder"),
        ("two.npz", MetricError, "more than one array could hold the labels: got 'y', 'labels'"),
        ("number.json", MetricError, "got int, expected a list"),
    ],
)
def test_labels_that_do_not_match(tmp_path, labels, error, words):
    """Each says what is wrong and where."""
    (tmp_path / "bad.json").write_text("[1, 2")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "many.csv").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "ragged.csv").write_text("a,1\nb,2,3\n")
    (tmp_path / "files.json").write_text('{"a.png": 1}')
    (tmp_path / "number.json").write_text("1")
    np.savez(tmp_path / "two.npz", y=Y, labels=Y)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    labels = tmp_path / labels if isinstance(labels, str) else labels
    with pytest.raises(error, match=words):
        load_validation(X, model(), labels=labels)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"x": X, "y": Y[:20]}, "do not match the samples: got 20 labels, expected 24"),
        ({"x": X, "y": Y, "labels": Y}, "more than one array"),
        ([(X[:3], 1), (X[3:6], 0)], "got 2 labels, expected 6"),
    ],
)
def test_labels_beside_samples_that_do_not_match(source, words):
    """What seemed to be labels is refused when labels are asked for: a metric without labels still works."""
    found = load_validation(source, model())
    with pytest.raises(MetricError, match=words):
        pairs(found)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ({"x": X[:, :2]}, CalibrationError, "wrong shape"),
        ({"x": X[:0]}, CalibrationError, "no validation samples"),
        ({"x": X * np.nan}, CalibrationError, "sample 0 of input 'image' holds NaN or Inf"),
        ({"a": X, "b": X}, CalibrationError, "'a', 'b'"),
        (3, InvalidRequest, "unknown kind: got int"),
        ("none.npz", FileMissing, "no such validation data"),
        ("none", FileMissing, "no such validation data"),
        ("notes.pdf", InvalidRequest, r"unknown kind: got \.pdf"),
        ("bad.npz", CalibrationError, "cannot be read"),
        ("cut.npy", CalibrationError, "cut off"),
        ("no_such_module_of_mine:f", CalibrationError, "cannot be imported"),
        ([(X[0], 1), X[1]], CalibrationError, "sample 1 lacks a label"),
        ([], CalibrationError, "no validation samples"),
    ],
)
def test_samples_that_do_not_fit(tmp_path, monkeypatch, source, error, words):
    """Samples are checked as calibration's are, and called what they are."""
    monkeypatch.chdir(tmp_path)
    Path("notes.pdf").touch()
    Path("bad.npz").write_bytes(b"PK no archive")
    np.save("whole.npy", X)
    Path("cut.npy").write_bytes(Path("whole.npy").read_bytes()[:-10])
    with pytest.raises(error, match=words):
        load_validation(source, model())


def test_limits():
    """No samples at all cannot be asked for."""
    with pytest.raises(EdgeError, match="at least 1"):
        load_validation(X, model(), limit=0)


@pytest.mark.parametrize("labelled", [True, False])
def test_an_iterator_is_walked_once_and_not_held(labelled):
    """What an iterator gives can be read again and again, and its arrays need not stay in memory."""
    alive: list[weakref.ref[np.ndarray]] = []

    def given():
        for row, label in zip(X, Y, strict=True):
            sample = row.copy()
            alive.append(weakref.ref(sample))
            yield (sample, label) if labelled else sample

    validation = load_validation(given(), model(), labels=None if labelled else Y)
    check(validation)
    assert 24 == len(alive)
    assert sum(array() is not None for array in alive) <= 1
