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


class Encoder(nn.Module):
    """A ResNet without its classifier: images (B, 3, H, W) to features h (B, dim).

    The CIFAR stem is a 3x3 convolution of stride 1 without max-pooling, so that layers 1 to 4 of a 32x32 image are
    maps of 32, 16, 8 and 4 cells a side; the ordinary ``imagenet`` stem is for images of 64 pixels and more.
    Buffers ``mean`` and ``std`` (3,) record how the images it was trained on were normalised.

    Args:
        name: one of ``ENCODERS``.
        stem: ``cifar`` or ``imagenet``.
    Raises:
        ParamError: unknown name or stem.
    Source:
        He et al. 2015, arXiv 1512.03385; the stem of Chen et al. 2020, arXiv 2002.05709, appendix B.9.
        ResNet-10 is ResNet-18 with one block in each layer.
    """

    def __init__(self, name="resnet18", stem="cifar"):
        super().__init__()
        if name not in ENCODERS:
            raise ParamError(problem("encoder", f"one of {', '.join(ENCODERS)}", name, nearest(name, ENCODERS)))
        if stem not in STEMS:
            raise ParamError(problem("stem", f"one of {', '.join(STEMS)}", stem, nearest(stem, STEMS)))
        block, depths = ENCODERS[name]
        net = ResNet(block, list(depths))
        conv, pool = net.conv1, net.maxpool
        if stem == "cifar":
            conv, pool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        self.stem = nn.Sequential(conv, net.bn1, nn.ReLU(inplace=True), pool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.name, self.stem_name, self.dim = name, stem, 512 * block.expansion
        self.widths = tuple(width * block.expansion for width in (64, 128, 256, 512))  # channels of layers 1 to 4
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
