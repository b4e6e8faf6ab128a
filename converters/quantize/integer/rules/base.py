"""What a rule says: how one type of operator computes in integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from converters.quantize.scheme import STATIC
from device_agent.bundle import Quantization

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.expansion import Expansion

    Check = Callable[[Graph, GraphOperator, str], str | None]
    Expand = Callable[[Expansion], None]

DTYPES = {"int8": "int8", "int16x8": "int16", "float32": "float32"}  # precision -> activations' dtype
BIASES = {"int8": "int32", "int16x8": "int64"}  # precision -> biases' dtype
WIDTH = {"int8": 0, "int16x8": 1, "float32": 2}  # precision -> the wider, the more it holds


@frozen
class Rule:
    """How one type of operator computes in integers, from TFLite's quantisation specification.

    Every float input that is neither weights nor bias is data, every float output an activation: they get
    the dtype of the precision, and parameters per tensor. What is no float stays as it is: shapes, axes,
    indices, conditions.

    `precisions` are those that the runtime's kernels compute in. Those in `expand` are computed by several
    integer operators instead: a function is given the operator with its inputs and outputs quantised, and
    makes the operators that take its place (see `expansion.Expansion`); `how` says so to people.

    `weights` and `bias` are positions of inputs; weights are constant int8 with zero-point 0, and a scale per
    channel of `axis` (per tensor if None). In the precisions of `computed` weights that are no constant are
    data as well. `same` says which tensors have one scale and zero-point:
    `all` data and outputs, or `none`. `moves` says that each value of the output is one of the inputs', so
    that an operator with one data input has no precision of its own: it takes that of what is around it.
    `selects` says that an output is one of the inputs by their order, so that what is cut off from an input
    before is what would be cut off from the output behind it. `own` are inputs that an expansion quantises
    itself, states among them; it is given their float names. `fused` are the activations that a kernel
    computes within.
    `fixed` are the parameters of the outputs by precision, where the kernels know only one. `options` are
    what the operator's options become by precision. `check` says why one operator cannot be had in a
    precision, None where it can.

    https://ai.google.dev/edge/litert/models/quantization_spec
    """

    precisions: tuple[str, ...] = STATIC
    weights: int | None = None
    axis: int | None = None
    bias: int | None = None
    computed: tuple[str, ...] = ()
    same: str = "none"
    moves: bool = False
    selects: bool = False
    own: tuple[int, ...] = ()
    fused: tuple[str, ...] = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
    fixed: Mapping[str, Quantization] = field(factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    check: Check | None = None
    expand: Mapping[str, Expand] = field(factory=dict)
    how: str = "made of other integer operators"

    @property
    def able(self) -> tuple[str, ...]:
        """What such an operator can compute in as integers, by a kernel or several."""
        return tuple(precision for precision in STATIC if precision in (*self.precisions, *self.expand))

    def only(self, *precisions: str) -> Rule:
        """The same rule for fewer precisions."""
        return evolve(self, precisions=precisions)


def expanded(expand: Expand, *kernels: str, check: Check | None = None) -> Rule:
    """The rule of operators that have kernels for these precisions, and several operators for the others."""
    others = {precision: expand for precision in STATIC if precision not in kernels}
    return Rule(kernels, expand=others, check=check)


def looked_up(expand: Expand, *kernels: str, check: Check | None = None) -> Rule:
    """The same where those several operators look up a table."""
    return evolve(expanded(expand, *kernels, check=check), how="looked up in a table of its values")


def fixed(scale: float, zero_point: int = 0) -> Quantization:
    """Parameters of a whole tensor."""
    return Quantization((scale,), (zero_point,))
