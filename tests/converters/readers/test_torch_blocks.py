"""Building blocks of typical PyTorch networks against torch, exported and converted in one go."""

import pytest

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'edge-deployment-sdk[torch]'"
)
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import numpy as np  # noqa: E402 - after what may skip
from torch.utils import _pytree as pytree  # noqa: E402

from converters.backends.litert import backend  # noqa: E402
from converters.partition.types import Recipe  # noqa: E402
from converters.quantize.accuracy.fidelity import runner  # noqa: E402
from converters.readers import onnx  # noqa: E402
from converters.shaping import Shaping  # noqa: E402
from tests.converters.readers.torch_blocks import IMAGES, TOKENS, Blocks  # noqa: E402
from tests.converters.readers.torch_models import seeded  # noqa: E402

pytestmark = pytest.mark.filterwarnings(  # torch's own chatter: its deprecated parts use each other
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
TOLERANCE = 1e-4  # of the greatest value, or absolute where that is below 1


@pytest.fixture(scope="session")
def answers(tmp_path_factory) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """What torch and the converted model compute, per block."""
    module = seeded(Blocks())
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 8, 12, 12, generator=generator)
    tokens = torch.randn(1, 10, 16, generator=generator)
    expected = module(image, tokens)
    program = torch.export.export(module, (image, tokens))
    file = tmp_path_factory.mktemp("blocks") / "blocks.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(file)
    model = onnx.reader.read(file, Shaping())
    _, verdicts = onnx.reader.lower(model)
    refused = [str(verdict) for verdict in verdicts if not verdict.ok]
    assert [] == refused
    artifact = backend.compile(model, Recipe("float32", "float"), None, lambda *_: None)
    got = iter(runner(artifact)({"image": image.numpy(), "tokens": tokens.numpy()}).values())
    return {
        name: [(leaf.detach().numpy(), next(got)) for leaf in pytree.tree_leaves(value)]
        for name, value in expected.items()
    }


@pytest.mark.parametrize("name", [*IMAGES, *TOKENS])
def test_a_block_computes_what_torch_computes(answers, name):
    """Shape, dtype and values of every tensor are torch's."""
    for expected, got in answers[name]:
        assert (expected.shape, expected.dtype) == (got.shape, got.dtype)
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * max(1.0, np.abs(expected).max()))
