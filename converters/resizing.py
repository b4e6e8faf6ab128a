"""Models whose sizes stay open: lowered at several sizes, opened where these agree, tried in the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters import registry
from converters.verdict import Verdict
from device_agent.errors import InvalidModel, InvalidRequest, QuantizationError

if TYPE_CHECKING:
    from converters.graph import opening
    from converters.graph.ir import Graph
    from converters.model import Model
    from converters.shaping import DynamicAxis


@frozen
class Opened:
    """A rewritten graph whose open sizes may change, with how often each rewrite applied, or why not.

    The graph is None if and only if there is a refusal.
    """

    graph: Graph | None
    rewrites: dict[str, int]
    models: tuple[Model, ...]  # the model itself, then at the sizes that were compared
    refusal: Verdict | None = None
    refused: int = 0  # the index of the source operator that the refusal is of


def resized(model: Model, sizes: Mapping[DynamicAxis, int]) -> Model:
    """The model read anew with other sizes of these axes; raises what reading it raises."""
    shapes = {name: list(shape) for name, shape in model.shaping.input_shapes.items()}
    for dynamic, size in sizes.items():
        for name, axis in dynamic.places:
            shapes[name][axis] = size
    shaping = evolve(model.shaping, input_shapes={name: tuple(shape) for name, shape in shapes.items()})
    return registry.reader(model.format).read(model.path, shaping)


def variants(model: Model) -> tuple[Model, ...]:
    """The model at the sizes that are compared: a first one, then others that differ in one axis each.

    The first is the model's own, but at least 2: an axis of size 1 is treated apart. Of the others one is odd
    where it is even, and one is past its double, so that a size that is divided changes in one of them.
    """
    first = {dynamic: max(2, _size(model, dynamic)) for dynamic in model.dynamic}
    made = [model if all(_size(model, one) == size for one, size in first.items()) else resized(model, first)]
    for dynamic, size in first.items():
        made.extend(resized(model, {**first, dynamic: other}) for other in (size + 1, 2 * size + 1))
    return tuple(made)


def _size(model: Model, dynamic: DynamicAxis) -> int:
    name, axis = dynamic.places[0]
    return model.shaping.input_shapes[name][axis]


def opened(model: Model) -> Opened:
    """The graph of a model with its dynamic sizes open, rewritten.

    Raises:
        InvalidRequest: the model cannot be read or lowered at other sizes.
    """
    from converters.graph import opening, passes

    try:
        models = variants(model)
    except InvalidModel as e:
        raise _elsewhere(model, str(e)) from e
    graphs, rewrites = [], []
    for other in models:
        graph, verdicts = registry.reader(other.format).lower(other)
        if graph is None:
            raise _elsewhere(model, "; ".join(str(verdict) for verdict in verdicts if not verdict.ok)[:500])
        rewrites.append(dict(passes.run(graph)))
        graphs.append(graph)
    graph = graphs[0]
    try:
        opening.free(graph, graphs[1:])
        _drop_unread(graph)
        _state(graph, (model, *models))
    except opening.StaysFixed as e:
        return Opened(None, {}, models, _refusal(model, e), min(e.operator.sources, default=0))
    return Opened(graph, rewrites[0], (model, *models))


def _elsewhere(model: Model, got: str) -> InvalidRequest:
    return InvalidRequest(
        "the model cannot be made for other sizes of the axes that are to stay open",
        where=f"{model.path}: {', '.join(map(str, model.dynamic))}",
        got=got,
        next_step="Leave out `--dynamic`, and convert it once for each size that is needed.",
    )


def _refusal(model: Model, fixed: opening.StaysFixed) -> Verdict:
    operator = model.operators[min(fixed.operator.sources, default=0)]
    return Verdict.no(
        f"{', '.join(map(str, model.dynamic))} cannot stay open: {fixed.reason}",
        operator=operator.type,
        place=operator.name,
        got=fixed.got,
        help="Leave out `--dynamic`, and convert the model once for each size that is needed.",
    )


def restated(data: bytes, like: Opened) -> bytes:
    """A TFLite file made of an opened graph (by a quantiser, say), with the open sizes stated again."""
    from converters.graph import opening
    from converters.graph.read import read
    from converters.graph.write import write

    graph = read(data, where="the quantised model")
    try:
        _state(graph, like.models)
    except opening.StaysFixed as e:
        raise QuantizationError(
            "the quantised model cannot be resized",
            got=e.got,
            next_step="Leave out `--dynamic`, or use `--precision float32`.",
        ) from e
    return write(graph)


def _state(graph: Graph, models: tuple[Model, ...]) -> None:
    """State the shapes of every tensor as LiteRT finds them: the first model's, and -1 where they change.

    Raises:
        StaysFixed: LiteRT cannot resize it.
    """
    from converters.graph.write import write

    data = write(graph)
    found = [_shapes_at(graph, data, one) for one in models]
    for place, tensor in enumerate(graph.tensors.values()):
        if tensor.data is not None:
            continue
        shapes = [shapes[place] for shapes in found]
        tensor.shape = shapes[0]
        signature = tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*shapes, strict=True))
        tensor.signature = signature if -1 in signature else None


def _shapes_at(graph: Graph, data: bytes, model: Model) -> list[tuple[int, ...]]:
    """The shape of each tensor of a graph, in order, with its inputs as in `model`."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from converters.graph.opening import StaysFixed
    from converters.quiet import quiet

    place = {name: index for index, name in enumerate(graph.tensors)}
    with quiet():
        # a delegate would hide the tensors between its operators
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_content=data, experimental_op_resolver_type=plain)
        try:
            for spec in model.inputs:
                interpreter.resize_tensor_input(place[graph.inputs[spec.name]], spec.shape)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            shapes = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in model.inputs)
            got = f"{shapes}: {str(e).strip()[:300]}"
            raise StaysFixed("LiteRT cannot resize the model", graph.operators[-1], got=got) from e
        rows = {row["index"]: row for row in interpreter.get_tensor_details()}
    return [tuple(int(size) for size in rows[index]["shape"]) for index in range(len(place))]


def _drop_unread(graph: Graph) -> None:
    """Remove constants that nothing reads since they were replaced."""
    read = {name for operator in graph.operators for name in operator.inputs}
    for name in [
        name for name, tensor in graph.tensors.items() if tensor.data is not None and name not in read
    ]:
        del graph.tensors[name]
