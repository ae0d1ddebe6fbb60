"""resnet18 and resnet34: residual networks whose stem and four stages are the layers."""

from pathlib import Path

import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from raytrain.config.encoders import ResnetSettings
from raytrain.encoders.base import Encoder, EncoderLayer
from raytrain.errors import DataError
from raytrain.layers import GlobalBatchNorm2d

PREFIXES = ("module.", "model.", "backbone.", "encoder.")
"""that checkpoints put before every name"""


class StemLayer(EncoderLayer):
    """Convolution 7 x 7 at stride 2, batch norm, ReLU, max pool 3 x 3 at stride 2."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        self.norm = GlobalBatchNorm2d(channels)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map that carries the representation and the next layer's input, here the same."""
        pooled = F.max_pool2d(self.norm(self.conv(maps)).relu_(), 3, stride=2, padding=1)
        return pooled, pooled

    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""
        return 4 * size_px - 3


class Block(nn.Module):
    """Two convolutions 3 x 3 with batch norm, added to the input or, where its size changes, a projection."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = GlobalBatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = GlobalBatchNorm2d(channels)
        self.shortcut: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, GlobalBatchNorm2d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return [N, C, h, w] at half the size where the stride is 2."""
        kept = maps if self.shortcut is None else self.shortcut(maps)
        maps = self.norm1(self.conv1(maps)).relu_()
        summed: Tensor = self.norm2(self.conv2(maps)) + kept
        return summed.relu_()


class StageLayer(EncoderLayer):
    """Several blocks, the first at the stage's stride."""

    def __init__(self, in_channels: int, channels: int, *, num_blocks: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        blocks = [Block(in_channels, channels, stride=stride)]
        blocks += [Block(channels, channels, stride=1) for _ in range(num_blocks - 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map that carries the representation and the next layer's input, here the same."""
        activity = self.blocks(maps)
        return activity, activity

    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""
        return self.stride * (size_px - 1) + 1


def build_resnet(config: ResnetSettings, *, in_channels: int) -> Encoder:
    """Return 64, 64, 128, 256, 512 channels, times `config.width`, at 1/4, 1/4, 1/8, 1/16, 1/32 of the size.

    At width 1 and three input channels 11,176,512 (resnet18) and 21,284,672 (resnet34) parameters. Kernels
    are drawn from a normal distribution of variance 2 / fan out. `config.pretrained` is loaded where set.

    Source: He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition", basic blocks.
    """
    stem, *stages = config.channels
    layers: list[EncoderLayer] = [StemLayer(in_channels, stem)]
    before = stem
    for index, (channels, num_blocks) in enumerate(zip(stages, config.num_blocks, strict=True)):
        layers.append(StageLayer(before, channels, num_blocks=num_blocks, stride=1 if index == 0 else 2))
        before = channels
    encoder = Encoder(layers, channels=config.channels)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, Block) and config.zero_init_residual:
            nn.init.zeros_(module.norm2.weight)
    if config.pretrained and not next(encoder.parameters()).is_meta:  # there they are only counted
        load_pretrained(encoder, Path(config.pretrained))
    return encoder


def load_pretrained(encoder: Encoder, path: Path) -> list[str]:
    """Load torchvision's or timm's weights of the same network; return what they left at its initial values.

    That is a first convolution for another number of channels, and counters of batches; the classifier is
    dropped.

    Raises:
        DataError: the file cannot be read, or holds another network.
    """
    try:
        stored = load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set encoder.pretrained to a safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error}); convert the weights first") from None
    ours = encoder.state_dict()
    found = {_our_name(name): values for name, values in stored.items() if not _of_classifier(name)}
    counters = {name for name in ours if name.endswith("num_batches_tracked")}  # left out by some writers
    first = "layers.0.conv.weight"
    left = sorted(counters - found.keys())
    if first in found and found[first].shape[1] != ours[first].shape[1]:
        del found[first]
        left.append(first)
    missing = sorted(ours.keys() - found.keys() - set(left))
    unknown = sorted(found.keys() - ours.keys())
    shapes = sorted(name for name in found.keys() & ours.keys() if found[name].shape != ours[name].shape)
    if missing or unknown or shapes:
        wrong = {"without": missing, "unknown": unknown, "another shape of": shapes}
        named = [f"{word} {names[0]}" for word, names in wrong.items() if names]
        raise DataError(f"{path}: weights of another network ({'; '.join(named)}); set encoder.name to match")
    encoder.load_state_dict(ours | found)
    return left


def _of_classifier(name: str) -> bool:
    return _bare(name).startswith(("fc.", "head."))


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _our_name(name: str) -> str:
    """Return the encoder's name of a weight, e.g. layers.2.blocks.0.norm1.bias of layer2.0.bn1.bias."""
    first, _, rest = _bare(name).partition(".")
    if first == "conv1":
        return f"layers.0.conv.{rest}"
    if first == "bn1":
        return f"layers.0.norm.{rest}"
    if first.startswith("layer") and first[5:].isdigit():
        rest = rest.replace("bn", "norm").replace("downsample", "shortcut")
        return f"layers.{first[5:]}.blocks.{rest}"
    return name
