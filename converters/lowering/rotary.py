"""RotaryEmbedding and LinearAttention."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers

_MAX_STEPS = 512  # of a linear attention in the graph
_RULES = ("linear", "gated", "delta", "gated_delta")


@lowers("RotaryEmbedding")
def rotary_embedding(context: Context, node: Node) -> None:
    """`RotaryEmbedding` is `x cos + x' sin`, where x' is x with its halves swapped by a GATHER."""
    formula, output = Formula(context, node.output()), node.output()
    x = formula.value(node.input(0))
    shape = formula.shape(x)
    flat = len(shape) == 3
    heads = node.integer("num_heads", 0) if flat else shape[1]
    if flat:
        if heads < 1 or shape[2] % heads:
            raise Refused("its heads do not divide its input", got=heads, limit=shape[2])
        x = formula.reshape(x, (shape[0], shape[1], heads, shape[2] // heads))
    length, depth = (shape[1], shape[2] // heads) if flat else shape[2:]
    turned = node.integer("rotary_embedding_dim", 0) or depth
    half = turned // 2
    cos, sin = (formula.value(node.input(place)) for place in (1, 2))
    if node.optional(3) is not None:
        places = formula.value(node.input(3))
        cos, sin = (formula.gather(cache, places) for cache in (cos, sin))
    if formula.shape(cos)[-1] != half or turned > depth:
        raise Refused("its caches do not fit its rotary dimension", got=formula.shape(cos), limit=half)
    apart = bool(node.integer("interleaved", 0))
    # element i of a pair is x cos - x' sin, the other x cos + x' sin
    pair = np.arange(turned) ^ 1 if apart else np.roll(np.arange(turned), half)
    spread = np.arange(turned) // 2 if apart else np.arange(turned) % half
    sign = np.where(np.arange(turned) % 2 == 0 if apart else np.arange(turned) < half, -1, 1).astype(
        np.float32
    )
    wide = (formula.shape(cos)[0], length, 1, turned) if flat else (formula.shape(cos)[0], 1, length, turned)
    cos = formula.reshape(formula.gather(cos, spread.astype(np.int32), -1), wide)
    sin = formula.reshape(formula.mul(formula.gather(sin, spread.astype(np.int32), -1), sign), wide)
    part = formula.part(x, -1, 0, turned)
    swapped = formula.gather(part, pair.astype(np.int32), -1)
    y = formula.add(formula.mul(part, cos), formula.mul(swapped, sin))
    y = formula.concat([y, formula.part(x, -1, turned, depth - turned)], -1) if turned < depth else y
    formula.give(output, formula.reshape(y, shape))


@lowers("LinearAttention")
def linear_attention(context: Context, node: Node) -> None:
    """`LinearAttention` is unrolled: a step decays the state, adds an outer product and reads it."""
    formula = Formula(context, node.name)
    rule = node.text("update_rule", "gated_delta")
    heads_q, heads = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
    if rule not in _RULES or heads < 1 or heads_q % heads:
        raise Refused("its attributes do not fit together", got=f"{rule}, {heads_q} and {heads} heads")
    q, k, v = (_heads(formula, node.input(i), n) for i, n in ((0, heads_q), (1, heads), (2, heads)))
    batch, _, steps, depth = formula.shape(k)
    wide, group = formula.shape(v)[3], heads_q // heads
    if steps > _MAX_STEPS:
        raise Refused("its sequence is too long to unroll", got=steps, limit=_MAX_STEPS)
    gated, delta = "gated" in rule, "delta" in rule
    decay = _parameter(formula, node, 4, heads, depth) if gated else None
    beta = _parameter(formula, node, 5, None, 1) if delta else None
    if decay is not None:
        decay = formula.unary("EXP", decay)
    state: Operand | None = formula.value(node.input(3)) if node.optional(3) is not None else None
    scale = node.number("scale", 0.0) or 1 / math.sqrt(depth)
    q = formula.mul(q, np.array(scale, np.float32))
    rows: list[Operand] = []
    for step in range(steps):
        key, value, query = (formula.part(x, 2, step, 1) for x in (k, v, q))  # [batch, heads, 1, size]
        if state is not None and decay is not None:
            factor = formula.part(decay, 2, step, 1)
            size = formula.shape(factor)[3]
            state = formula.mul(state, formula.reshape(factor, (batch, heads, size, 1)))
        if beta is not None:
            if state is not None:
                value = formula.sub(value, formula.matmul(key, state))
            value = formula.mul(value, formula.part(beta, 2, step, 1))
        added = formula.mul(formula.reshape(key, (batch, heads, depth, 1)), value)
        state = added if state is None else formula.add(state, added)
        read = formula.matmul(formula.reshape(query, (batch, heads, group, depth)), state)
        rows.append(formula.reshape(read, (batch, 1, heads_q * wide)))
    if state is None:
        raise Refused("it has no steps")
    for name, operand in zip(node.outputs, (formula.concat(rows, 1), state), strict=False):
        if name is not None:
            formula.give(name, operand)


def _heads(formula: Formula, name: str, heads: int) -> Operand:
    """A value [batch, length, heads * size] as [batch, heads, length, size]."""
    value = formula.value(name)
    batch, length, size = formula.shape(value)
    if size % heads:
        raise Refused("its heads do not divide its input", got=size, limit=heads)
    return formula.transpose(formula.reshape(value, (batch, length, heads, size // heads)), (0, 2, 1, 3))


def _parameter(formula: Formula, node: Node, place: int, heads: int | None, depth: int) -> Operand:
    """A decay or beta as [batch, heads or 1, length, depth or 1]."""
    shape = formula.context.shape(node.input(place))
    if heads is not None and shape[2] not in (heads, heads * depth):
        raise Refused("its decay does not fit its keys", got=shape, limit=f"{heads} heads")
    return _heads(formula, node.input(place), shape[2] if heads is None else heads)
