"""A conversion as files: what an earlier one left beside it goes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent.bundle import SIGNATURE_FILE, STATEMENT_FILE, Bundle, read_bundle
from edge_sdk import packing, pipeline, saving
from edge_sdk.saving import SEARCH_FILE, TEXT_FILE


@pytest.mark.parametrize(
    ("write", "stale"),
    [
        (packing.pack, {STATEMENT_FILE, SIGNATURE_FILE}),
        (saving.save_bundle, {STATEMENT_FILE, SIGNATURE_FILE, SEARCH_FILE, TEXT_FILE}),
    ],
)
def test_what_was_said_of_another_bundle_goes(
    make_model: Callable[..., Path], tmp_path: Path, write: Callable[..., Bundle], stale: set[str]
) -> None:
    """A new bundle takes the signature and the report of the one before away, and nothing else."""
    model = pipeline.load(make_model())
    conversion = pipeline.convert(model, pipeline.plan(model, "null"))
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in (STATEMENT_FILE, SIGNATURE_FILE, SEARCH_FILE, TEXT_FILE, "mine.txt"):
        (folder / name).write_text("old")
    made = write(conversion, folder, name="toy")
    assert (folder, "toy") == (made.path, read_bundle(folder).config.name)
    left = {path.name for path in folder.iterdir()} - {"blobs", "index.json", "oci-layout"}
    assert {STATEMENT_FILE, SIGNATURE_FILE, SEARCH_FILE, TEXT_FILE, "mine.txt"} - stale == left
