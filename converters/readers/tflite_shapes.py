"""Other shapes for a TFLite file's inputs, and inputs bound to constants.

Sizes are propagated by LiteRT itself (`resize_tensor_input`), so a resized model computes what LiteRT
computes of the file after resizing. A batch is different: converters often wrote it into the shapes of
RESHAPE operators. These are made to keep axis 0, and the model is tried: a batch must give what its
samples give one by one, or it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from attrs import evolve, field, frozen

from converters.convert import draw
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.passes.dead import remove_dead
from converters.graph.read import decoding
from converters.graph.write import write
from converters.quantize.fidelity import tensor_of
from converters.readers.litert_process import LitertProcess, as_array, of_array
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidModel, InvalidRequest

if TYPE_CHECKING:
    from converters.shaping import Shaping

Shape = tuple[int, ...]
_TOLERANCE = 1e-4


@frozen
class Original:
    """A TFLite file and how it was shaped: what the shaped model is compared with.

    `inputs` and `outputs` are tensor indices in the file by public name. `shapes` are those its inputs are
    resized to, `bound` the inputs that have a value, `copies` how many runs of it make the batch, `batched`
    the inputs that are split for them.
    """

    data: bytes = field(repr=False)
    where: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    shapes: Mapping[str, Shape] = field(factory=dict)
    bound: Mapping[str, np.ndarray] = field(factory=dict, eq=False)
    copies: int = 1
    batched: frozenset[str] = frozenset()


def original(data: bytes, graph: Graph, where: str) -> Original:
    """A file as it is, and the graph in it as it was read."""
    order = {name: index for index, name in enumerate(graph.tensors)}
    inputs = {name: order[place] for name, place in graph.inputs.items()}
    outputs = {name: order[place] for name, place in graph.outputs.items()}
    return Original(data, where, inputs, outputs)


def runner(original: Original) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function that runs the file in a process of its own; arrays by public name, in the file's dtypes."""
    process = LitertProcess(original.where)
    process.load(original.data, {original.inputs[name]: shape for name, shape in original.shapes.items()})
    bound = {original.inputs[name]: of_array(value) for name, value in original.bound.items()}

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = []
        for copy in range(original.copies):
            inputs = dict(bound)
            for name, array in feed.items():
                step = len(array) // original.copies if name in original.batched else 0
                part = array[copy * step : (copy + 1) * step] if step else array
                inputs[original.inputs[name]] = of_array(part)
            parts.append(process.run(inputs))
        if len(parts) == 1:
            return {name: as_array(parts[0][index]) for name, index in original.outputs.items()}
        return {
            name: np.concatenate([as_array(part[index]) for part in parts])
            for name, index in original.outputs.items()
        }

    return run


def shaped(file: Original, graph: Graph, shaping: Shaping) -> tuple[bytes, Original]:
    """The file with its inputs shaped and bound as asked, and what to compare that with.

    Args:
        file: a TFLite file as it is.
        graph: the graph in it; changed in place.
        shaping: what is asked.

    Raises:
        InvalidRequest: an input that is not there, a shape that the model cannot take, or a batch whose
            samples it does not keep apart.
        InvalidModel: an axis beside the batch is open and no shape was given.
    """
    where = file.where
    _check_names(graph, shaping, where)
    bound = {name: _bound(graph, name, value, where) for name, value in shaping.bind.items()}
    stated = {name: graph.tensors[place].shape for name, place in graph.inputs.items() if name not in bound}
    changed = {}
    for name, shape in stated.items():
        wanted = _wanted(name, shape, shaping, _signature(file, name), where)
        if wanted != shape:
            changed[name] = wanted
    if not changed and not bound:
        return file.data, file
    copies = _copies(changed, stated)
    batched = frozenset(changed) if copies > 1 else frozenset()
    each = {
        name: (stated[name][0], *shape[1:]) if name in batched else shape for name, shape in changed.items()
    }
    source = evolve(file, shapes=each, bound=bound, copies=copies, batched=batched)
    for name, value in bound.items():
        graph.tensors[graph.inputs.pop(name)].data = value
    if any(each[name] != stated[name] for name in each):
        _resize(graph, each, where)
    if copies > 1:
        _repeat(graph, changed, where)
    made = write(graph)
    if copies > 1:
        _try(graph, made, source)
    return made, source


def _check_names(graph: Graph, shaping: Shaping, where: str) -> None:
    for name in (*shaping.input_shapes, *shaping.bind):
        if name not in graph.inputs:
            raise InvalidRequest(
                "the model has no such input", where=where, got=repr(name), expected=" or ".join(graph.inputs)
            )
    if len(shaping.bind) == len(graph.inputs):
        raise InvalidRequest("no input would be left to run the model on", where=where)


def _signature(file: Original, name: str) -> Shape:
    """The shape of an input with -1 where the file leaves an axis open; empty where it leaves none."""
    with decoding(file.where):
        tensor = schema.Model.GetRootAs(file.data, 0).Subgraphs(0).Tensors(file.inputs[name])
        signature = tensor.ShapeSignatureAsNumpy()
        return () if isinstance(signature, int) else tuple(signature.tolist())


