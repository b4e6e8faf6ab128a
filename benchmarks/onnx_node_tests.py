"""The node tests of the installed onnx package: passed, refused with a reason, wrong or crashed.

    python benchmarks/onnx_node_tests.py [--json FILE] [--only REGEX] [--fail-under N]
    python benchmarks/onnx_node_tests.py --docs FILE --from JSON [JSON ...]

The second form writes the page of one or more earlier runs, the first of them in full.

Eligible is a test whose inputs and outputs are all tensors of float16/32, int8/16/32/64, uint8 or bool, and
that is not of training, strings, images or random numbers. Each is lowered, rewritten, written as a
`.tflite` and run by LiteRT with the test's inputs, in a process apart that may crash. A test passes where
every output has the expected dtype and shape and is within rtol 1e-3 and atol 1e-4; integers and bools must
be equal, but for quantised ones, which may differ by one step.

Operands that a model fixes in practice (the shape of a Reshape, the axes of a reduction, K of a TopK) are
inputs in many of these tests. Each test is first tried as it is; where that is refused, those integer and
bool operands, the scales and region of a Resize and the depth of a OneHot, are bound to the test's values,
as `--bind` does for a user, and the test counts as "bound". A test's operator is the one that it is of, also
where its model is that operator spelt out in others (`_expanded`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import tempfile
import warnings
from collections import Counter
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from attrs import asdict, frozen
from onnx import TensorProto, numpy_helper

KINDS = ("passed", "bound", "refused", "wrong", "crashed")
RTOL, ATOL = 1e-3, 1e-4
SECONDS = 60
DTYPES = {
    TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32,
    TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL,
}  # fmt: skip
# training, strings, images, random numbers
LEFT_OUT = re.compile(
    r"^test_(training_|adagrad|adam|momentum|nesterov|string|strnorm|regex|tfidf|image_decoder|bernoulli"
    r"|random|multinomial|batchnorm_.*training|dropout_default_mask|label_encoder_string)"
    r"|training_mode|^test_.*_seed"
)
EXPANDED = re.compile(r"_expanded(_ver\d+)?$")
RESIZES = ("Resize", "Upsample")
QUANTISED = re.compile(r"quantize|qlinear")


@frozen
class Outcome:
    """What became of one test: passed, bound, refused, wrong or crashed, and why."""

    name: str
    operator: str
    outcome: str
    why: str = ""


@frozen
class Case:
    """One node test: inputs and expected outputs per data set, as arrays or TensorProtos."""

    name: str
    operator: str
    model: onnx.ModelProto
    data_sets: list[tuple[list[Any], list[Any]]]


def eligible(name: str, model: onnx.ModelProto) -> bool:
    """Whether a test is one of those that are counted."""
    if LEFT_OUT.search(name):
        return False
    ends = [*model.graph.input, *model.graph.output]
    return bool(model.graph.output) and all(
        end.type.HasField("tensor_type") and end.type.tensor_type.elem_type in DTYPES for end in ends
    )


def cases() -> list[Case]:
    """The eligible node tests, in order of name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests' own arithmetic overflows on purpose
        from onnx.backend.test.loader import load_model_tests

        found = [
            (test, test.model or onnx.load(Path(test.model_dir) / "model.onnx"))
            for test in load_model_tests(kind="node")
        ]
    operators = {test.name: next((n.op_type for n in model.graph.node), "") for test, model in found}
    return sorted(
        (
            Case(
                test.name,
                operators.get(EXPANDED.sub("", test.name), operators[test.name]),
                model,
                test.data_sets or stored(Path(test.model_dir)),
            )
            for test, model in found
            if eligible(test.name, model)
        ),
        key=lambda case: case.name,
    )


