"""Whether a graph is well-formed: checked before it is written, so that no runtime has to find out."""

from __future__ import annotations

import math

from converters.graph import dtypes
from converters.graph.ir import Graph, GraphTensor
from converters.graph.options import enum_values
from device_agent.errors import InvalidModel

MAX_ELEMENTS = (1 << 31) - 1  # of a tensor: sizes and offsets are 32-bit


def verify(graph: Graph, *, unknown_builtins: bool = False) -> None:
    """Check that every tensor is stated, defined once and before its use, and used.

    Args:
        graph: the graph.
        unknown_builtins: let operators pass that `read` could not name; they cannot be written.

    Raises:
        InvalidModel: it is not; says which tensor or operator.
    """
    for name, tensor in graph.tensors.items():
        _check_tensor(name, tensor)
    defined = {name for name, tensor in graph.tensors.items() if tensor.data is not None or tensor.variable}
    for tensor_name in graph.inputs.values():
        _check_known(graph, tensor_name, "an input")
        if tensor_name in defined:
            raise _ill_formed("an input of the graph is a constant or another input", tensor_name)
        defined.add(tensor_name)
    used = set(graph.outputs.values()) | set(graph.inputs.values())
    for index, operator in enumerate(graph.operators):
        place = f"operator {index} ({operator.type})"
        unnamed = unknown_builtins and operator.type.startswith("BUILTIN_")
        if operator.type not in enum_values("BuiltinOperator") and not unnamed:
            raise _ill_formed("the schema has no such operator", place)
        for read in operator.inputs:
            if read is not None:
                _check_known(graph, read, place)
                if read not in defined:
                    raise _ill_formed(f"it reads {read!r} before anything defines it", place)
                used.add(read)
        for made in operator.outputs:
            _check_known(graph, made, place)
            if made in defined:
                raise _ill_formed(f"it defines {made!r}, which is defined already", place)
            defined.add(made)
            used.add(made)
        used.update(operator.intermediates)
    for public, name in graph.outputs.items():
        _check_known(graph, name, f"output {public!r}")
        if name not in defined:
            raise _ill_formed("nothing defines this output", public)
    dangling = [name for name in graph.tensors if name not in used]
    if dangling:
        raise _ill_formed("no operator reads or makes this tensor", dangling[0])


def _check_tensor(name: str, tensor: GraphTensor) -> None:
    if tensor.name != name:
        raise _ill_formed(f"it is filed as {name!r}", tensor.name)
    if tensor.dtype not in dtypes.values():
        raise _ill_formed(f"the schema has no dtype {tensor.dtype}", name)
    if math.prod(tensor.shape) > MAX_ELEMENTS:
        raise _ill_formed(f"its shape {list(tensor.shape)} is larger than the format can hold", name)
    if any(size < 0 for size in tensor.shape):
        raise _ill_formed(f"its shape {list(tensor.shape)} is not static", name)
    if tensor.signature is not None and len(tensor.signature) != len(tensor.shape):
        raise _ill_formed("its signature has another number of axes", name, str(list(tensor.signature)))
    dtype = dtypes.numpy_dtype(tensor.dtype)
    if tensor.data is None or dtype is None:
        return
    if tensor.data.dtype != dtype or tensor.data.shape != tensor.shape:
        got = f"{tensor.data.dtype}{list(tensor.data.shape)}"
        raise _ill_formed("its value is not what it states", name, got, f"{dtype}{list(tensor.shape)}")
    if tensor.data.nbytes != math.prod(tensor.shape) * dtype.itemsize:
        raise _ill_formed("its value has the wrong size", name)


def _check_known(graph: Graph, name: str, place: str) -> None:
    if name not in graph.tensors:
        raise _ill_formed(f"there is no tensor {name!r}", place)


def _ill_formed(what: str, where: str, got: str | None = None, expected: str | None = None) -> InvalidModel:
    return InvalidModel(f"the graph is not well-formed: {what}", where=where, got=got, expected=expected)
