#!/usr/bin/env python3
"""Write docs/agent-openapi.json: the agent's routes, with the protocol's types as schemas.

python scripts/gen_openapi.py [--check]
"""

from __future__ import annotations

import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import attrs

from device_agent import protocol
from device_agent.bundle import Preprocessing
from device_agent.errors import tree
from device_agent.protocol import (
    AgentInfo,
    BenchmarkRequest,
    CompareRequest,
    DeploymentStatus,
    DeployRequest,
    HistoryEntry,
    Queried,
    QueryRequest,
    RuntimeDevice,
    SignatureStatus,
)

PATH = Path(__file__).resolve().parents[1] / "docs/agent-openapi.json"
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
SIZE = {"type": "integer", "minimum": 0}
ERROR = {
    "type": "object",
    "required": ["error", "code", "what"],
    "properties": {
        **{key: {"type": "string"} for key in ("error", "what", "where", "got", "expected", "next_step")},
        "code": {"enum": [kind.code for kind in tree()]},
    },
}
TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
INFER = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
MODEL = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
TUS = {name: {"schema": SIZE} for name in ("Upload-Offset", "Upload-Length")}


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type of the protocol."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    if attrs.has(kind):
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [{"type": "null"} if part is types.NoneType else schema(part) for part in arguments]}
    return {"type": "array", "items": schema(arguments[0])} if origin is tuple else {"type": "object"}


def component(kind: type) -> dict[str, Any]:
    """An attrs class as a schema."""
    hints = typing.get_type_hints(kind)
    fields = attrs.fields(kind)
    return {
        "type": "object",
        "description": (kind.__doc__ or "").split("\n")[0],
        "properties": {field.name: schema(hints[field.name]) for field in fields},
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
    }


def header(name: str, shape: dict[str, Any]) -> dict[str, Any]:
    """A header that a request must have."""
    return {"name": name, "in": "header", "required": True, "schema": shape}


def query(name: str, shape: dict[str, Any]) -> dict[str, Any]:
    """A parameter that a request may have."""
    return {"name": name, "in": "query", "schema": shape}


def route(
    what: str,
    answer: Any = None,
    *,
    status: int = 200,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    media_type: str = "application/json",
    error: bool = True,
) -> dict[str, Any]:
    """One operation; without `error` its refusals have no body (HEAD)."""
    success: dict[str, Any] = {"description": what}
    if answer is not None:
        success["content"] = {media_type: {"schema": answer}}
    if headers is not None:
        success["headers"] = headers
    refusal: dict[str, Any] = {"description": "refused"}
    if error:
        refusal["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        "summary": what,
        "responses": {str(status): success, "4XX": refusal, "5XX": refusal},
    }
    if parameters is not None:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def events(what: str, body: type | None = None) -> dict[str, Any]:
    """An operation on a model that answers with events."""
    asked = None if body is None else {"application/json": {"schema": schema(body)}}
    text = {"type": "string", "description": "newline-delimited JSON, each line an Event"}
    return route(what, text, parameters=MODEL, body=asked, media_type=protocol.EVENTS_MEDIA_TYPE)


def metadata() -> dict[str, Any]:
    """What a model takes and gives; how images become its input, where it was made with images."""
    tensors = {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}}
    parameters = {"type": "object", "properties": {"preprocessing": component(Preprocessing)}}
    properties = {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": tensors,
        "outputs": tensors,
        "parameters": parameters,
    }
    return {"type": "object", "properties": properties, "required": list(properties)[:-1]}


