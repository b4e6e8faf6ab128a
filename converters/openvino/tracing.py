"""Samples from disk, and models that are run on them. Runs in the child."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # on some processors the default is bfloat16


class Samples(Sequence[dict[str, np.ndarray]]):
    """The samples in a folder, an array `<number>.npy` for each input; only what is asked for is read.

    Args:
        folder: as `engine` wrote it; `names.txt` has the inputs' names, a line each.
    """

    def __init__(self, folder: str) -> None:
        names = (Path(folder) / "names.txt").read_text().splitlines()
        self._arrays = {
            name: np.load(Path(folder) / f"{number}.npy", mmap_mode="r", allow_pickle=False)
            for number, name in enumerate(names)
        }

    def __len__(self) -> int:
        return min((len(array) for array in self._arrays.values()), default=0)

    def __getitem__(self, index: Any) -> Any:
        return {name: np.array(array[index]) for name, array in self._arrays.items()}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[index] for index in range(len(self)))


class Traced:
    """A model that is run in float32, or in the integers it has, and whose layers can be looked at.

    Args:
        core: of openvino.
        model: changed: the layers become outputs of it.
        layers: names of operators; those that it has not are left out.
    """

    def __init__(self, core: Any, model: Any, layers: Sequence[str]) -> None:
        by_name = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
        model.add_outputs([by_name[name].output(0) for name in layers if name in by_name])
        self._places: dict[str, int] = {}
        for index, port in enumerate(model.outputs):
            source = port.get_node().input_value(0)
            if source.get_index() == 0:
                self._places.setdefault(source.get_node().get_friendly_name(), index)
        self._request = core.compile_model(model, "CPU", _F32).create_infer_request()

    def run(self, sample: Mapping[str, np.ndarray]) -> None:
        """Run a sample."""
        self._request.infer(dict(sample))

    def value(self, layer: str) -> np.ndarray | None:
        """What a layer gave in the last run: float64, flat; None where the model has no such float."""
        place = self._places.get(layer)
        if place is None:
            return None
        found: np.ndarray = self._request.get_output_tensor(place).data
        return found.astype(np.float64).ravel() if found.dtype.kind == "f" else None


def outputs_of(
    core: Any, model: Any, samples: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """A model's outputs by name for each sample, on one thread, as a device runs it."""
    compiled = core.compile_model(model, "CPU", {**_F32, "INFERENCE_NUM_THREADS": 1})
    request = compiled.create_infer_request()
    names = [min(port.get_names()) for port in compiled.outputs]
    found = []
    for sample in samples:
        request.infer(dict(sample))
        found.append({name: request.get_output_tensor(i).data.copy() for i, name in enumerate(names)})
    return found
