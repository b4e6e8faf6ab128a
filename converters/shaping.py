"""`Shaping`: what a user fixes of a model's inputs before anything is decided about it.

A reader says which inputs its file declares; `resolve` decides how each of them is to be fixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from converters import binding
from device_agent.errors import InvalidModel, InvalidRequest

if TYPE_CHECKING:
    import numpy as np

LAYOUTS = ("keep", "nhwc")
_NONE: Mapping[str, object] = MappingProxyType({})
_EXAMPLE_SIZES = {4: 224}  # rank -> what an image's open side is in an example; anything else is 128
_EXAMPLE_SIZE = 128


@frozen
class Shaping:
    """Sizes, bindings and layout of a model's inputs, by their names in the source model.

    `batch` is what an open first axis becomes. `input_shapes` gives whole shapes and goes before it.
    `bind` turns inputs into constants. `dynamic` names axes that stay open in the compiled model; what they
    are made here is the size that it starts with. `layout` is how image inputs and outputs of a
    channel-first model lie in the compiled one: `keep`, or `nhwc`. Shapes and axes are the source's.
    """

    batch: int = 1
    input_shapes: Mapping[str, tuple[int, ...]] = field(default=_NONE)
    bind: Mapping[str, np.ndarray] = field(default=_NONE, eq=False)
    layout: str = "keep"
    dynamic: Mapping[str, tuple[int, ...]] = field(default=_NONE)


@frozen
class Declared:
    """An input as its file declares it: a size, a symbol, or None (an unknown size) for each axis."""

    name: str
    dtype: str  # NumPy's name
    dimensions: tuple[int | str | None, ...]


@frozen
class DynamicAxis:
    """A size that stays open: the axes that have it, as (input, axis), and their symbol in the file, if any.

    They change together: a symbol that several inputs share has one size in all of them.
    """

    symbol: str
    places: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        places = " and ".join(f"{name!r} axis {axis}" for name, axis in self.places)
        return f"{places} ({self.symbol})" if self.symbol else places


@frozen
class Resolved:
    """Every input fixed: static shapes of those that stay, values of those that are bound, the open sizes."""

    shapes: dict[str, tuple[int, ...]]
    bound: dict[str, np.ndarray] = field(eq=False)
    dynamic: tuple[DynamicAxis, ...]


def resolve(inputs: Iterable[Declared], shaping: Shaping, where: str) -> Resolved:
    """How each input of a model is fixed.

    Args:
        inputs: as the file declares them.
        shaping: as the user asks.
        where: names the file in errors.

    Raises:
        InvalidRequest: `shaping` names no input, contradicts the file or itself, or a value does not fit.
        InvalidModel: a dimension stays open; says which, and the option that fixes it.
    """
    declared = {one.name: one for one in inputs}
    _check_names(declared, shaping, where)
    sizes = _Sizes(where, shaping.batch)
    bound = {}
    for name, value in shaping.bind.items():
        bound[name] = binding.fitting(value, declared[name], where)
        sizes.note(declared[name], bound[name].shape, "--bind")
    for name, shape in shaping.input_shapes.items():
        sizes.note(declared[name], shape, "--input-shape")
    for one in declared.values():
        if one.dimensions and one.name not in bound and one.name not in shaping.input_shapes:
            sizes.default(one)
    shapes = {
        name: shaping.input_shapes[name] if name in shaping.input_shapes else sizes.closed(one)
        for name, one in declared.items()
        if name not in bound
    }
    return Resolved(shapes, bound, _dynamic(declared, shaping, shapes, where))


def _check_names(declared: Mapping[str, Declared], shaping: Shaping, where: str) -> None:
    asked = (
        ("--input-shape", shaping.input_shapes),
        ("--bind", shaping.bind),
        ("--dynamic", shaping.dynamic),
    )
    for option, names in asked:
        for name in names:
            if name not in declared:
                raise InvalidRequest(
                    f"`{option}` names an input that the model has not",
                    where=where,
                    got=repr(name),
                    expected=" or ".join(map(repr, declared)) or "nothing: the model has no inputs",
                )
            if option != "--bind" and name in shaping.bind:
                raise InvalidRequest(
                    f"`{option}` and `--bind` name the same input",
                    where=where,
                    got=repr(name),
                    next_step="A bound input is a constant: it has no shape of its own to choose.",
                )
    if shaping.layout not in LAYOUTS:
        raise InvalidRequest("unknown layout", got=repr(shaping.layout), expected=" or ".join(LAYOUTS))


@define
class _Sizes:
    """The sizes that symbols have so far, and who said so."""

    where: str
    batch: int
    known: dict[str, tuple[int, str]] = field(factory=dict)

    def note(self, one: Declared, shape: tuple[int, ...], option: str) -> None:
        """Take over a shape that the user gave for an input."""
        if len(shape) != len(one.dimensions):
            raise InvalidRequest(
                f"`{option}` gives input {one.name!r} another number of axes than the file does",
                where=self.where,
                got=str(list(shape)),
                expected=stated(one),
            )
        for axis, (size, dimension) in enumerate(zip(shape, one.dimensions, strict=True)):
            if isinstance(dimension, int) and size != dimension:
                raise InvalidRequest(
                    f"the file fixes axis {axis} of input {one.name!r}, and `{option}` says otherwise",
                    where=self.where,
                    got=f"{size} from `{option}`",
                    expected=f"{dimension}, as the file says: {stated(one)}",
                    next_step="Leave that size as it is, or export the model anew.",
                )
            if size < 0 or (size == 0 and dimension != 0):
                raise InvalidRequest(
                    "a size must be at least 1",
                    where=f"{self.where}: input {one.name!r}",
                    got=str(list(shape)),
                )
            if not isinstance(dimension, str):
                continue
            who = f"axis {axis} of input {one.name!r}"
            before, said = self.known.setdefault(dimension, (size, who))
            if before != size:
                raise InvalidRequest(
                    f"the axes called {dimension!r} in the file must have one size",
                    where=self.where,
                    got=f"{before} for {said}, {size} for {who}",
                    expected="the same size for both",
                )

    def default(self, one: Declared) -> None:
        """The first axis is the batch, unless the user gave its symbol a size."""
        if isinstance(one.dimensions[0], str):
            self.known.setdefault(one.dimensions[0], (self.batch, "the batch"))

    def closed(self, one: Declared) -> tuple[int, ...]:
        """The shape of an input that the user gave none for; InvalidModel where a size is not known."""
        found: list[int | None] = []
        for axis, dimension in enumerate(one.dimensions):
            if isinstance(dimension, str):
                found.append(self.known[dimension][0] if dimension in self.known else None)
            else:
                found.append(self.batch if dimension is None and axis == 0 else dimension)
        if None in found:
            raise _open(one, found, self.where)
        return tuple(size for size in found if size is not None)


def _open(one: Declared, found: list[int | None], where: str) -> InvalidModel:
    axes = [axis for axis, size in enumerate(found) if size is None]
    symbols = [one.dimensions[axis] for axis in axes]
    stand_in = _EXAMPLE_SIZES.get(len(found), _EXAMPLE_SIZE)
    example = ",".join(str(stand_in if size is None else size) for size in found)
    return InvalidModel(
        "only the batch dimension of an input may be open",
        where=f"{where}: input {one.name!r}, axis {' and '.join(map(str, axes))}",
        got=" and ".join(repr(symbol) if symbol else "an unknown size" for symbol in symbols),
        expected="a fixed size",
        next_step=f"Give the sizes it is to have, such as `--input-shape {one.name}={example}`.",
    )


def stated(one: Declared) -> str:
    """An input's shape as its file states it: `[batch, 3, ?, ?]`."""
    return "[" + ", ".join("?" if size is None else str(size) for size in one.dimensions) + "]"


