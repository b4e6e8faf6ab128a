"""The quantiser: a float graph with ranges becomes an integer graph, as a scheme says."""

from __future__ import annotations

from attrs import evolve, field, frozen

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.engine import Fallback
from converters.quantize.integer import parameters
from converters.quantize.integer.assignment import FLOAT, Assignment, assign, data_inputs, floats, preferring
from converters.quantize.integer.building import Building
from converters.quantize.integer.curves import joined
from converters.quantize.integer.expansion import Expansion
from converters.quantize.integer.prepared import Prepared
from converters.quantize.integer.rules import rule_of
from converters.quantize.integer.rules.base import BIASES, DTYPES, Rule
from converters.quantize.integer.scales import Scales, scales
from converters.quantize.scheme import Scheme
from device_agent.bundle import Quantization


@frozen
class Applied:
    """An integer graph, what is not as the scheme asks, and how many channels were widened for their bias."""

    graph: Graph = field(repr=False)
    fallbacks: tuple[Fallback, ...]
    widened_channels: int


def apply(
    prepared: Prepared, scheme: Scheme, *, runtime: str = "litert"
) -> tuple[Graph, tuple[Fallback, ...]]:
    """The graph of a static scheme; see `applied`."""
    found = applied(prepared, scheme, runtime=runtime)
    return found.graph, found.fallbacks


def applied(prepared: Prepared, scheme: Scheme, *, runtime: str = "litert") -> Applied:
    """Quantise a float graph.

    Activations are quantised per tensor, weights per channel, biases with the product of both scales; where
    precisions meet, QUANTIZE and DEQUANTIZE convert, once per tensor. Every tensor of the float graph that is
    left keeps its name. An operator that has no kernel for what is asked stays float32, and a `Fallback` says
    so. (https://ai.google.dev/edge/litert/models/quantization_spec)

    Args:
        prepared: not changed; constants that stay as they are are shared with it.
        scheme: of a `STATIC` precision.
        runtime: `litert`, or `tflite` for tflite-runtime 2.14, whose kernels know less.
    """
    scheme = preferring(prepared, scheme, runtime)
    prepared = evolve(prepared, graph=joined(prepared.graph, prepared.ranges, scheme, runtime))
    assignment = assign(prepared.graph, prepared.ranges, scheme, runtime)
    found = scales(prepared.graph, prepared.ranges, assignment, runtime)
    making = _Making(prepared, assignment, found, runtime)
    making.inputs()
    for index, operator in enumerate(prepared.graph.operators):
        making.operator(index, operator)
    return Applied(making.graph(scheme.io), assignment.fallbacks, making.widened)


