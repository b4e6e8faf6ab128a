"""LSTM, GRU and RNN, unrolled over their sequence.

UNIDIRECTIONAL_SEQUENCE_LSTM keeps its state from one run to the next, where ONNX starts anew each time, so
it is no stand-in. https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import field, frozen

from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers

_MAX_STEPS = 1024  # cells in the graph
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_FUNCTIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

Function = Callable[[Formula, Operand], Operand]
State = tuple[Operand | None, Operand | None]  # hidden and cell state; None is zeros


@lowers("GRU", "LSTM", "RNN")
def recurrent(context: Context, node: Node) -> None:
    """`LSTM`, `GRU` and `RNN` are a product with W for the whole sequence, and then a cell for each step."""
    formula = Formula(context, node.name)
    kind, batch_first = node.type, bool(node.integer("layout", 0))
    x = formula.value(node.input(0))
    x = formula.transpose(x, (1, 0, 2)) if batch_first else x
    steps, batch, size = formula.shape(x)
    backwards = _DIRECTIONS.get(node.text("direction", "forward"))
    if backwards is None:
        raise Refused("it has an unknown direction", got=node.text("direction", ""))
    if steps * len(backwards) > _MAX_STEPS:
        raise Refused("its sequence is too long to unroll", got=steps, limit=_MAX_STEPS // len(backwards))
    flat = formula.reshape(x, (steps * batch, size))
    alive = _alive(formula, node, steps, batch)
    sequences: list[Operand] = []
    states: list[State] = []
    for place, backward in enumerate(backwards):
        cell = _cell(formula, node, place, backwards)
        fed = formula.matmul(flat, _direction(formula, node.input(1), place), adjoint_right=True)
        if cell.bias is not None:
            fed = formula.add(fed, cell.bias)
        state: State = (_initial(formula, node, 5, place), _initial(formula, node, 6, place))
        outputs: dict[int, Operand] = {}
        for step in reversed(range(steps)) if backward else range(steps):
            made = cell.step(formula.part(fed, 0, step * batch, batch), state)
            outputs[step] = made[0]
            if alive is not None:
                now = formula.part(alive, 0, step, 1)
                now = formula.reshape(now, (batch, 1))
                zeros = np.zeros((batch, cell.hidden), np.float32)
                outputs[step] = formula.select(now, made[0], zeros)
                kept = [zeros if old is None else old for old in state]
                made = (
                    formula.select(now, made[0], kept[0]),
                    None if made[1] is None else formula.select(now, made[1], kept[1]),
                )
            state = made
        sequences.append(_stack(formula, [outputs[step] for step in range(steps)], 1 if batch_first else 0))
        states.append(state)
    axis = 2 if batch_first else 1
    y = formula.concat([_widen(formula, sequence, axis) for sequence in sequences], axis)
    results = [y]
    for part in range(2 if kind == "LSTM" else 1):
        axis = 1 if batch_first else 0
        last = [state[part] for state in states]
        results.append(formula.concat([_widen(formula, s, axis) for s in last if s is not None], axis))
    for name, operand in zip(node.outputs, results, strict=False):
        if name is not None:
            formula.give(name, operand)


@frozen
class _Cell:
    """One direction: recurrent weights [gates * hidden, hidden], biases, and how a step is made."""

    formula: Formula
    kind: str
    hidden: int
    recurrence: Operand
    bias: Operand | None  # of all gates, added to the whole sequence
    inner_bias: Operand | None  # of a GRU's candidate, inside what is reset
    peepholes: tuple[Operand, Operand, Operand] | None  # input, output, forget
    functions: tuple[Function, ...]
    clip: float
    reset_after: bool  # a GRU's linear_before_reset
    coupled: bool  # an LSTM's input_forget
    _weights: dict[tuple[int, int], Operand] = field(factory=dict, init=False)

    def step(self, fed: Operand, state: State) -> tuple[Operand, Operand | None]:
        """The next hidden and cell state from what the input feeds, [batch, gates * hidden]."""
        if self.kind == "LSTM":
            return self._lstm(fed, state)
        if self.kind == "GRU":
            return self._gru(fed, state[0]), None
        return self._gate(0, self._with(fed, state[0], 0, 1)), None

    def _lstm(self, fed: Operand, state: State) -> tuple[Operand, Operand]:
        formula, (h, c) = self.formula, state
        fed = self._with(fed, h, 0, 4)
        i, o, f, candidate = (self._slice(fed, gate, 1) for gate in range(4))
        if self.peepholes is None:
            joint = self._gate(0, self._slice(fed, 0, 3))
            i, o, f = (self._slice(joint, gate, 1) for gate in range(3))
        else:
            if c is not None:
                i = formula.add(i, formula.mul(c, self.peepholes[0]))
                f = formula.add(f, formula.mul(c, self.peepholes[2]))
            i, f = self._gate(0, i), self._gate(0, f)
        made = formula.mul(i, self._gate(1, candidate))
        if c is not None:
            kept = formula.sub(np.ones((), np.float32), i) if self.coupled else f
            made = formula.add(formula.mul(kept, c), made)
        if self.peepholes is not None:
            o = self._gate(0, formula.add(o, formula.mul(made, self.peepholes[1])))
        return formula.mul(o, self.functions[2](formula, made)), made

    def _gru(self, fed: Operand, h: Operand | None) -> Operand:
        formula = self.formula
        joint = self._gate(0, self._with(self._slice(fed, 0, 2), h, 0, 2))
        update, reset = self._slice(joint, 0, 1), self._slice(joint, 1, 1)
        candidate = self._slice(fed, 2, 1)
        if self.reset_after:
            inner = self.inner_bias
            if h is not None:
                inner = self._product(h, 2, 1)
                inner = inner if self.inner_bias is None else formula.add(inner, self.inner_bias)
            if inner is not None:
                candidate = formula.add(candidate, formula.mul(reset, inner))
        elif h is not None:
            candidate = self._with(candidate, formula.mul(reset, h), 2, 1)
        candidate = self._gate(1, candidate)
        if h is None:
            return formula.sub(candidate, formula.mul(update, candidate))
        return formula.add(candidate, formula.mul(update, formula.sub(h, candidate)))

    def _with(self, fed: Operand, h: Operand | None, gate: int, count: int) -> Operand:
        """What the hidden state feeds into these gates, added to what the input does."""
        return fed if h is None else self.formula.add(fed, self._product(h, gate, count))

    def _product(self, h: Operand, gate: int, count: int) -> Operand:
        if (gate, count) not in self._weights:
            part = self.formula.part(self.recurrence, 0, gate * self.hidden, count * self.hidden)
            self._weights[gate, count] = part
        return self.formula.matmul(h, self._weights[gate, count], adjoint_right=True)

    def _slice(self, joint: Operand, gate: int, count: int) -> Operand:
        return self.formula.part(joint, 1, gate * self.hidden, count * self.hidden)

    def _gate(self, function: int, x: Operand) -> Operand:
        if self.clip:
            x = self.formula.binary("MAXIMUM", self.formula.binary("MINIMUM", x, self.clip), -self.clip)
        return self.functions[function](self.formula, x)


def _cell(formula: Formula, node: Node, place: int, backwards: tuple[bool, ...]) -> _Cell:
    gates = _GATES[node.type]
    recurrence = _direction(formula, node.input(2), place)
    hidden = formula.shape(recurrence)[1]
    bias = inner = None
    reset_after = node.type == "GRU" and bool(node.integer("linear_before_reset", 0))
    if node.optional(3) is not None:
        both = _direction(formula, node.input(3), place)
        bias, other = (
            formula.part(both, 0, 0, gates * hidden),
            formula.part(both, 0, gates * hidden, gates * hidden),
        )
        if reset_after:
            inner = formula.part(other, 0, 2 * hidden, hidden)
            outer = formula.part(other, 0, 0, 2 * hidden)
            other = formula.concat([outer, np.zeros(hidden, np.float32)], 0)
        bias = formula.add(bias, other)
    peepholes = None
    if node.type == "LSTM" and node.optional(7) is not None:
        row = _direction(formula, node.input(7), place)
        parts = [formula.part(row, 0, gate * hidden, hidden) for gate in range(3)]
        peepholes = (parts[0], parts[1], parts[2])
    functions = tuple(_functions(node, len(backwards)))
    per = len(_FUNCTIONS[node.type])
    return _Cell(
        formula,
        node.type,
        hidden,
        recurrence,
        bias,
        inner,
        peepholes,
        functions[place * per : (place + 1) * per],
        node.number("clip", 0.0),
        reset_after,
        bool(node.integer("input_forget", 0)),
    )


def _functions(node: Node, directions: int) -> Iterator[Function]:
    """The activations of all gates; numbers that some of them take are listed in their order."""
    names = node.attributes.get("activations") or [n.encode() for n in _FUNCTIONS[node.type]] * directions
    alphas, betas = (iter(node.attributes.get(f"activation_{a}", ())) for a in ("alpha", "beta"))
    if len(names) != directions * len(_FUNCTIONS[node.type]):
        raise Refused("it names the wrong number of activations", got=len(names))
    for item in names:
        yield _function(item.decode() if isinstance(item, bytes) else str(item), alphas, betas)


def _function(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    plain = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU"}.get(name.lower())
    if plain is not None:
        return lambda formula, x: formula.unary(plain, x)
    if name.lower() == "affine":
        slope, offset = float(next(alphas, 1.0)), float(next(betas, 0.0))
        return lambda formula, x: formula.add(formula.mul(x, slope), offset)
    if name.lower() == "scaledtanh":
        outer, inner = float(next(alphas, 1.0)), float(next(betas, 1.0))
        return lambda formula, x: formula.mul(formula.unary("TANH", formula.mul(x, inner)), outer)
    if name.lower() == "hardsigmoid":
        slope, offset = float(next(alphas, 0.2)), float(next(betas, 0.5))
        return lambda formula, x: formula.binary(
            "MINIMUM", formula.unary("RELU", formula.add(formula.mul(x, slope), offset)), 1.0
        )
    raise Refused(
        "it has an activation that cannot be computed",
        got=name,
        limit="Sigmoid, Tanh, Relu, Affine, ScaledTanh, HardSigmoid",
    )


def _direction(formula: Formula, name: str, place: int) -> Operand:
    """The part of a parameter for one direction, without that axis."""
    value = formula.value(name)
    return formula.reshape(formula.part(value, 0, place, 1), formula.shape(value)[1:])


def _initial(formula: Formula, node: Node, place: int, direction: int) -> Operand | None:
    """A state to begin with, [batch, hidden]; None for zeros."""
    if node.optional(place) is None or (place == 6 and node.type != "LSTM"):
        return None
    value = formula.value(node.input(place))
    if isinstance(value, np.ndarray) and not value.any():
        return None
    axis = 1 if node.integer("layout", 0) else 0
    shape = formula.shape(value)
    return formula.reshape(formula.part(value, axis, direction, 1), (shape[1 - axis], shape[2]))


def _alive(formula: Formula, node: Node, steps: int, batch: int) -> Operand | None:
    """Which sample has a step, [steps, batch]; None if all have all."""
    if node.optional(4) is None:
        return None
    lengths = formula.reshape(formula.value(node.input(4)), (1, batch))
    if isinstance(lengths, np.ndarray) and (lengths >= steps).all():
        return None
    places = np.arange(steps).reshape(steps, 1).astype(formula.dtype(lengths))
    return formula.binary("GREATER", lengths, places)


def _stack(formula: Formula, operands: list[Operand], axis: int) -> Operand:
    """The operands side by side along a new axis."""
    if len(operands) == 1:
        return _widen(formula, operands[0], axis)
    shape = formula.shape(operands[0])
    made = (*shape[:axis], len(operands), *shape[axis:])
    return formula.emit(
        "PACK", operands, formula.dtype(operands[0]), made, valuesCount=len(operands), axis=axis
    )


def _widen(formula: Formula, operand: Operand, axis: int) -> Operand:
    shape = formula.shape(operand)
    return formula.reshape(operand, (*shape[:axis], 1, *shape[axis:]))