def _dynamic(
    declared: Mapping[str, Declared], shaping: Shaping, shapes: Mapping[str, tuple[int, ...]], where: str
) -> tuple[DynamicAxis, ...]:
    """The sizes that stay open, each with every axis that has it."""
    found: dict[str, DynamicAxis] = {}
    for name, axes in shaping.dynamic.items():
        one = declared[name]
        for axis in axes:
            if not 0 <= axis < len(one.dimensions):
                raise InvalidRequest(
                    f"`--dynamic` names an axis that input {name!r} has not",
                    where=where,
                    got=str(axis),
                    expected=f"an axis of {stated(one)}, the first is 0",
                )
            dimension = one.dimensions[axis]
            if isinstance(dimension, int):
                raise InvalidRequest(
                    f"`--dynamic` names an axis of input {name!r} that the file fixes",
                    where=where,
                    got=f"axis {axis}, of size {dimension}",
                    expected=f"an open one of {stated(one)}",
                    next_step="Export the model with that axis open.",
                )
            symbol = dimension or ""
            places = tuple(
                (other, place)
                for other, place in _sharing(declared, name, axis)
                if symbol or (other in shapes and shapes[other][place] == shapes[name][axis])
            )
            for other, _ in places:
                if other in shaping.bind:
                    raise InvalidRequest(
                        "a size cannot stay open that a bound input fixes",
                        where=where,
                        got=f"`--dynamic {name}:{axis}` with {other!r} bound",
                        next_step=f"Leave out one of them: both inputs have the size {symbol!r}.",
                    )
            found[repr(places)] = DynamicAxis(symbol, places)
    return tuple(found.values())


def _sharing(declared: Mapping[str, Declared], name: str, axis: int) -> Iterator[tuple[str, int]]:
    """The axes with the symbol of that one; without one, first axes are the batch and others are alone."""
    symbol = declared[name].dimensions[axis]
    for one in declared.values():
        for place, other in enumerate(one.dimensions):
            unnamed = place == axis and (axis == 0 or one.name == name)
            if other == symbol and (symbol is not None or unnamed):
                yield one.name, place
