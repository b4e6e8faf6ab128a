"""Puts preprocessing before a model: uint8 pixels in, what the model takes behind them. Runs in the child.

    fold  {folder, input, channels, layout, mean, std}  -> folded {added}: types of operators

The IR in the folder is replaced. `mean` and `std` are of the pixels: x = (pixel - mean) / std.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import openvino
from openvino.preprocess import PrePostProcessor

from converters.openvino import ends, listing
from device_agent.frames import Frame


def fold(frame: Frame, write: Callable[[Any, str], None]) -> Frame:
    """Fold preprocessing into the IR in a folder; see the module.

    Args:
        frame: the request.
        write: writes a model into a folder.
    """
    head = frame.head
    place = os.path.join(head["folder"], "model.xml")  # noqa: PTH118 - a string is what openvino takes
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the weights' file is about to be replaced
    model = core.read_model(place)
    before = {node.get_friendly_name() for node in model.get_ops()}
    inputs = [min(port.get_names()) for port in model.inputs]
    outputs = [min(port.get_names()) for port in model.outputs]
    index = inputs.index(head["input"])
    steps = PrePostProcessor(model)
    one = steps.input(index)
    one.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    one.model().set_layout(openvino.Layout(head["layout"]))
    dtype = model.inputs[index].get_element_type()
    change = one.preprocess().convert_element_type(openvino.Type.f32)
    if head["channels"] == "bgr":
        change = change.reverse_channels()
    change.mean(head["mean"]).scale(head["std"]).convert_element_type(dtype)
    model = steps.build()
    ends.name(model, inputs, outputs)
    write(model, head["folder"])
    added = [entry[1] for entry in listing.entries(model, []) if entry[0] not in before]
    return Frame({"kind": "folded", "added": added})