class _Making:
    """The integer graph so far."""

    def __init__(self, prepared: Prepared, assignment: Assignment, found: Scales, runtime: str) -> None:
        self._prepared, self._assignment, self._scales = prepared, assignment, found
        self._runtime = runtime
        self._graph = prepared.graph
        self._building = Building(prepared.graph, runtime)
        self.widened = 0

    def inputs(self) -> None:
        """The public inputs, in their homes."""
        for name in self._graph.inputs.values():
            self._make(name)

    def graph(self, io: str) -> Graph:
        """The finished graph."""
        outputs = {}
        for public, name in self._graph.outputs.items():
            held = self._graph.tensors[name]
            outputs[public] = name
            if held.data is not None:
                self._building.kept(name)
            elif io == "float" and held.dtype == FLOAT:
                outputs[public] = self._building.converted(name, FLOAT, None)
        tensors, operators = self._building.read(outputs.values())
        return Graph(tensors, operators, dict(self._graph.inputs), outputs)

    def operator(self, index: int, operator: GraphOperator) -> None:
        """Take an operator over, in its precision."""
        precision = self._assignment.precisions[index]
        rule = rule_of(operator, self._runtime)
        if precision is None or precision == FLOAT or rule is None:
            inputs = [self._as_float(name) for name in operator.inputs]
            outputs = [self._make(name) for name in operator.outputs]
            for name in operator.intermediates:
                self._building.kept(name)
            self._building.operators.append(evolve(operator, inputs=inputs, outputs=outputs))
            return
        inputs = self._inputs(index, operator, rule, precision)
        outputs = [self._make(name) for name in operator.outputs]
        if precision not in rule.precisions:
            rule.expand[precision](
                Expansion(
                    self._building, operator, precision, tuple(inputs), tuple(outputs), self._prepared.ranges
                )
            )
            return
        options = {**operator.options, **rule.options.get(precision, {})}
        made = evolve(operator, inputs=inputs, outputs=outputs, options=options)
        self._building.operators.append(made)

    def _make(self, name: str) -> str:
        """An activation in its home."""
        precision = self._assignment.homes.get(name, FLOAT)
        if precision == FLOAT:
            return self._building.kept(name)
        return self._building.home(name, DTYPES[precision], self._scales.homes[name])

    def _as_float(self, name: str | None) -> str | None:
        if name is None or self._graph.tensors[name].dtype != FLOAT or self._graph.tensors[name].variable:
            return None if name is None else self._building.kept(name)
        return self._building.converted(name, FLOAT, None)

    def _inputs(self, index: int, operator: GraphOperator, rule: Rule, precision: str) -> list[str | None]:
        """An integer operator's inputs, quantised."""
        data = data_inputs(rule, self._graph, operator, precision)
        inputs: list[str | None] = []
        for place, name in enumerate(operator.inputs):
            if name is None:
                inputs.append(None)
            elif place in data:
                wanted = self._wanted(index, name, precision)
                inputs.append(self._building.converted(name, DTYPES[precision], wanted))
            elif floats(self._graph, [name]):
                inputs.append(name)  # weights and bias: below
            else:
                inputs.append(self._building.kept(name))
        if rule.weights is not None:
            self._weigh(operator, rule, precision, inputs, data)
        return inputs

    def _wanted(self, index: int, name: str, precision: str) -> Quantization:
        """The parameters in which an operator reads a tensor."""
        shared = self._scales.shared.get(index)
        if shared is not None:
            return shared
        if self._assignment.homes.get(name) == precision:
            return self._scales.homes[name]
        constant = self._graph.constant(name)
        found = parameters.spanned(constant) if constant is not None else self._prepared.ranges[name]
        return parameters.of_range(found, precision)

    def _weigh(
        self, operator: GraphOperator, rule: Rule, precision: str, inputs: list[str | None], data: list[int]
    ) -> None:
        """Put quantised weights and bias into an operator's inputs."""
        source = self._building.tensors[inputs[data[0]] or ""].quantization
        name = inputs[rule.weights or 0]
        bias = None
        if rule.bias is not None and len(inputs) > rule.bias:
            bias = self._graph.constant(operator.inputs[rule.bias])
        correction = self._prepared.corrections.get(operator.outputs[0])
        if correction is not None:
            bias = correction if bias is None else bias + correction
        if source is None or name is None:
            return
        values = self._graph.constant(operator.inputs[rule.weights or 0])
        if values is not None and rule.weights not in data:
            channels = 1 if rule.axis is None else values.shape[rule.axis]
            least = parameters.least_scale(bias, source.scale[0], channels)
            integers, quantization, widened = parameters.weights(
                values, rule.axis, least=least, chosen=self._prepared.rounded.get(name)
            )
            self.widened += widened
            inputs[rule.weights or 0] = self._building.constant(name, integers, quantization)
        else:
            quantization = self._building.tensors[name].quantization or source
        if bias is not None and rule.bias is not None:
            steps, scaled = parameters.bias(bias, source.scale[0], quantization.scale, BIASES[precision])
            inputs += [None] * (rule.bias + 1 - len(inputs))
            named = inputs[rule.bias] or f"{operator.outputs[0]}/bias"
            inputs[rule.bias] = self._building.constant(named, steps, scaled)


def float_operators(graph: Graph, *, ends_convert: bool) -> tuple[str, ...]:
    """Types of the operators that compute in floating point, in execution order.

    With `ends_convert`, the QUANTIZE of a model input and the DEQUANTIZE of a model output do not count.
    """
    ends = {*graph.inputs.values(), *graph.outputs.values()} if ends_convert else set()
    found = []
    for operator in graph.operators:
        read = floats(graph, [*operator.inputs, *operator.outputs])
        converts = operator.type in ("QUANTIZE", "DEQUANTIZE") and ends.issuperset(read)
        if read and not converts:
            found.append(operator.type)
    return tuple(found)
