"""Random operators: each function here, and in `layers`, adds one to a `Builder`, with random operands."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.converters.fuzzing import layers
from tests.converters.fuzzing.builder import Builder, Drawn

Growth = Callable[[Builder], None]

_PLAIN = (
    "Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign", "Abs", "Neg", "Erf", "Mish", "Sin", "Cos",
    "Identity", "Floor", "Ceil", "Round", "Sign", "Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid",
    "ThresholdedRelu", "Gelu", "Atan",
)  # fmt: skip
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_INTEGERS = ("Add", "Sub", "Mul", "Max", "Min")


def unary(b: Builder) -> None:
    if value := b.pick():
        operator = b.choice(_PLAIN)
        options = {"alpha": float(b.generator.uniform(0.1, 1.5))} if b.chance(0.5) else {}
        b.add(operator, [value.name], **(options if operator in ("Elu", "Selu", "Celu", "LeakyRelu") else {}))


def guarded(b: Builder) -> None:
    """Operators that are steep or undefined somewhere, on what keeps them tame."""
    value = b.pick()
    size = b.add("Abs", [value.name]) if value else None
    kept = b.add("Add", [size.name, b.constant(np.float32(0.5))]) if size else None
    if kept:
        b.add(b.choice(("Sqrt", "Log", "Reciprocal")), [kept.name])


def clip(b: Builder) -> None:
    if value := b.pick():
        low, high = sorted(b.generator.uniform(-2, 2, 2).astype(np.float32))
        ends = b.choice(((low, high), (0, 6), (0, 1), (-1, 1), (low, None), (None, high)))
        names = ["" if end is None else b.constant(np.float32(end)) for end in ends]
        b.add("Clip", [value.name, *names])


def _partner(b: Builder, value: Drawn, draw: Callable[..., np.ndarray]) -> str:
    """Another value of the same or a broadcasting shape, or a constant that broadcasts."""
    if b.chance(0.4):
        fitting = [v for v in b.values if v.dtype == value.dtype and _broadcasts(v.shape, value.shape)]
        if fitting:
            return str(b.choice(fitting).name)
    kept = value.shape[b.below(value.rank + 1) :]
    if b.chance(0.1):
        kept = (b.between(1, 3), *(1 for _ in range(value.rank - len(kept))), *kept)[-5:]
    return b.constant(draw(*(size if b.chance(0.6) else 1 for size in kept)))


def _broadcasts(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        return False
    return True


def binary(b: Builder) -> None:
    if value := b.pick():
        operator = b.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "Add", "Mul"))
        if operator == "Div":
            b.add("Div", [value.name, b.constant(b.positive(*value.shape[b.below(value.rank + 1) :]))])
            return
        pair = [value.name, _partner(b, value, b.normal)]
        b.add(operator, pair[::-1] if b.chance(0.4) else pair)


def prelu(b: Builder) -> None:
    if value := b.pick(ranks=(2, 3, 4)):
        slope = (value.shape[1], *(1 for _ in value.shape[2:])) if b.chance(0.6) else value.shape[1:]
        b.add("PRelu", [value.name, b.constant(b.normal(*slope))])


def matmul(b: Builder) -> None:
    value = b.pick(ranks=(1, 2, 3, 4))
    if value is None:
        return
    inner, out = value.shape[-1], b.between(1, 5)
    if b.chance(0.2) and value.rank > 1:
        other = b.add(
            "Transpose", [value.name], perm=[*range(value.rank - 2), value.rank - 1, value.rank - 2]
        )
        if other:
            b.add("MatMul", [value.name, other.name])
        return
    if b.chance(0.3) and value.rank == 2:
        turned = b.below(2)
        weights = b.normal(out, inner) if turned else b.normal(inner, out)
        operands = [value.name, b.constant(weights), b.constant(b.normal(out))]
        alpha = float(b.choice((1.0, 0.5)))
        b.add(
            "Gemm", operands[: b.between(2, 3)], transB=turned, alpha=alpha, beta=float(b.choice((1.0, 2.0)))
        )
        return
    batch = value.shape[:-2] if b.chance(0.2) else ()
    if b.chance(0.3) and value.rank > 1:
        b.add("MatMul", [b.constant(b.normal(*batch, out, value.shape[-2])), value.name])
    else:
        b.add("MatMul", [value.name, b.constant(b.normal(*batch, inner, out))])


def reshape(b: Builder) -> None:
    if value := b.pick(b.choice(("float32", "float32", "float32", "int64"))):
        left, shape = math.prod(value.shape), []
        while left > 1 and len(shape) < 4:
            shape.append(b.choice([d for d in range(1, left + 1) if left % d == 0]))
            left //= shape[-1]
        shape.append(left)
        b.generator.shuffle(shape)
        if b.chance(0.3):
            shape[b.below(len(shape))] = -1
        b.add("Reshape", [value.name, b.constant(np.array(shape, np.int64))])


def transpose(b: Builder) -> None:
    if value := b.pick(ranks=range(2, 6)):
        usual = {4: [(0, 2, 3, 1), (0, 3, 1, 2)], 3: [(0, 2, 1)], 5: [(0, 2, 3, 4, 1), (0, 4, 1, 2, 3)]}
        perm = b.generator.permutation(value.rank).tolist()
        if value.rank in usual and b.chance(0.6):
            perm = list(b.choice(usual[value.rank]))
        b.add("Transpose", [value.name], perm=perm)


def axes(b: Builder) -> None:
    value = b.pick(ranks=range(1, 5))
    if value is None:
        return
    kind = b.below(3)
    ones = [axis for axis, size in enumerate(value.shape) if size == 1]
    if kind == 0 and ones:
        b.add("Squeeze", [value.name, b.constant(np.array([b.choice(ones)], np.int64))])
    elif kind == 1:
        b.add("Flatten", [value.name], axis=b.below(value.rank + 1))
    else:
        b.add("Unsqueeze", [value.name, b.constant(np.array([b.below(value.rank + 1)], np.int64))])


def concat(b: Builder) -> None:
    value = b.pick(ranks=range(1, 6))
    if value is None:
        return
    axis = b.axis(value.rank)
    place = axis % value.rank
    operands = [value.name]
    for _ in range(b.between(1, 2)):
        fitting = [
            other.name
            for other in b.values
            if other.dtype == "float32"
            and other.rank == value.rank
            and all(
                o == n for a, (o, n) in enumerate(zip(other.shape, value.shape, strict=True)) if a != place
            )
        ]
        sizes = [b.between(1, 3) if a == place else n for a, n in enumerate(value.shape)]
        operands.append(b.choice(fitting) if b.chance(0.8) else b.constant(b.normal(*sizes)))
    b.generator.shuffle(operands)
    b.add("Concat", operands, axis=axis)


def slice_(b: Builder) -> None:
    value = b.pick(ranks=range(1, 6))
    if value is None:
        return
    count = b.between(1, value.rank)
    places = b.generator.permutation(value.rank)[:count]
    starts, ends, steps = [], [], []
    for axis in places:
        size, step = value.shape[axis], b.choice((1, 1, 1, 2, -1, -2))
        low, high = sorted((b.below(size), b.below(size)))
        start, end = (low, high + 1) if step > 0 else (high, low - 1)
        end = -(1 << 40) if end < 0 else end
        if step > 0 and b.chance(0.3):
            start, end = start - size, b.choice((end, 1 << 40))
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
    given = [np.array(part, np.int64) for part in (starts, ends, places, steps)]
    b.add("Slice", [value.name, *map(b.constant, given)])


def split(b: Builder) -> None:
    value = b.pick(ranks=range(1, 6))
    if value is None:
        return
    axis = b.axis(value.rank)
    size = value.shape[axis]
    if size < 2:
        return
    first = b.between(1, size - 1)
    b.add("Split", [value.name, b.constant(np.array([first, size - first], np.int64))], 2, axis=axis)


def pad(b: Builder) -> None:
    value = b.pick(ranks=range(1, 6))
    if value is None:
        return
    mode = b.choice(("constant", "constant", "reflect", "edge", "wrap"))
    most = [min(2, size - 1) if mode == "reflect" else 2 for size in value.shape]
    if b.chance(0.6):
        most = [n if a >= value.rank - 2 else 0 for a, n in enumerate(most)]
    amounts = [b.between(-1 if b.chance(0.05) and n else 0, max(n, 0)) for n in (*most, *most)]
    if math.prod(value.shape) << (2 * value.rank) > 1 << 20:
        return
    operands = [value.name, b.constant(np.array(amounts, np.int64))]
    if mode == "constant" and b.chance(0.5):
        operands.append(b.constant(np.float32(b.choice((0.0, 1.5, -3.0)))))
    b.add("Pad", operands, mode=mode)


def reduce(b: Builder) -> None:
    value = b.pick(ranks=range(1, 6))
    if value is None:
        return
    kept = b.below(2)
    if b.chance(0.15):
        b.add(b.choice(("ArgMax", "ArgMin")), [value.name], axis=b.axis(value.rank), keepdims=kept)
        return
    count = b.between(1, value.rank)
    operands = [value.name]
    if b.chance(0.9):
        operands.append(b.constant(b.generator.permutation(value.rank)[:count].astype(np.int64)))
    b.add(b.choice(_REDUCTIONS), operands, keepdims=kept)


def gather(b: Builder) -> None:
    value = b.pick(ranks=range(1, 5))
    if value is None:
        return
    axis = b.axis(value.rank)
    size = value.shape[axis]
    shape = b.choice(((), (1,), (2,), (2, 2)))
    places = b.generator.integers(-size, size, shape)
    if b.chance(0.25):
        sizes = [b.between(1, n) for n in value.shape]
        b.add("GatherElements", [value.name, b.constant(b.generator.integers(-size, size, sizes))], axis=axis)
    elif b.chance(0.2):
        first = np.stack(
            [b.generator.integers(0, n, (2,)) for n in value.shape[: b.between(1, value.rank)]], -1
        )
        b.add("GatherND", [value.name, b.constant(first)])
    else:
        b.add("Gather", [value.name, b.constant(np.asarray(places, np.int64))], axis=axis)


def scatter(b: Builder) -> None:
    value = b.pick(ranks=range(1, 5))
    if value is None:
        return
    if b.chance(0.5):
        places = b.generator.permutation(value.shape[0])[: b.between(1, value.shape[0])][:, None]
        updates = b.normal(len(places), *value.shape[1:])
        b.add("ScatterND", [value.name, b.constant(places.astype(np.int64)), b.constant(updates)])
    else:
        axis = b.below(value.rank)
        sizes = [b.between(1, n) for n in value.shape]
        lines = np.argsort(
            b.generator.random([value.shape[axis] if a == axis else n for a, n in enumerate(sizes)]), axis
        )
        places = np.take(lines, range(sizes[axis]), axis)
        b.add(
            "ScatterElements",
            [value.name, b.constant(places.astype(np.int64)), b.constant(b.normal(*sizes))],
            axis=axis,
        )


def compare(b: Builder) -> None:
    value = b.pick()
    if value is None:
        return
    operator = b.choice(("Greater", "Less", "GreaterOrEqual", "LessOrEqual"))
    truth = b.add(operator, [value.name, _partner(b, value, b.normal)])
    if truth and b.chance(0.3):
        truth = b.add("Not", [truth.name]) or truth
    if truth and b.chance(0.7):
        b.add("Where", [truth.name, value.name, b.constant(b.normal(*value.shape[-1:]))])
    elif truth:
        b.add("Cast", [truth.name], to=1)


def integers(b: Builder) -> None:
    value = b.pick(b.choice(("int64", "int32")))
    if value is None:
        whole = b.pick()
        if whole is not None and (
            limited := b.add("Clip", [whole.name, *map(b.constant, np.float32([-50, 50]))])
        ):
            b.add("Cast", [limited.name], to=b.choice((6, 7)))
        return
    if b.chance(0.4):
        b.add("Cast", [value.name], to=1)
        return

    def draw(*shape: int) -> np.ndarray:
        return b.generator.integers(-5, 6, shape).astype(value.dtype)

    b.add(b.choice(_INTEGERS), [value.name, _partner(b, value, draw)])


def several(b: Builder) -> None:
    """TopK, CumSum, Tile, Expand, Trilu, Einsum: what moves or repeats elements in other ways."""
    value = b.pick(ranks=range(1, 5))
    if value is None:
        return
    axis, kind = b.axis(value.rank), b.below(6)
    if kind == 0:
        many = b.constant(np.array([b.between(1, value.shape[axis])], np.int64))
        b.add("TopK", [value.name, many], 2, axis=axis, largest=b.below(2))
    elif kind == 1:
        place = b.constant(np.int64(axis))
        b.add("CumSum", [value.name, place], exclusive=b.below(2), reverse=b.below(2))
    elif kind == 2:
        b.add("Tile", [value.name, b.constant(np.array([b.between(1, 2) for _ in value.shape], np.int64))])
    elif kind == 3:
        sizes = [b.between(1, 3) if size == 1 else size for size in value.shape]
        front = [b.between(1, 2)] if b.chance(0.3) else []
        b.add("Expand", [value.name, b.constant(np.array([*front, *sizes], np.int64))])
    elif kind == 4 and value.rank > 1:
        operands = [value.name, b.constant(np.int64(b.between(-1, 1)))]
        b.add("Trilu", operands[: b.between(1, 2)], upper=b.below(2))
    elif value.rank == 3:
        weights = b.constant(b.normal(value.shape[2], 2))
        b.add(
            "Einsum", [value.name, weights], equation=b.choice(("abc,cd->abd", "abc,cd->dab", "abc,cd->ad"))
        )


# how often each is drawn
_WEIGHTS: dict[Growth, int] = {
    unary: 2, guarded: 1, clip: 1, binary: 3, prelu: 1, matmul: 2, reshape: 2, transpose: 2, axes: 1,
    concat: 2, slice_: 1, split: 1, pad: 1, reduce: 2, gather: 1, scatter: 1, compare: 1,
    integers: 1, several: 1,
    layers.conv: 3, layers.conv_transpose: 1, layers.pool: 2, layers.normalize: 2, layers.rearrange: 1,
    layers.resize: 1, layers.recurrent: 1,
}  # fmt: skip
GROWTHS = tuple(growth for growth, weight in _WEIGHTS.items() for _ in range(weight))


def random_graph(seed: int) -> Builder:
    """A graph of 1 to 10 operators or so on one to three inputs, the same for a seed at every call."""
    b = Builder(np.random.default_rng([19, seed]))
    for _ in range(b.choice((1, 1, 1, 2, 3))):
        rank = b.choice((4, 4, 4, 4, 3, 3, 2, 1, 5))
        shape = [
            b.choice((1, 1, 2)) if not axis and b.chance(0.8) else b.between(1, 8 if rank < 5 else 4)
            for axis in range(rank)
        ]
        b.input((b.normal(*shape) * 2).astype(np.float32))
    for _ in range(b.between(2, 12)):
        growth: Growth = b.choice(GROWTHS)
        growth(b)
    if not b.nodes:
        b.add("Relu", [next(iter(b.inputs))])
    return b
