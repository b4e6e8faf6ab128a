"""The TFLite runtime (`tflite-runtime`): LiteRT under its older name, and the last for 32-bit ARM.

It knows the operators up to its own version; a newer one is refused while the model is loaded, before it
is activated.
"""

from __future__ import annotations

from typing import Any

from device_agent.runtimes.litert import LiteRT


class TFLite(LiteRT):
    """The runtime; see the module. Its interpreter is LiteRT's, so its sessions are."""

    name = "tflite"
    distribution = "tflite-runtime"

    def interpreter(self) -> Any:
        """The class that runs models: LiteRT's, which reads the same files, where this one is not installed.

        So a host computes what a device is compared with; a device is asked for its version first.
        """
        if self.version() is None:
            return super().interpreter()
        from tflite_runtime.interpreter import Interpreter

        return Interpreter