def inference(prefix: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """The routes of one model by the Open Inference Protocol."""
    of_model = {"parameters": parameters}
    bodies = {
        "application/json": {"schema": INFER},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    return {
        prefix: {"get": route("Inputs and outputs of a model", metadata(), **of_model)},
        f"{prefix}/ready": {"get": route("Whether a model is active", {"type": "object"}, **of_model)},
        f"{prefix}/infer": {"post": route("Run a model once", INFER, body=bodies, **of_model)},
    }


def document() -> dict[str, Any]:
    """The whole description."""
    upload = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    blob = [{"name": "digest", "in": "path", "required": True, "schema": DIGEST}]
    chunk = {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    paths = {
        "/edge/v1/agent": {"get": route("The agent and its machine", schema(AgentInfo))},
        "/edge/v1/lease": {"get": route("Held open by a host; an on-demand agent ends when none is left",
                                        {"type": "string"}, media_type=protocol.EVENTS_MEDIA_TYPE)},
        "/edge/v1/agent/keep": {"post": route("An on-demand agent becomes a lasting one", status=204)},
        "/edge/v1/agent/shutdown": {"post": route("End the agent once this is answered", status=204)},
        "/edge/v1/blobs/{digest}": {
            "head": route("Whether a blob is here", parameters=blob, error=False)},
        "/edge/v1/uploads": {"post": route(
            "Begin an upload, or find the unfinished one of that blob", status=201, headers=TUS,
            parameters=[header("Upload-Length", SIZE), header("Upload-Digest", DIGEST)])},
        "/edge/v1/uploads/{id}": {
            "head": route("How far an upload has come", parameters=upload, headers=TUS, error=False),
            "patch": route("Add a chunk", status=204, headers=TUS, body=chunk, parameters=[
                *upload, header("Upload-Offset", SIZE),
                header("Upload-Checksum", {"type": "string", "pattern": "^sha256 [A-Za-z0-9+/]{43}=$"})])},
        "/edge/v1/models": {"get": route("Every deployment", schema(tuple[DeploymentStatus, ...]))},
        "/edge/v1/models/{name}": {
            "get": route("One deployment", schema(DeploymentStatus), parameters=MODEL),
            "delete": route("Remove a deployment", status=204, parameters=MODEL)},
        "/edge/v1/models/{name}/history": {"get": route(
            "How deployments and rollbacks ended", schema(tuple[HistoryEntry, ...]), parameters=MODEL)},
        "/edge/v1/models/{name}/signature": {"get": route(
            "What was signed under a name", schema(SignatureStatus), parameters=MODEL)},
        "/edge/v1/models/{name}/deploy": {"post": events("Activate an uploaded bundle", DeployRequest)},
        "/edge/v1/models/{name}/rollback": {"post": events("Go back to the generation before")},
        "/edge/v1/models/{name}/benchmark": {"post": events("Measure a deployment", BenchmarkRequest)},
        "/edge/v1/models/{name}/compare": {"post": events(
            "Measure uploaded bundles in turns, activating none", CompareRequest)},
        "/edge/v1/models/{name}/query": {"post": route(
            "Which operators of an uploaded bundle's model processors can run", schema(Queried),
            parameters=MODEL, body={"application/json": {"schema": schema(QueryRequest)}})},
        "/edge/v1/runtimes/{name}/devices": {"get": route(
            "The processors that a runtime has", schema(tuple[RuntimeDevice, ...]), parameters=MODEL)},
        "/edge/v1/logs": {"get": route(
            "The newest lines of the agent's log, each a JSON object", {"type": "string"},
            media_type=protocol.EVENTS_MEDIA_TYPE, parameters=[
                query("lines", {"type": "integer", "minimum": 0}), query("follow", {"enum": ["0", "1"]}),
                query("level", {"enum": ["debug", "info", "warning", "error"]})])},
        "/metrics": {"get": route(
            "For Prometheus, text format 0.0.4", {"type": "string"}, media_type="text/plain")},
        "/v2": {"get": route("Name, version and extensions", {"type": "object"})},
        "/v2/health/live": {"get": route("The server runs", {"type": "object"})},
        "/v2/health/ready": {"get": route("Every deployed model can be asked", {"type": "object"})},
        **inference("/v2/models/{name}", MODEL),
        **inference("/v2/models/{name}/versions/{version}", [*MODEL, VERSION]),
    }  # fmt: skip
    kinds = [kind for kind in vars(protocol).values() if isinstance(kind, type) and attrs.has(kind)]
    schemas = {kind.__name__: component(kind) for kind in kinds}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-agent",
            "version": str(protocol.PROTOCOL_VERSION),
            "description": (protocol.__doc__ or "").split("\n")[0],
        },
        "paths": paths,
        "components": {"schemas": {**schemas, "Error": ERROR, "Tensor": TENSOR}},
    }


def main() -> int:
    """Write the file, or say whether it is up to date."""
    text = json.dumps(document(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        return 0 if PATH.read_text() == text else 1
    PATH.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
