"""Runs in a process of its own, the only one that imports torch: exports programs and runs them.

export  {path, to}        -> exported {version}     an ONNX file at `to`
open    {path}            -> opened {version}
run     payload: inputs   -> outputs, payload: outputs
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.export.pt2_archive._package import load_pt2
from torch.utils import _pytree as pytree  # the names of nested outputs are nowhere else

from converters.readers import child
from device_agent.errors import EdgeError, InvalidModel
from device_agent.frames import Frame

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_VERSION = torch.__version__.partition("+")[0]  # `2.13.0`, without the build: +cpu, +cu130
_TRAINING = "Call `module.eval()` before `torch.export.export`."


class _PickleFound(Exception):
    """The file holds a pickle that would import something."""


class _Programs:
    """The program that was opened, and the answers to all requests."""

    def __init__(self) -> None:
        self._program: Any = None
        self._module: Any = None
        self._guarded = False
        sys.addaudithook(self._audit)

    def export(self, frame: Frame) -> Frame:
        """Write the program as an ONNX file, its inputs and outputs named as `_inputs` and `_outputs` say."""
        program = self._load(frame.head["path"])
        _check(program)
        converted = torch.onnx.export(program, dynamo=True, verbose=False)
        if converted is None:
            raise InvalidModel("torch.onnx.export made nothing")
        graph = converted.model.graph
        named = [*zip(graph.inputs, _inputs(program), strict=True)]
        named += zip(graph.outputs, [name for _, name in _outputs(program)], strict=True)
        wanted = {name for _, name in named}
        values = [
            *graph.initializers.values(),
            *(value for node in graph.all_nodes() for value in node.outputs),
        ]
        for value in values:
            if value.name in wanted:
                value.name = f"{value.name}.inner"
        for value, name in named:
            value.name = name
        converted.save(frame.head["to"])
        return Frame({"kind": "exported", "version": _VERSION})

    def open(self, frame: Frame) -> Frame:
        """Load the program to be run."""
        self._program = self._load(frame.head["path"])
        # the shapes are ours to check: a guard may refuse a batch of one
        self._module = self._program.module(check_guards=False)
        return Frame({"kind": "opened", "version": _VERSION})

    def run(self, frame: Frame) -> Frame:
        """Run the program once."""
        given = {name: torch.from_numpy(array.copy()) for name, array in child.unpack(frame.payload).items()}
        leaves = []
        for spec in _user_inputs(self._program):
            constant = isinstance(spec.arg, ConstantArgument)
            leaves.append(spec.arg.value if constant else given[spec.arg.name])
        args, kwargs = pytree.tree_unflatten(leaves, self._program.call_spec.in_spec)
        with torch.no_grad():
            answer, _ = pytree.tree_flatten(self._module(*args, **kwargs))
        arrays = {name: answer[index].detach().numpy() for index, name in _outputs(self._program)}
        return Frame({"kind": "outputs"}, child.pack(arrays))

    def _load(self, path: str) -> Any:
        with self._no_pickles(), Path(path).open("rb") as stream:
            return load_pt2(stream).exported_programs["model"]  # `torch.export.load` hides what went wrong

    def _audit(self, event: str, args: Sequence[Any]) -> None:
        if self._guarded and event == "pickle.find_class":
            raise _PickleFound(f"{args[0]}.{args[1]}")

    @contextmanager
    def _no_pickles(self) -> Iterator[None]:
        """Within, Python's own unpickler may import nothing; torch's `weights_only` one is not it."""
        self._guarded = True
        try:
            yield
        finally:
            self._guarded = False


def _user_inputs(program: Any) -> list[Any]:
    return [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]


def _inputs(program: Any) -> list[str]:
    """The names of the inputs that are tensors: those of `forward`, of a nested one its path with `_`."""
    return [spec.arg.name for spec in _user_inputs(program) if not isinstance(spec.arg, ConstantArgument)]


def _outputs(program: Any) -> list[tuple[int, str]]:
    """Leaf and name of each output that is a tensor.

    The name is the path of keys to it (`boxes`, `aux_0`), or what the program calls the value where that
    path has no key. None among the outputs is skipped.
    """
    specs = [spec for spec in program.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    tree = pytree.tree_unflatten(list(range(len(specs))), program.call_spec.out_spec)
    taken = set(_inputs(program))
    found = []
    for (path, index), spec in zip(pytree.tree_flatten_with_path(tree)[0], specs, strict=True):
        if isinstance(spec.arg, ConstantArgument):
            continue
        keys = [getattr(key, "key", getattr(key, "name", getattr(key, "idx", None))) for key in path]
        name = spec.arg.name
        if any(isinstance(key, str) for key in keys):
            name = re.sub(r"\W+", "_", "_".join(map(str, keys)))
        unique = name
        number = 1
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        found.append((index, unique))
    return found


def _check(program: Any) -> None:
    """Refuse programs that are no function of their inputs."""
    signature = program.graph_signature
    if any(_writes(node.target) for node in program.graph.nodes if node.op == "call_function"):
        signature = program.run_decompositions({}).graph_signature  # says what is written for good
    changed = list(signature.buffers_to_mutate.values())
    if changed:
        raise InvalidModel(
            "the program changes its own buffers when it runs",
            got=", ".join(changed[:5]),
            expected="a program in inference mode",
            next_step=f"{_TRAINING} State that is carried must be an input and an output.",
        )
    changed = list(signature.user_inputs_to_mutate.values())
    if changed:
        raise InvalidModel(
            "the program changes its inputs in place",
            got=", ".join(changed[:5]),
            next_step="Give the new value back as an output.",
        )
    for spec in program.graph_signature.output_specs:
        if isinstance(spec.arg, ConstantArgument) and spec.arg.value is not None:
            raise InvalidModel(
                "an output of the program is no tensor",
                got=repr(spec.arg.value),
                next_step="Give back tensors only.",
            )
    for spec in _user_inputs(program):
        if type(spec.arg).__name__.startswith("Sym"):
            raise InvalidModel(
                "an input of the program is a number that is open",
                got=repr(spec.arg.name),
                expected="tensors, and numbers that the export fixed",
                next_step="Export it with that number fixed.",
            )


def _writes(target: Any) -> bool:
    """Whether an operator changes a tensor in place: `relu_` does."""
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _failed(frame: Frame, cause: Exception) -> EdgeError:
    """What torch's errors mean: the innermost of a chain says most."""
    chain: list[BaseException] = [cause]
    while (before := chain[-1].__cause__) is not None:
        chain.append(before)
    found = next((e for e in chain if isinstance(e, _PickleFound)), None)
    innermost = chain[-1]
    if found is not None:
        return InvalidModel(
            "it holds pickled objects, which would run code",
            got=str(found),
            expected="tensors only",
            next_step="Export the module with tensors as its example inputs.",
        )
    text = " ".join(_COLOURS.sub("", str(innermost)).split())[:300]
    what = {
        "export": "PyTorch cannot make an ONNX model of it",
        "open": "PyTorch cannot load it",
        "run": "PyTorch cannot run it",
    }[frame.kind]
    return InvalidModel(what, got=f"{type(innermost).__name__}: {text}", next_step="Export it anew.")


if __name__ == "__main__":
    logging.disable(logging.INFO)
    programs = _Programs()
    child.serve({"export": programs.export, "open": programs.open, "run": programs.run}, _failed)