def stored(folder: Path) -> list[tuple[list[Any], list[Any]]]:
    """The data sets of a test that older releases of onnx keep in files."""

    def tensors(data: Path, kind: str) -> list[Any]:
        files = sorted(data.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
        return [onnx.load_tensor(file) for file in files]

    return [(tensors(d, "input"), tensors(d, "output")) for d in sorted(folder.glob("test_data_set_*"))]


def bound(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with its integer and bool operands, but for the first, and those named below fixed."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    first = {node.input[0] for node in made.graph.node if node.input}
    fixed = {name for node in made.graph.node if node.op_type in RESIZES for name in node.input[1:]}
    fixed |= {node.input[1] for node in made.graph.node if node.op_type == "OneHot"}
    kept = []
    for value in made.graph.input:
        array = values[value.name]
        if (array.dtype.kind in "iub" or value.name in fixed) and value.name not in first:
            made.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            kept.append(value)
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


def try_model(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], expected: list[np.ndarray], loose: bool
) -> str:
    """Convert and run; "" if right, "refused: ..." or "wrong: ..."."""
    from ai_edge_litert.interpreter import Interpreter

    from converters.graph import passes, read, write
    from converters.readers.onnx import reader
    from converters.shaping import Shaping
    from device_agent.errors import EdgeError

    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        try:
            source = reader.read(Path(file.name), Shaping())
            graph, verdicts = reader.lower(source)
            if graph is None:
                return "refused: " + "; ".join(str(v) for v in verdicts if not v.ok)
        except EdgeError as e:
            return f"refused: {e}".replace(file.name, "model.onnx")
    passes.run(graph)
    data = write.write(graph)
    graph = read.read(data, where="model.tflite")
    interpreter = Interpreter(model_content=data, num_threads=1)
    runner = interpreter.get_signature_runner()
    found = runner(**{name: inputs[name] for name in graph.inputs})
    for value, wanted in zip(model.graph.output, expected, strict=True):
        got = found[value.name]
        if got.dtype != wanted.dtype or got.shape != wanted.shape:
            return (
                f"wrong: {value.name} is {got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
            )
        if wanted.dtype.kind == "f":
            same = np.allclose(got.astype(np.float64), wanted.astype(np.float64), RTOL, ATOL, equal_nan=True)
        elif loose and wanted.dtype.kind in "iu":
            same = bool((np.abs(got.astype(np.int64) - wanted.astype(np.int64)) <= 1).all())
        else:
            same = np.array_equal(got, wanted)
        if not same:
            return f"wrong: {value.name} differs: {got.reshape(-1)[:4]}, not {wanted.reshape(-1)[:4]}"
    return ""


def array_of(item: Any) -> np.ndarray:
    """A test's tensor, which is an array or, in some tests, still a TensorProto."""
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


def run_case(case: Case) -> Outcome:
    """One test, as it is and bound."""
    worst = "passed"
    why = ""
    for given, wanted in case.data_sets:
        inputs = {
            value.name: array_of(item) for value, item in zip(case.model.graph.input, given, strict=False)
        }
        expected = [array_of(item) for item in wanted]
        loose = bool(QUANTISED.search(case.name))
        why = try_model(case.model, inputs, expected, loose)
        if why.startswith("refused"):
            fixed = bound(case.model, inputs)
            if len(fixed.graph.input) < len(case.model.graph.input):
                again = try_model(fixed, inputs, expected, loose)
                if not again.startswith("refused"):
                    why, worst = again, "bound"
        if why:
            return Outcome(case.name, case.operator, why.split(":")[0], why)
    return Outcome(case.name, case.operator, worst, why)


def serve(connection: Connection) -> None:
    """Answer cases by their place in the list until the pipe ends."""
    warnings.simplefilter("ignore")
    known = cases()
    connection.send(len(known))
    while True:
        try:
            place = connection.recv()
        except EOFError:
            return
        try:
            connection.send(run_case(known[place]))
        except Exception as e:  # noqa: BLE001 - whatever it is, it is counted here
            case = known[place]
            connection.send(Outcome(case.name, case.operator, "crashed", f"{type(e).__name__}: {e}"[:500]))


def run_all(places: list[int], known: list[Case]) -> list[Outcome]:
    """Every case, in a child that is replaced when it dies."""
    context = multiprocessing.get_context("spawn")
    outcomes: list[Outcome] = []
    child = None
    for place in places:
        if child is None:
            mine, theirs = context.Pipe()
            child = context.Process(target=serve, args=(theirs,), daemon=True)
            child.start()
            theirs.close()
            mine.recv()
        mine.send(place)
        try:
            answer = mine.recv() if mine.poll(SECONDS) else None
        except (EOFError, ConnectionError):
            answer = None
        if answer is not None:
            outcomes.append(answer)
        else:
            child.kill()
            child.join()
            why = f"no answer: the process ended with {child.exitcode}"
            outcomes.append(Outcome(known[place].name, known[place].operator, "crashed", why))
            child = None
    if child is not None:
        mine.close()
        child.join()
    return outcomes


def main() -> None:
    """Run the tests, or write the page of earlier runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--only", default="", metavar="REGEX", help="only tests whose name matches")
    parser.add_argument("--fail-under", type=int, default=0, metavar="N", help="fail where fewer are right")
    parser.add_argument("--docs", type=Path, help="write the page of the runs of --from to this file")
    parser.add_argument("--from", type=Path, nargs="+", dest="runs", metavar="JSON", help="earlier runs")
    options = parser.parse_args()
    if options.docs is not None:
        if not options.runs:
            parser.error("--docs needs --from")
        from onnx_node_page import page

        options.docs.write_text(page([json.loads(run.read_text()) for run in options.runs]))
        return
    known = cases()
    places = [place for place, case in enumerate(known) if re.search(options.only, case.name)]
    outcomes = run_all(places, known)
    count = Counter(outcome.outcome for outcome in outcomes)
    versions = {
        "onnx": onnx.__version__,
        "runtime": f"LiteRT {metadata.version('ai-edge-litert')}",
    }
    print(
        f"onnx {onnx.__version__}: {len(outcomes)} eligible: " + ", ".join(f"{count[k]} {k}" for k in KINDS)
    )
    if options.json:
        whole = {**versions, "outcomes": [asdict(outcome) for outcome in outcomes]}
        options.json.write_text(json.dumps(whole, indent=1))
    good = count["passed"] + count["bound"]
    raise SystemExit(0 if good >= options.fail_under and not count["wrong"] + count["crashed"] else 1)


if __name__ == "__main__":
    main()
