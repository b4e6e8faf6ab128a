"""The TFLite runtime (`tflite-runtime`): LiteRT under its older name, and the last for 32-bit ARM.

It knows the operators up to its own version; a newer one is refused while the model is loaded, before it
is activated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from device_agent.runtimes.litert import LiteRT


class TFLite(LiteRT):
    """The runtime; see the module. Its interpreter is LiteRT's, so its sessions are."""

    name = "tflite"
    distribution = "tflite-runtime"

    def interpreter(self) -> Any:
        """The class that runs models: LiteRT's, which reads the same files, where this one is not installed.

        So a host computes what a device is compared with; a device is asked for its version first. With the
        reference kernels, as tflite-runtime runs int8 without XNNPACK, which rounds in other ways: on
        ResNet-8 they came out 24 of 256 steps apart, in LiteRT itself too.
        """
        if self.version() is None:
            from ai_edge_litert.interpreter import OpResolverType

            return partial(super().interpreter(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        from tflite_runtime.interpreter import Interpreter

        return Interpreter
