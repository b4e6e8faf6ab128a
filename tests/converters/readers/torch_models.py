"""PyTorch modules for tests: one with what typical vision networks are made of, and small ones."""

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        weights = functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.up(weights))


class Inverted(nn.Module):
    """MobileNet's block: expand, depthwise, squeeze and excite, project; with its input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            SqueezeExcite(wide),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return x + self.body(x)


class Residual(nn.Module):
    """ResNet's block, with a projection of its input."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.short = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        return functional.relu(self.second(self.first(x)) + self.short(x))


class Encoder(nn.Module):
    """A transformer's block: multi-head self attention and a perceptron, each normalised and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.perceptron(self.after(x))


class Shown(nn.Module):
    """Residual blocks, depthwise convolutions, squeeze and excite, and attention: image to class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.blocks = nn.Sequential(Inverted(16), Residual(16, 32), Inverted(32))
        self.encoder = Encoder(32, 4)
        self.head = nn.Linear(32, 10)

    def forward(self, image):
        tokens = self.blocks(self.stem(image)).flatten(2).transpose(1, 2)
        return self.head(self.encoder(tokens).mean(1))


class Nested(nn.Module):
    """Nested and keyword inputs, a fixed flag, an unused input; a dict, a list, None and repeats come out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x, pair, flag=True, *, scale=None, unused=None):
        y = self.linear(x) * (2 if flag else 3)
        y = y * scale
        return {"logits": y, "again": y, "x": x, "aux": [pair[0] + pair[1]["key"], None, (x.sum(),)]}


def nested() -> torch.export.ExportedProgram:
    """`Nested`, its batch open."""
    pair = (torch.zeros(3), {"key": torch.zeros(3)})
    keywords = {"scale": torch.ones(1), "flag": False, "unused": torch.ones(5)}
    sizes = {"x": {0: torch.export.Dim("batch")}, "pair": (None, {"key": None})}
    sizes |= dict.fromkeys(keywords)
    return torch.export.export(seeded(Nested()), (torch.zeros(2, 8), pair), keywords, dynamic_shapes=sizes)


def seeded(module: nn.Module) -> nn.Module:
    """The module in inference mode, its weights and running statistics from seed 0."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.dtype.is_floating_point:
            drawn = torch.rand(tensor.shape, generator=generator)
            centred = drawn + 0.5 if name.endswith("running_var") else drawn - 0.5
            # as wide as keeps a layer's output about as large as its input
            tensor.copy_(centred / max(1.0, (tensor[0].numel() if tensor.dim() > 1 else 1) ** 0.5) * 2)
    return module.eval()


def save(folder: Path) -> Path:
    """Save `shown.pt2`, its batch open, and `nested.pt2` in the folder."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():  # torch's deprecated parts use each other
        warnings.simplefilter("ignore")
        shown = torch.export.export(
            seeded(Shown()), (torch.zeros(2, 3, 32, 32),), dynamic_shapes={"image": {0: batch}}
        )
        torch.export.save(shown, folder / "shown.pt2")
        torch.export.save(nested(), folder / "nested.pt2")
    return folder
