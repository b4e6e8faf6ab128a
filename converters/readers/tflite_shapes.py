"""Other shapes for a TFLite file's inputs, and inputs bound to constants.

Sizes are propagated by LiteRT itself (`resize_tensor_input`), so a resized model computes what LiteRT
computes of the file after resizing. A batch is different: converters often wrote it into the shapes of
RESHAPE operators. These are made to keep axis 0, and the model is tried: a batch must give what its
samples give one by one, or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from attrs import evolve, field, frozen

from converters.convert import draw
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.passes.dead import remove_dead
from converters.graph.write import write
from converters.quantize.accuracy.fidelity import tensor_of
from converters.readers.child import as_array
from converters.readers.litert_process import LitertProcess
from converters.shaping import Declared, Resolved, Shaping, resolve
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidModel, InvalidRequest

Shape = tuple[int, ...]
_TOLERANCE = 1e-4


@frozen
class Original:
    """A TFLite file as it came: what a shaped model is compared with.

    `inputs` and `outputs` are tensor indices in the file by public name, `stated` the shapes of its inputs,
    `bound` the inputs that have a value.
    """

    data: bytes = field(repr=False)
    where: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    stated: Mapping[str, Shape]
    bound: Mapping[str, np.ndarray] = field(factory=dict, eq=False)


def original(data: bytes, graph: Graph, where: str) -> Original:
    """A file as it is, and the graph in it as it was read."""
    order = {name: index for index, name in enumerate(graph.tensors)}
    return Original(
        data=data,
        where=where,
        inputs={name: order[place] for name, place in graph.inputs.items()},
        outputs={name: order[place] for name, place in graph.outputs.items()},
        stated={name: graph.tensors[place].shape for name, place in graph.inputs.items()},
    )


@frozen
class _Way:
    """How inputs of other shapes are run: the file resized to `shapes`, `copies` times on parts of it."""

    shapes: dict[str, Shape]
    copies: int
    batched: frozenset[str]


def _way(shapes: Mapping[str, Shape], stated: Mapping[str, Shape]) -> _Way:
    changed = {name: shape for name, shape in shapes.items() if shape != stated[name]}
    copies = _copies(changed, stated)
    batched = frozenset(changed) if copies > 1 else frozenset()
    each = {
        name: (stated[name][0], *shape[1:]) if name in batched else shape for name, shape in changed.items()
    }
    return _Way({name: shape for name, shape in each.items() if shape != stated[name]}, copies, batched)


def runner(original: Original) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function that runs the file in a process of its own; arrays by public name, in the file's dtypes.

    It takes inputs of other shapes than the file's: see the module.
    """
    process = LitertProcess(original.where)
    bound = {original.inputs[name]: value for name, value in original.bound.items()}
    loaded: dict[str, Shape] | None = None

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        nonlocal loaded
        way = _way({name: array.shape for name, array in feed.items()}, original.stated)
        if loaded != way.shapes:
            process.load(original.data, {original.inputs[name]: shape for name, shape in way.shapes.items()})
            loaded = way.shapes
        parts = []
        for copy in range(way.copies):
            inputs = dict(bound)
            for name, array in feed.items():
                step = len(array) // way.copies if name in way.batched else 0
                part = array[copy * step : (copy + 1) * step] if step else array
                inputs[original.inputs[name]] = part
            parts.append(process.run(inputs))
        if len(parts) == 1:
            return {name: parts[0][index] for name, index in original.outputs.items()}
        return {
            name: np.concatenate([part[index] for part in parts]) for name, index in original.outputs.items()
        }

    return run


