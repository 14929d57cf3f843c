"""Networks for pictures of 32 pixels that papers on mixing use and torchvision and timm lack.

Convolutions begin as in He et al., arXiv:1502.01852. The last map is averaged whatever its size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class PreActBlock(nn.Module):
    """He et al., Identity mappings in deep residual networks, arXiv:1603.05027."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        self.shortcut = _conv(inputs, outputs, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        active = functional.relu(self.bn1(x))
        x = x if self.shortcut is None else self.shortcut(active)
        return x + self.conv2(functional.relu(self.bn2(self.conv1(active))))


class ResNeXtBlock(nn.Module):
    """Xie et al., Aggregated residual transformations, arXiv:1611.05431, block (c)."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, base: int):
        super().__init__()
        inner = outputs // 4 * base // 64 * groups  # channels of all groups
        self.residual = nn.Sequential(
            *(_conv(inputs, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()),
            *(_conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner), nn.ReLU()),
            *(_conv(inner, outputs, 1), nn.BatchNorm2d(outputs)),
        )
        convolved = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.shortcut = convolved if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        return functional.relu(self.shortcut(x) + self.residual(x))


class PyramidBlock(nn.Module):
    """Han, Kim and Kim, Deep pyramidal residual networks, arXiv:1610.02915, with a bottleneck."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        inner = outputs // 4
        self.residual = nn.Sequential(
            *(nn.BatchNorm2d(inputs), _conv(inputs, inner, 1)),
            *(nn.BatchNorm2d(inner), nn.ReLU(), _conv(inner, inner, 3, stride)),
            *(nn.BatchNorm2d(inner), nn.ReLU(), _conv(inner, outputs, 1), nn.BatchNorm2d(outputs)),
        )
        self.shortcut = nn.AvgPool2d(stride, ceil_mode=True)
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's output; channels that the input lacks are 0."""
        return self.residual(x) + functional.pad(self.shortcut(x), (0, 0, 0, 0, 0, self.added))


class CifarNet(nn.Module):
    """A stem, layers of blocks (``layer1`` and so on), and a linear classifier, ``fc``.

    Args:
        num_classes: Width of the output.
        block: Makes a block of so many channels in and out, and a stride.
        stem: Channels and stride of the first convolution.
        widths: Of each layer, the channels of each block; all but the first begin with stride 2.
        after_stem: What follows the first convolution.
        last_norm: Whether a norm and a ReLU follow the last block.
    """

    def __init__(
        self,
        num_classes: int,
        block: Callable[[int, int, int], nn.Module],
        stem: tuple[int, int],
        widths: Iterable[list[int]],
        after_stem: tuple[nn.Module, ...] = (),
        last_norm: bool = False,
    ):
        super().__init__()
        channels, stride = stem
        self.stem = nn.Sequential(_conv(3, channels, 3, stride), *after_stem)
        self.layer_names = []
        for number, outputs in enumerate(widths, 1):
            blocks = []
            for index, width in enumerate(outputs):
                blocks.append(block(channels, width, 2 if number > 1 and index == 0 else 1))
                channels = width
            self.layer_names.append(f"layer{number}")
            self.add_module(self.layer_names[-1], nn.Sequential(*blocks))
        last = [nn.BatchNorm2d(channels), nn.ReLU()] if last_norm else []
        self.last = nn.Sequential(*last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, num_classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        for name in self.layer_names:
            x = self.get_submodule(name)(x)
        return self.fc(self.last(x))


def preactresnet18(num_classes: int, stride: int = 1) -> CifarNet:
    """The pre-activation ResNet-18 of manifold mixup's code, without a norm at its end."""
    widths = [[64 * 2**layer] * 2 for layer in range(4)]
    return CifarNet(num_classes, PreActBlock, (64, stride), widths)


def wide_resnet(num_classes: int, depth: int, factor: int) -> CifarNet:
    """Zagoruyko and Komodakis, Wide residual networks, arXiv:1605.07146."""
    widths = [[16 * factor * 2**layer] * ((depth - 4) // 6) for layer in range(3)]
    return CifarNet(num_classes, PreActBlock, (16, 1), widths, last_norm=True)


def resnext29(num_classes: int, groups: int, base: int) -> CifarNet:
    """ResNeXt-29 of so many groups, whose width is ``base`` in the first layer."""
    block = functools.partial(ResNeXtBlock, groups=groups, base=base)
    widths = [[256 * 2**layer] * 3 for layer in range(3)]
    return CifarNet(num_classes, block, (64, 1), widths, (nn.BatchNorm2d(64), nn.ReLU()))


def pyramidnet(num_classes: int, depth: int, alpha: int) -> CifarNet:
    """PyramidNet with bottlenecks, which widens by ``alpha`` in all."""
    each = (depth - 2) // 9
    grown = [4 * round(16 + alpha * (k + 1) / (3 * each)) for k in range(3 * each)]
    widths = [grown[k : k + each] for k in range(0, 3 * each, each)]
    return CifarNet(num_classes, PyramidBlock, (16, 1), widths, (nn.BatchNorm2d(16),), True)


CIFAR_NETS = {
    "preactresnet18": preactresnet18,
    "preactresnet18_tiny": functools.partial(preactresnet18, stride=2),  # of 64 pixels
    "wrn16_8": functools.partial(wide_resnet, depth=16, factor=8),
    "wrn28_10": functools.partial(wide_resnet, depth=28, factor=10),
    "resnext29_4x24": functools.partial(resnext29, groups=4, base=24),
    "pyramidnet200_240": functools.partial(pyramidnet, depth=200, alpha=240),
}
"""Each made of a number of classes."""
