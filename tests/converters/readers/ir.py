"""A small OpenVINO IR, written by hand so that tests need not import openvino: y = x * w, float32[?, 4]."""

from pathlib import Path

import numpy as np

WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)
_FLOAT = 'precision="FP32"'


def _port(number: int, sizes: tuple[int, ...], name: str = "") -> str:
    dimensions = "".join(f"<dim>{size}</dim>" for size in sizes)
    named = f'names="{name}"' if name else ""
    return f'<port id="{number}" {_FLOAT} {named}>{dimensions}</port>'


_BODY = f"""<?xml version="1.0"?>
<net name="product" version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1">
      <data shape="?,4" element_type="f32"/><output>{_port(0, (-1, 4), "image")}</output>
    </layer>
    <layer id="1" name="w" type="Const" version="opset1">
      <data element_type="f32" shape="4, 2" offset="0" size="32"/><output>{_port(0, (4, 2))}</output>
    </layer>
    <layer id="2" name="product" type="MatMul" version="opset1">
      <data transpose_a="false" transpose_b="false"/>
      <input>{_port(0, (-1, 4))}{_port(1, (4, 2))}</input><output>{_port(2, (-1, 2), "scores")}</output>
    </layer>
    <layer id="3" name="result" type="Result" version="opset1"><input>{_port(0, (-1, 2))}</input></layer>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
    <edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
    <edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
  </edges>
  <rt_info/>
</net>
"""


def write(path: Path) -> Path:
    """Write `path` (an .xml) and the .bin beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".bin").write_bytes(WEIGHTS.tobytes())
    path.write_text(_BODY)
    return path
