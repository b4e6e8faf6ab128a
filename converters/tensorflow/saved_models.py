"""SavedModel folders, by their signature `serving_default` or the only one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.tensorflow.job import Job
from converters.tensorflow.source import Source, declared
from device_agent.errors import InvalidModel, UnsupportedOperator

DEFAULT = "serving_default"
_AGAIN = "Copy the whole folder again, or export the model anew."
_EXPORT = (
    "Export it with one: `model.export('folder')` in Keras, or `tf.saved_model.save(module, 'folder', "
    "signatures=module.function.get_concrete_function(...))`."
)
# operators that read and write files or call back into Python; a model has no business with them
_REACHING = frozenset(
    """
    ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc WholeFileReader
    WholeFileReaderV2 TextLineReader TextLineReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2
    TFRecordReader TFRecordReaderV2 LMDBReader Save SaveSlices Restore RestoreSlice DebugIdentity
    DebugIdentityV2 CreateSummaryFileWriter CreateSummaryDbWriter RpcCall RpcClient RpcServer PrintV2
    DatasetToTFRecord SaveDataset SaveDatasetV2 LoadDataset TFRecordDataset TextLineDataset
    FixedLengthRecordDataset
    """.split()  # noqa: SIM905 - a list of as many quoted words is harder to read
)
_SAVING = frozenset({"SaveV2", "MergeV2Checkpoints", "RestoreV2"})


def open_folder(job: Job) -> Source:
    """The model in a SavedModel folder.

    Raises:
        InvalidModel: truncated, corrupt, without weights, or without a signature to choose.
        UnsupportedOperator: it holds operators that reach files or Python.
    """
    import tensorflow as tf

    tags, names = _examine(job.path)
    name = DEFAULT if DEFAULT in names else names[0]
    if name != DEFAULT and len(names) > 1:
        raise InvalidModel(
            "the SavedModel has several signatures, none of them the default",
            where=job.path,
            got=", ".join(names),
            expected=DEFAULT,
            next_step=f"Export it with the one you mean as {DEFAULT!r}.",
        )
    try:
        loaded = tf.saved_model.load(job.path, tags=tags)
        signature = loaded.signatures[name]
    except Exception as e:  # errors of TensorFlow, of its file systems and of protobuf
        raise InvalidModel(
            "TensorFlow cannot load the SavedModel",
            where=job.path,
            got=f"{type(e).__name__}: " + " ".join(str(e).split())[:300],
            next_step=_AGAIN,
        ) from e
    specs: dict[str, Any] = signature.structured_input_signature[1]
    outputs = list(signature.structured_outputs)
    inputs = tuple(declared(key, spec.dtype, spec.shape, job.path) for key, spec in specs.items())

    def call(tensors: list[Any]) -> list[Any]:
        made = signature(**dict(zip(specs, tensors, strict=True)))
        return [made[key] for key in outputs]

    return Source(inputs, tuple(outputs), call, loaded)


def _examine(path: str) -> tuple[list[str], list[str]]:
    """The tags of the graph that serves and the names of its signatures; nothing is loaded yet."""
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        stored = saved_model_pb2.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())
    except Exception as e:  # protobuf's DecodeError has a different home in each of its implementations
        raise InvalidModel(
            "saved_model.pb is truncated, corrupt or no SavedModel",
            where=path,
            got=str(e)[:200],
            next_step=_AGAIN,
        ) from e
    graphs = list(stored.meta_graphs)
    if not graphs:
        raise InvalidModel("saved_model.pb holds no graph", where=path, next_step=_AGAIN)
    graph = next((graph for graph in graphs if "serve" in graph.meta_info_def.tags), graphs[0])
    names = [
        name for name in graph.signature_def if not name.startswith("__saved_model_")
    ]  # such are TensorFlow's own
    reaching = _reaching(graph)
    if reaching:
        raise UnsupportedOperator(
            "the SavedModel reaches files or Python code, which a model file may not do here",
            where=path,
            got=", ".join(reaching),
            next_step="Export the model without its input pipeline.",
        )
    if not names:
        raise InvalidModel("the SavedModel has no signatures", where=path, next_step=_EXPORT)
    return list(graph.meta_info_def.tags), sorted(names)


def _reaching(graph: Any) -> list[str]:
    """The operators of a MetaGraphDef that reach files or Python code.

    Every SavedModel holds functions that save and restore its variables, which nobody calls: in those that
    can be called such operators count too.
    """
    bodies = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    nodes = [*graph.graph_def.node, *(node for body in bodies.values() for node in body)]
    found = {node.op for node in nodes} & _REACHING
    waiting, seen = list(graph.object_graph_def.concrete_functions), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in bodies.get(name, ()):
            found |= {node.op} & _SAVING
            for value in node.attr.values():
                waiting += [value.func.name, *(function.name for function in value.list.func)]
    return sorted(found)
