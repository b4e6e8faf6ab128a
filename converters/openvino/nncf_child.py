"""What `child` does with NNCF, which is imported when it is first asked for: it brings PyTorch along.

    prepare   {}                                         -> prepared, payload: operators as JSON
    quantize  {folder, samples, ranges, repairs, ignored} -> made, payload: `integers.Node`s as JSON;
                                                            model.xml and model.bin there
    compress  {folder, samples, bits}                    -> the same
    compare   {path, layers}, payload: a sample          -> compared, payload: sums, float64[layers, 4]

`samples` is a folder with an array `<name>.npy` of all samples for each input, or null. `made` tells
`differences` {output: the greatest difference from float over some samples}, `changed` {repair: how much} and
`weights` {operator: what its weights are stored in}.
`prepare` leaves the opened model as it is and works on a copy, whose operators the other requests name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from converters.openvino import folding, listing, nncf_calls
from converters.openvino.tracing import Samples, Traced, outputs_of
from converters.readers import child
from device_agent.frames import Frame

if TYPE_CHECKING:
    from converters.readers.child import Handler

COMPARED = 8  # samples that the differences are taken over


class Quantising:
    """The answers to the requests; `opened` gives the float model, `write` writes one into a folder."""

    def __init__(self, opened: Callable[[], Any], write: Callable[[Any, str], None]) -> None:
        self._opened, self._write = opened, write
        self._core = openvino.Core()
        self._float: Any = None
        self._outputs: tuple[str, list[dict[str, np.ndarray]]] | None = None  # of the float model, by folder
        self._pair: tuple[tuple[str, ...], Traced, Traced] | None = None

    def handlers(self) -> dict[str, Handler]:
        """By the request's kind."""
        return {
            "prepare": self.prepare,
            "quantize": self.quantize,
            "compress": self.compress,
            "compare": self.compare,
        }

    def prepare(self, _frame: Frame) -> Frame:
        """Copy the opened model and make it ready for integers."""
        self._float = self._opened().clone()
        folding.fold_scales(self._float)
        listing.name_apart(self._float)
        return Frame({"kind": "prepared"}, json.dumps(listing.entries(self._float, ())).encode())

    def quantize(self, frame: Frame) -> Frame:
        """Give the activations and weights of a copy integers."""
        head = frame.head
        made = nncf_calls.quantized(self._float.clone(), Samples(head["samples"]), head)
        changed = nncf_calls.changed(self._float, made)
        folding.fold_scales(made)
        return self._answer(made, head, changed)

    def compress(self, frame: Frame) -> Frame:
        """Give the weights of a copy integers."""
        made, changed = nncf_calls.compressed(self._float.clone(), frame.head["bits"])
        return self._answer(made, frame.head, changed)

    def compare(self, frame: Frame) -> Frame:
        """How far each layer's output is from float in one sample: sums of r^2, q^2, r q and (r - q)^2."""
        path, layers = frame.head["path"], frame.head["layers"]
        key = (path, *layers)
        if self._pair is None or self._pair[0] != key:
            quantised = self._core.read_model(path)
            self._pair = (
                key,
                Traced(self._core, self._float.clone(), layers),
                Traced(self._core, quantised, layers),
            )
        _, reference, other = self._pair
        sample = child.unpack(frame.payload)
        reference.run(sample)
        other.run(sample)
        sums = np.full((len(layers), 4), np.nan)
        for row, layer in enumerate(layers):
            r, q = reference.value(layer), other.value(layer)
            if r is not None and q is not None and r.shape == q.shape:
                sums[row] = [r @ r, q @ q, r @ q, np.square(r - q).sum()]
        return Frame({"kind": "compared"}, child.pack({"sums": sums}))

    def _answer(self, made: Any, head: Mapping[str, Any], changed: Mapping[str, int]) -> Frame:
        """Write what was made, without NNCF's account of how: one scheme by two ways gives the same bytes."""
        if "nncf" in made.rt_info:
            del made.rt_info["nncf"]
        self._write(made, head["folder"])
        differences = self._differences(made, head["samples"]) if head["samples"] is not None else {}
        answer = {
            "kind": "made",
            "differences": differences,
            "changed": dict(changed),
            "weights": nncf_calls.weights_of(made),
        }
        return Frame(answer, json.dumps(listing.nodes(made)).encode())

    def _differences(self, made: Any, folder: str) -> dict[str, float]:
        samples = Samples(folder)
        chosen = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, COMPARED).astype(int))]
        if self._outputs is None or self._outputs[0] != folder:
            self._outputs = folder, outputs_of(self._core, self._float, chosen)
        found: dict[str, float] = {}
        for r, q in zip(self._outputs[1], outputs_of(self._core, made, chosen), strict=True):
            for name, value in r.items():
                if value.dtype.kind == "f" and value.size and value.shape == q[name].shape:
                    found[name] = max(found.get(name, 0.0), float(np.abs(value - q[name]).max()))
        return {name: value for name, value in found.items() if np.isfinite(value)}