def _wanted(name: str, stated: Shape, shaping: Shaping, opened: Shape, where: str) -> Shape:
    if name in shaping.input_shapes:
        given = tuple(shaping.input_shapes[name])
        fits = len(given) == len(stated) and all(size > 0 for size in given)
        if not fits or math.prod(given) > np.iinfo(np.int32).max:
            raise InvalidRequest(
                "the shape asked for does not fit the input",
                where=f"{where}: {name!r}",
                got=str(list(given)),
                expected=f"{len(stated)} sizes, as in {list(stated)}",
            )
        return given
    if any(size < 0 for size in opened[1:]):
        raise InvalidModel(
            "an input has an open axis beside the batch",
            where=f"{where}: {name!r}",
            got=str(list(opened)),
            next_step=f"Give its shape: `--input-shape {name}=1,...`.",
        )
    return (shaping.batch, *stated[1:]) if opened[:1] == (-1,) else stated


def _bound(graph: Graph, name: str, value: np.ndarray, where: str) -> np.ndarray:
    """The value of a bound input, in its dtype and shape."""
    tensor = graph.tensors[graph.inputs[name]]
    array = np.asarray(value)
    if array.size != math.prod(tensor.shape):
        raise InvalidRequest(
            "the value does not fit the input",
            where=f"{where}: {name!r}",
            got=f"shape {list(array.shape)}",
            expected=str(list(tensor.shape)),
        )
    if tensor.quantization is not None and array.dtype.kind == "f":
        array = as_array(tensor_of(array, _spec(graph, name, graph.inputs[name])))
    cast = array.astype(tensor.dtype)
    if not np.array_equal(cast.astype(np.float64), array.astype(np.float64)) and tensor.dtype[:5] != "float":
        raise InvalidRequest(
            "the value does not fit the input",
            where=f"{where}: {name!r}",
            got=str(array),
            expected=tensor.dtype,
        )
    return cast.reshape(tensor.shape)


def _copies(changed: Mapping[str, Shape], stated: Mapping[str, Shape]) -> int:
    """How many times the file's batch is asked for; 1 where axis 0 is to be resized like any other."""
    times = {
        shape[0] // stated[name][0] if stated[name] and shape[0] % stated[name][0] == 0 else 0
        for name, shape in changed.items()
    }
    return times.pop() if len(times) == 1 and min(times) > 1 else 1


def _resize(graph: Graph, shapes: Mapping[str, Shape], where: str) -> None:
    """Give every tensor the shape that LiteRT gives it after resizing the inputs."""
    remove_dead(graph)
    order = {name: index for index, name in enumerate(graph.tensors)}
    process = LitertProcess(where)
    try:
        wanted = {order[graph.inputs[name]]: shape for name, shape in shapes.items()}
        process.load(write(graph), wanted, plain=True)
        found = process.shapes()
    except InvalidModel as e:
        asked = ", ".join(f"{name}={list(shape)}" for name, shape in shapes.items())
        raise InvalidRequest(
            "the model cannot take inputs of these shapes",
            where=where,
            got=f"{asked}: {e.got}",
            next_step="Convert its source model anew with those shapes.",
        ) from e
    for name, index in order.items():
        if graph.tensors[name].data is None:
            graph.tensors[name].shape = found[index]


def _repeat(graph: Graph, shapes: Mapping[str, Shape], where: str) -> None:
    """Make the batch as large as in `shapes`: in what the RESHAPEs hold, then in every tensor."""
    if any(tensor.variable for tensor in graph.tensors.values()):
        raise InvalidRequest("a model that keeps a state has one sample at a time", where=where)
    if any(not graph.tensors[place].shape for place in graph.outputs.values()):
        raise InvalidRequest("an output has no axis for the batch", where=where)
    for operator in graph.operators:
        if operator.type == "RESHAPE":
            _keep_axis_0(graph, operator)
    _resize(graph, shapes, where)


def _keep_axis_0(graph: Graph, operator: GraphOperator) -> None:
    """Let a RESHAPE of a batch be one of any batch: its shape's first size is left open."""
    source, made = graph.tensors[operator.inputs[0] or ""], graph.tensors[operator.outputs[0]]
    if source.data is not None or source.shape[:1] != made.shape[:1]:
        return
    sizes = [-1, *made.shape[1:]] if made.shape and 0 not in made.shape else list(made.shape)
    name = f"{made.name}_shape"
    while name in graph.tensors:
        name += "_"
    stated = graph.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if len(operator.inputs) > 1 and stated is None:
        return  # computed when the model runs
    graph.tensors[name] = GraphTensor(name, (len(sizes),), "int32", np.array(sizes, np.int32))
    operator.inputs[1:] = [name]
    operator.options["newShape"] = sizes


def _try(graph: Graph, made: bytes, source: Original) -> None:
    """Refuse a batch that does not give what its samples give."""
    generator = np.random.default_rng(0)
    feed = {name: draw(generator, _spec(graph, name, place)) for name, place in graph.inputs.items()}
    expected = runner(source)(feed)
    got = runner(original(made, graph, source.where))(feed)
    for name, each in expected.items():
        one_by_one, at_once = each.astype(np.float64), got[name].astype(np.float64)
        # of a float output's range, because kernels sum in another order; or a step of rounding
        allowed = _TOLERANCE * np.ptp(one_by_one) if each.dtype.kind == "f" else 1.0
        same = one_by_one.shape == at_once.shape
        if not same or not np.allclose(one_by_one, at_once, rtol=0, atol=allowed, equal_nan=True):
            raise InvalidRequest(
                "the model does not keep the samples of a batch apart",
                where=source.where,
                got=f"output {name!r} of {source.copies} samples at once is not that of one by one",
                next_step="Convert its source model anew with that batch.",
            )


def _spec(graph: Graph, name: str, place: str) -> TensorSpec:
    tensor = graph.tensors[place]
    return TensorSpec(name, tensor.dtype, tensor.shape, None, tensor.quantization)
