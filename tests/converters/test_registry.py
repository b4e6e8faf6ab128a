"""Readers and backends are found through entry points, by name and by file ending."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from converters import registry
from device_agent.errors import FileMissing, InvalidModel, InvalidRequest


def test_by_name():
    """The built-in plugins are declared as any other package's would be."""
    assert "null" == registry.reader("null").name
    assert ("null", "litert") == (registry.backend("null").name, registry.backend("litert").name)


def test_by_ending(tmp_path):
    """The file's ending names its reader, in any case."""
    for file_name, reader in (("a.null.json", "null"), ("b.onnx", "onnx"), ("C.ONNX", "onnx")):
        (tmp_path / file_name).write_bytes(b"")
        assert reader == registry.reader_for(tmp_path / file_name).name


def test_unknown_ending(tmp_path):
    """Another ending is refused with what can be read."""
    (tmp_path / "model.pdf").write_bytes(b"")
    with pytest.raises(InvalidModel, match=r"model\.pdf.*\.pdf.*\.null\.json or \.onnx"):
        registry.reader_for(tmp_path / "model.pdf")
    with pytest.raises(InvalidModel, match="a folder"):
        registry.reader_for(tmp_path)


def test_missing_file():
    """A file that is not there is said to be missing, whatever its ending."""
    for name in ("gone.onnx", "gone.xyz"):
        with pytest.raises(FileMissing, match=name):
            registry.reader_for(Path(name))


def test_unknown_name():
    """An unknown backend is refused with the ones there are."""
    with pytest.raises(InvalidRequest, match=r"'coreml'.*litert or null"):
        registry.backend("coreml")


def test_duplicates_are_refused():
    """Two packages that bring one name are an error that names both; the same entry twice is one."""
    entries = [EntryPoint("onnx", f"{package}:reader", registry.READERS) for package in ("mine", "theirs")]
    with pytest.raises(InvalidRequest, match=r"'onnx'.*mine:reader and theirs:reader"):
        registry.by_name(entries, registry.READERS)
    assert ["onnx"] == list(registry.by_name([entries[0], entries[0]], registry.READERS))
