"""Searches as an engine would end them: one that mended a model, one that missed its goal."""

from attrs import evolve

from converters.quantize.accuracy.metrics.base import Judgement
from converters.quantize.engine import Effect, Fallback, LayerError
from converters.quantize.scheme import Scheme
from converters.quantize.search.types import Candidate, Culprit, Goal, Search

PLAIN = Candidate(
    1, "plain int8", Scheme(), False, "a drop of 6.00 points, 0.5 allowed", 92.0,
    Judgement(6.0, 3.5, 8.5, 0.95, 200, "McNemar", False, False, None), 1_550_000, 300_000,
)  # fmt: skip
REPAIRED = Candidate(
    2, "repair: equalization", Scheme(repairs=("equalization",)), True, "a drop of 1.00 points", 97.0,
    Judgement(1.0, -0.2, 2.2, 0.95, 200, "McNemar", False, False, None), 1_550_000, 300_000,
    effects=(Effect("equalization", 3, "3 pairs of layers share their channels' ranges"),),
)  # fmt: skip
MIXED = Candidate(
    3, "int16x8 for 2 layers", Scheme(exceptions={"a": "int16x8", "b": "int16x8"}, ranges="mse",
                                      repairs=("equalization",)),
    True, "a drop of 0.40 points is within 0.5", 97.6,
    Judgement(0.4, -0.4, 1.1, 0.95, 200, "McNemar", True, False, 900), 1_612_000, 310_000, 1,
    REPAIRED.effects, (Fallback("c", "LEAKY_RELU", "float32", "it has no int16x8 form"),),
)  # fmt: skip
MET = Search(
    metric="top1", unit="points", goal=Goal(0.5), samples="digits.npz", count=200, reference=98.0,
    reference_latency_ns=3_600_000, candidates=(PLAIN, REPAIRED, MIXED), best=3, met=True,
    stopped="the goal is reached", lacks="",
    culprits=(Culprit("a", "CONV_2D", "/features/conv_1/Conv, /features/relu_1/Relu", 0.614),),
    errors=(
        LayerError("a", "CONV_2D", "/features/conv_1/Conv", "int16x8", 61.5, 1.0, 0.97, 0.0),
        LayerError("b", "SOFTMAX", "", "int8", 12.25, 0.9876, None, None),
        LayerError("d", "RESHAPE", "Reshape", "float32", None, 1.0, None, None),
    ),
    seconds=12.34, notes=("only 16 calibration samples",),
)  # fmt: skip
MISSED = evolve(
    MET, candidates=(PLAIN, evolve(REPAIRED, latency_ns=None)), best=2, met=False, culprits=(), errors=(),
    stopped="nothing is left to try", lacks="0.50 points too many",
)  # fmt: skip
