"""ResNet encoders for small images: torchvision's blocks under a CIFAR stem, with a feature map at every layer."""

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from mixlab.errors import ParamError, nearest, problem

ENCODERS = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
STEMS = ("cifar", "imagenet")
LAYERS = (1, 2, 3, 4)
MIN_WIDTH, MAX_WIDTH = 8, 256


def label(name, width=64):
    """How an encoder is called in tables and pictures: ``resnet10``, or ``resnet10-w16`` of another first width."""
    return name if width == 64 else f"{name}-w{width}"


class _ResNet(ResNet):
    """torchvision's ResNet with another first width; at 64 its weights are drawn as ever."""

    def __init__(self, block, depths, width):
        self.width = width
        super().__init__(block, list(depths))
        if width != 64:
            self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        if planes == 64:  # the first layer: what comes in are the stem's channels
            self.inplanes = self.width
        return super()._make_layer(block, planes // 64 * self.width, blocks, stride, dilate)


class Encoder(nn.Module):
    """A ResNet without its classifier: images (B, 3, H, W) to features h (B, dim).

    The CIFAR stem is a 3x3 convolution of stride 1 without max-pooling, so that layers 1 to 4 of a 32x32 image are
    maps of 32, 16, 8 and 4 cells a side; the ordinary ``imagenet`` stem is for images of 64 pixels and more.
    Buffers ``mean`` and ``std`` (3,) record how the images it was trained on were normalised.

    Args:
        name: one of ``ENCODERS``.
        stem: ``cifar`` or ``imagenet``.
        width: channels of the stem and of layer 1's blocks, 8 to 256; each layer has twice those of the one before.
            ``dim`` is 8 width, of bottlenecks 32 width. 16 makes an encoder that a CPU trains.
    Raises:
        ParamError: unknown name or stem, or a width out of range.
    Source:
        He et al. 2015, arXiv 1512.03385; the stem of Chen et al. 2020, arXiv 2002.05709, appendix B.9.
        ResNet-10 is ResNet-18 with one block in each layer.
    """

    def __init__(self, name="resnet18", stem="cifar", width=64):
        super().__init__()
        if name not in ENCODERS:
            raise ParamError(problem("encoder", f"one of {', '.join(ENCODERS)}", name, nearest(name, ENCODERS)))
        if stem not in STEMS:
            raise ParamError(problem("stem", f"one of {', '.join(STEMS)}", stem, nearest(stem, STEMS)))
        if isinstance(width, bool) or not isinstance(width, int) or not MIN_WIDTH <= width <= MAX_WIDTH:
            raise ParamError(problem("width", f"a whole number in {MIN_WIDTH}..{MAX_WIDTH}", width))
        block, depths = ENCODERS[name]
        net = _ResNet(block, depths, width)
        conv, pool = net.conv1, net.maxpool
        if stem == "cifar":
            conv, pool = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.Identity()
        self.stem = nn.Sequential(conv, net.bn1, nn.ReLU(inplace=True), pool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.widths = tuple(k * width * block.expansion for k in (1, 2, 4, 8))  # channels of layers 1 to 4
        self.name, self.stem_name, self.width, self.dim = name, stem, width, self.widths[-1]
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("std", torch.full((3,), 0.25))

    def forward(self, images, *, others=None, draw=None):
        """Features h (B, dim) of ``images``; with ``draw``, of their mixtures with ``others`` (B2, 3, H, W).

        The mixtures are made at ``draw.layer``: 0 mixes pixels, 1 to 4 mixes the output of that layer (Manifold Mixup).
        """
        return self._run(images, others, draw)[-1].mean((2, 3))

    def compile(self, dynamic=False, backend="inductor"):
        """Compiles both ways to run it; see ``torch.compile``."""
        super().compile(dynamic=dynamic, backend=backend)
        self.feature_maps = torch.compile(self.feature_maps, dynamic=dynamic, backend=backend)

    def feature_maps(self, images, layers=LAYERS, *, others=None, draw=None):
        """``{layer: map (B, C, h, w)}`` of the wanted layers (1 to 4), before pooling."""
        maps = self._run(images, others, draw)
        return {layer: maps[layer - 1] for layer in layers}

    def _run(self, images, others, draw):
        mix_at = -1 if draw is None else draw.layer
        if mix_at == 0:
            images = draw.apply(images, others)
        h, other, maps = self.stem(images), self.stem(others) if mix_at > 0 else None, []
        for index, layer in enumerate(self.layers, start=1):
            h = layer(h)
            if index <= mix_at:
                other = layer(other)
            if index == mix_at:
                h = draw.apply(h, other)
            maps.append(h)
        return maps
