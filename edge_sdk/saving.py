"""A conversion as files: the compiled model under a readable name, its bundle, and what a search found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from device_agent.bundle import SIGNATURE_FILE, STATEMENT_FILE
from device_agent.errors import OutputError
from edge_sdk import packing
from edge_sdk.report import quantization
from edge_sdk.staging import staged

if TYPE_CHECKING:
    from converters.convert import Conversion
    from device_agent.bundle import Bundle

SEARCH_FILE, TEXT_FILE = "quantization.json", "quantization.txt"


@frozen
class Saved:
    """What `save` left: the compiled model, its bundle, and the report of the search if there was one."""

    file: Path
    bundle: Bundle
    report: Path | None


def save(conversion: Conversion, folder: Path, *, name: str | None = None) -> Saved:
    """Write a conversion's files, all of them or none.

    Args:
        conversion: from `edge_sdk.convert`.
        folder: made where it is missing; files of those names in it are replaced, others stay.
        name: the deployment's name on devices; made from the model's file name if None.

    Raises:
        InvalidRequest: `name` cannot name a deployment.
        OutputError: the files cannot be written, or would replace the model they were made from.
    """
    title = conversion.artifact.title
    source = conversion.model.path.resolve()
    # an IR's weights lie beside it under its name: they are the source's too
    if any(
        (folder / each).resolve() in (source, source.with_suffix(".bin"))
        for each in conversion.artifact.titles
    ):
        raise OutputError(
            "the result would replace the model it was made from",
            where=str(folder / title),
            next_step="Choose another folder with -o.",
        )
    with staged(folder, "files", replaced=(SEARCH_FILE, TEXT_FILE)) as place:
        conversion.artifact.write(place)
        bundle = packing.pack(conversion, place / "bundle", name=name)
        _write_search(conversion, place)
    report = folder / SEARCH_FILE if conversion.search is not None else None
    return Saved(folder / title, evolve(bundle, path=folder / "bundle"), report)


def save_bundle(conversion: Conversion, folder: Path, *, name: str | None = None) -> Bundle:
    """Write a conversion's bundle as the folder itself, with what a search found beside the layout.

    Raises as `save` does.
    """
    replaced = (SEARCH_FILE, TEXT_FILE, STATEMENT_FILE, SIGNATURE_FILE)
    with staged(folder, "bundle", replaced=replaced) as place:
        bundle = packing.pack(conversion, place, name=name)
        _write_search(conversion, place)
    return evolve(bundle, path=folder)


def _write_search(conversion: Conversion, folder: Path) -> None:
    """Write what a search found, for programs and for people; nothing where nothing was searched."""
    search = conversion.search
    if search is None:
        return
    document = quantization.document(conversion, search)
    (folder / SEARCH_FILE).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    (folder / TEXT_FILE).write_text(quantization.rendered(conversion.model.name, search))
