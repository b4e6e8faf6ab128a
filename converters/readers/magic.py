"""What a file is, by its first bytes: to tell a user who gave it the wrong ending."""

from __future__ import annotations

from attrs import frozen


@frozen
class Signature:
    """A format: what to call it, what to do with it, and the bytes it has at an offset."""

    name: str
    advice: str
    bytes: bytes
    offset: int = 0


_PYTORCH = "PyTorch models are given as exported programs: torch.export.save(program, 'model.pt2')."
_ANOTHER = "Give the model file itself."
_SIGNATURES = (
    Signature("a TFLite file", "Rename it to end in .tflite.", b"TFL3", 4),
    Signature("an ONNX Runtime file (ORT format)", "Give the ONNX file that it was made from.", b"ORTM", 4),
    Signature(
        "an HDF5 file, as Keras writes them", "Rename it to end in .h5 or .keras.", b"\x89HDF\r\n\x1a\n"
    ),
    Signature(
        "a zip archive, as PyTorch and Keras write them",
        "Rename it to end in .pt2 or .keras, whichever it is.",
        b"PK\x03\x04",
    ),
    *(
        Signature("a Python pickle, as torch.save writes it", _PYTORCH, b"\x80" + bytes([v]))
        for v in range(2, 6)
    ),
    Signature(
        "a Git LFS pointer, not the file itself", "Fetch it: `git lfs pull`.", b"version https://git-lfs"
    ),
    Signature("an XML file, as OpenVINO writes them", "Rename it to end in .xml.", b"<?xml"),
    Signature("a web page", "Download the file anew, not the page that shows it.", b"<!DOCTYPE"),
    Signature("a web page", "Download the file anew, not the page that shows it.", b"<html"),
    Signature("a gzip archive", "Unpack it first: `gunzip`.", b"\x1f\x8b"),
    Signature("a NumPy array", _ANOTHER, b"\x93NUMPY"),
    Signature("a GGUF file", "Language models for llama.cpp cannot be converted.", b"GGUF"),
    Signature("a PNG image", _ANOTHER, b"\x89PNG"),
    Signature("a PDF document", _ANOTHER, b"%PDF"),
    Signature("an ELF binary", _ANOTHER, b"\x7fELF"),
)


def recognize(head: bytes) -> Signature | None:
    """The format whose signature the first bytes of a file bear, None where it is none of those known."""
    for signature in _SIGNATURES:
        if head.startswith(signature.bytes, signature.offset):
            return signature
    return None