def shaped(file: Original, graph: Graph, shaping: Shaping) -> tuple[bytes, Original, Resolved]:
    """The file with its inputs shaped and bound as asked, what to compare it with, and how that was resolved.

    Args:
        file: a TFLite file as it is.
        graph: the graph in it; changed in place.
        shaping: what is asked.

    Raises:
        InvalidRequest: `shaping` does not fit the file, the model cannot take the shapes, or it does not keep
            the samples of a batch apart.
        InvalidModel: an axis beside the batch is open and no shape was given.
    """
    bind = {name: _steps(graph, name, value) for name, value in shaping.bind.items()}
    declared = [_declared(graph, name, shaping) for name in graph.inputs]
    resolved = resolve(declared, evolve(shaping, bind=bind), file.where)
    for name, value in resolved.bound.items():
        if value.shape != file.stated[name]:
            raise InvalidRequest(
                "a value is bound in the shape that the file states",
                where=f"{file.where}: {name!r}",
                got=str(list(value.shape)),
                expected=str(list(file.stated[name])),
            )
    if len(resolved.bound) == len(graph.inputs):
        raise InvalidRequest("no input would be left to run the model on", where=file.where)
    way = _way(resolved.shapes, file.stated)
    source = evolve(file, bound=resolved.bound)
    if not resolved.bound and not way.shapes and way.copies == 1:
        return file.data, source, resolved
    for name, value in resolved.bound.items():
        graph.tensors[graph.inputs.pop(name)].data = value
    for tensor in graph.tensors.values():
        tensor.signature = None
    if way.shapes:
        _resize(graph, way.shapes, file.where)
    if way.copies > 1:
        _repeat(graph, {name: resolved.shapes[name] for name in way.batched}, file.where)
    remove_dead(graph)
    made = write(graph)
    if way.copies > 1:
        _try(graph, made, source, way.copies)
    return made, source, resolved


def _declared(graph: Graph, name: str, shaping: Shaping) -> Declared:
    """An input as it is declared; LiteRT resizes any axis, so one that is given a shape has none fixed."""
    tensor = graph.tensors[graph.inputs[name]]
    stated = tensor.signature if tensor.signature is not None else tensor.shape
    fixed = name not in shaping.input_shapes
    return Declared(name, tensor.dtype, tuple(size if fixed and size >= 0 else None for size in stated))


def _steps(graph: Graph, name: str, value: np.ndarray) -> np.ndarray:
    """A real value for a quantised input in its steps."""
    tensor = graph.tensors[graph.inputs[name]] if name in graph.inputs else None
    if tensor is None or tensor.quantization is None or value.dtype.kind != "f":
        return value
    return as_array(tensor_of(value, _spec(graph, name, graph.inputs[name])))


def _copies(changed: Mapping[str, Shape], stated: Mapping[str, Shape]) -> int:
    """How many times the file's batch is asked for; 1 where axis 0 is to be resized like any other."""
    times = {_times(shape, stated[name]) for name, shape in changed.items()}
    return times.pop() if len(times) == 1 and min(times) > 1 else 1


def _times(shape: Shape, stated: Shape) -> int:
    """How often the stated batch goes into that of a shape; 0 where it does not."""
    if not stated or not stated[0] or shape[0] % stated[0]:
        return 0
    return shape[0] // stated[0]


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
        raise _cannot(shapes, where, e.got) from e
    for name, index in order.items():
        tensor = graph.tensors[name]
        if tensor.data is not None:
            continue
        if 0 in found[index] and 0 not in tensor.shape:
            raise _cannot(shapes, where, f"nothing is left of {name!r}: {list(found[index])}")
        tensor.shape = found[index]


def _cannot(shapes: Mapping[str, Shape], where: str, got: str | None) -> InvalidRequest:
    asked = ", ".join(f"{name}={list(shape)}" for name, shape in shapes.items())
    return InvalidRequest(
        "the model cannot take inputs of these shapes",
        where=where,
        got=f"{asked}: {got}",
        next_step="Convert its source model anew with those shapes.",
    )


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


def _try(graph: Graph, made: bytes, source: Original, copies: int) -> None:
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
                got=f"output {name!r} of {copies} samples at once is not that of one by one",
                next_step="Convert its source model anew with that batch.",
            )


def _spec(graph: Graph, name: str, place: str) -> TensorSpec:
    tensor = graph.tensors[place]
    return TensorSpec(name, tensor.dtype, tensor.shape, None, tensor.quantization)
