"""Building blocks of typical networks, each small: name -> what computes it, from which input.

`image` is float32[1, 8, 12, 12], `tokens` float32[1, 10, 16].
"""

import torch
from torch import nn
from torch.nn import functional as f


class First(nn.Module):
    """A recurrent layer's sequence and last state, as one tuple of tensors."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        sequence, state = self.layer(x)
        return (sequence, *state) if isinstance(state, tuple) else (sequence, state)


class Attend(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv, self.causal = nn.Linear(16, 48), causal

    def forward(self, x):
        query, key, value = self.qkv(x).reshape(1, 10, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = f.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return mixed.transpose(1, 2).reshape(1, 10, 16)


class MultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x)  # with its weights


class Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)

    def forward(self, x):
        return self.table((x * 10).clamp(0, 19).to(torch.int64))


def _grid(x):
    return f.grid_sample(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)), align_corners=False)


def _windows(x):
    return x.permute(0, 2, 3, 1).reshape(1, 3, 4, 3, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 8)


IMAGES = {
    "conv": nn.Conv2d(8, 16, 3, 2, 1),
    "conv_dilated": nn.Conv2d(8, 16, 3, padding=2, dilation=2),
    "conv_depthwise": nn.Conv2d(8, 16, 3, padding=1, groups=8),
    "conv_grouped": nn.Conv2d(8, 16, 3, groups=2),
    "conv_same": nn.Conv2d(8, 8, 5, padding="same"),
    "conv_reflected": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "conv_circular": nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    "conv_transpose": nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1),
    "conv_transpose_grouped": nn.ConvTranspose2d(8, 8, 2, 2, groups=2),
    "batch_norm": nn.BatchNorm2d(8),
    "group_norm": nn.GroupNorm(4, 8),
    "instance_norm": nn.InstanceNorm2d(8, affine=True),
    "prelu": nn.PReLU(8),
    "hardswish": f.hardswish,
    "hardsigmoid": f.hardsigmoid,
    "silu": f.silu,
    "mish": f.mish,
    "relu6": f.relu6,
    "elu": f.elu,
    "softplus": f.softplus,
    "bilinear": lambda x: f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "bilinear_corners": lambda x: f.interpolate(x, (20, 17), mode="bilinear", align_corners=True),
    "nearest": lambda x: f.interpolate(x, scale_factor=2.0),
    "nearest_to_size": lambda x: f.interpolate(x, (30, 7)),
    "bicubic": lambda x: f.interpolate(x, scale_factor=2, mode="bicubic"),
    "pixel_shuffle": lambda x: f.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: f.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: f.channel_shuffle(x, 2),
    "max_pool": lambda x: f.max_pool2d(x, 3, 2, 0, ceil_mode=True),
    "avg_pool": lambda x: f.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_avg_pool": lambda x: f.adaptive_avg_pool2d(x, 4),
    "adaptive_max_pool": lambda x: f.adaptive_max_pool2d(x, 3),
    "grid_sample": _grid,
    "im2col": lambda x: f.unfold(x, 3, padding=1),
    "windows": _windows,
    "focus": lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2]], 1),
}

TOKENS = {
    "linear": nn.Linear(16, 8),
    "conv1d": nn.Conv1d(10, 6, 3, padding=1),
    "layer_norm": nn.LayerNorm(16),
    "gelu": f.gelu,
    "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"),
    "glu": f.glu,
    "softmax": lambda x: f.softmax(x, 1),
    "log_softmax": lambda x: f.log_softmax(x, -1),
    "normalize": f.normalize,
    "rms_norm": lambda x: f.rms_norm(x, (16,)),
    "gru": First(nn.GRU(16, 8, 2, batch_first=True, bidirectional=True)),
    "lstm": First(nn.LSTM(16, 8, batch_first=True, bidirectional=True)),
    "attention": Attend(causal=False),
    "attention_causal": Attend(causal=True),
    "multi_head": MultiHead(),
    "encoder": nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu"),
    "embedding": Embed(),
    "einsum": lambda x: torch.einsum("bnc,bmc->bnm", x, x),
    "matmul": lambda x: x @ x.transpose(1, 2),
    "cumsum": lambda x: x.cumsum(1),
    "topk": lambda x: x.topk(3, -1),
    "sort": lambda x: x.sort(-1, descending=True)[0],
    "argmax": lambda x: x.argmax(1),
    "roll": lambda x: x.roll((1, 2), (1, 2)),
    "flip": lambda x: x.flip(1),
    "unfold": lambda x: x.unfold(1, 3, 2),
    "index_select": lambda x: x.index_select(1, torch.tensor([0, 3, 2])),
    "gather": lambda x: x.gather(1, torch.full((1, 3, 16), 2)),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1.0),
    "where": lambda x: torch.where(x > 0, x, -2 * x),
    "chunk": lambda x: x.chunk(4, -1),
    "split": lambda x: x.split([3, 7], 1),
    "stack": lambda x: torch.stack([x, x * 2], 1),
    "repeat": lambda x: x.repeat_interleave(2, 1),
    "tril": torch.tril,
    "variance": lambda x: x.var(1),
    "rotary": lambda x: torch.cat([-x[..., 8:], x[..., :8]], -1) * torch.sin(x) + x * torch.cos(x),
    "remainder": lambda x: torch.remainder(x * 10, 3),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
}


class Blocks(nn.Module):
    """All of them in one module, so that they are exported in one go: a dict of what each computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: block for name, block in (IMAGES | TOKENS).items() if isinstance(block, nn.Module)}
        )

    def forward(self, image, tokens):
        def run(name, block, x):
            layer = self.layers[name] if name in self.layers else block  # noqa: SIM401 - no ModuleDict.get
            return layer(x)

        answers = {name: run(name, block, image) for name, block in IMAGES.items()}
        return answers | {name: run(name, block, tokens) for name, block in TOKENS.items()}
