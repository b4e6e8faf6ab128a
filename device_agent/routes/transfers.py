"""Routes about blobs and their resumable uploads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from device_agent.errors import InvalidRequest
from device_agent.routes import agent_of
from device_agent.uploads import MAX_CHUNK_BYTES, Upload
from device_agent.web import body, number

_TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}


async def head_blob(request: Request) -> Response:
    """Whether a blob is here: 200 with its size, or 404."""
    size = await asyncio.to_thread(agent_of(request).store.blob_size, request.path_params["digest"])
    if size is None:
        return Response(status_code=404)
    return Response(headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"})


async def create_upload(request: Request) -> Response:
    """Begin an upload, or find the unfinished one of that blob."""
    length = number(request, "upload-length")
    digest = request.headers.get("upload-digest", "")
    upload = await asyncio.to_thread(agent_of(request).uploads.create, digest, length)
    return Response(status_code=201, headers={**_state(upload), "Location": f"/edge/v1/uploads/{upload.id}"})


async def head_upload(request: Request) -> Response:
    """How far an upload has come, or 404."""
    upload = await asyncio.to_thread(agent_of(request).uploads.find, request.path_params["id"])
    if upload is None:
        return Response(status_code=404)
    return Response(headers=_state(upload))


async def append_chunk(request: Request) -> Response:
    """Add a chunk."""
    offset = number(request, "upload-offset")
    checksum = _checksum(request.headers.get("upload-checksum", ""))
    chunk = await body(request, MAX_CHUNK_BYTES)
    upload = await asyncio.to_thread(
        agent_of(request).uploads.append, request.path_params["id"], offset, chunk, checksum
    )
    return Response(status_code=204, headers=_state(upload))


def _checksum(header: str) -> bytes:
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if algorithm != "sha256" or len(digest) != hashlib.sha256().digest_size:
        raise InvalidRequest(
            "a header is missing or malformed",
            where="upload-checksum",
            got=repr(header[:80]),
            expected="sha256 <base64>",
        )
    return digest


def _state(upload: Upload) -> dict[str, str]:
    return {**_TUS, "Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)}


ROUTES = [
    Route("/edge/v1/blobs/{digest}", head_blob, methods=["HEAD"]),
    Route("/edge/v1/uploads", create_upload, methods=["POST"]),
    Route("/edge/v1/uploads/{id}", head_upload, methods=["HEAD"]),
    Route("/edge/v1/uploads/{id}", append_chunk, methods=["PATCH"]),
]
