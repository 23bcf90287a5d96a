"""The packages that the benchmark compares with: which are here, and the arms that they make.

They come with ``pip install '.[peers]'``; what is not installed is said and left out.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

PEERS = {"lightly": "lightly", "kornia": "kornia", "pytorch-metric-learning": "pytorch_metric_learning",
         "faiss-cpu": "faiss", "scikit-learn": "sklearn"}  # distribution: module
LIGHTLY_NAMES = {"resnet10": "resnet-9", "resnet18": "resnet-18", "resnet34": "resnet-34", "resnet50": "resnet-50"}


def has(peer):
    """Whether the distribution ``peer`` of ``PEERS`` can be imported."""
    return find_spec(PEERS[peer]) is not None


def versions_of_peers():
    """``{distribution: version}`` of the peers that are here."""
    found = {}
    for name in filter(has, PEERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # importable, yet not installed under this name: faiss from conda, say
            found[name] = "unknown"
    return found


def kornia_views(recipe, device):
    """kornia's batched pipeline with the numbers of ``recipe``: images (B,3,H,W) in [0, 1] to views (B,3,S,S)."""
    import kornia.augmentation as augmentation
    import torch

    mean, std = (torch.tensor(values, device=device) for values in (recipe.mean, recipe.std))
    return augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((recipe.size, recipe.size), scale=recipe.crop_scale, ratio=recipe.crop_ratio,
                                       cropping_mode="resample"),
        augmentation.RandomHorizontalFlip(p=recipe.flip_prob),
        augmentation.ColorJitter(*recipe.jitter, p=recipe.jitter_prob),
        augmentation.RandomGrayscale(p=recipe.grey_prob), augmentation.Normalize(mean, std))


def pil_views(recipe):
    """torchvision's pipeline on one PIL image, as SupContrast and most code bases feed their training."""
    from torchvision import transforms

    return transforms.Compose([
        transforms.RandomResizedCrop(recipe.size, scale=recipe.crop_scale, ratio=recipe.crop_ratio),
        transforms.RandomHorizontalFlip(recipe.flip_prob),
        transforms.RandomApply([transforms.ColorJitter(*recipe.jitter)], recipe.jitter_prob),
        transforms.RandomGrayscale(recipe.grey_prob), transforms.ToTensor(),
        transforms.Normalize(recipe.mean, recipe.std)])


def lightly_views(recipe):
    """lightly's ``SimCLRTransform`` with the numbers of ``recipe``: one PIL image to two views."""
    from lightly.transforms import SimCLRTransform

    bright, contrast, saturation, hue = recipe.jitter
    return SimCLRTransform(
        input_size=recipe.size, cj_prob=recipe.jitter_prob, cj_strength=1.0, cj_bright=bright, cj_contrast=contrast,
        cj_sat=saturation, cj_hue=hue, min_scale=recipe.crop_scale[0], random_gray_scale=recipe.grey_prob,
        gaussian_blur=recipe.blur_prob, hf_prob=recipe.flip_prob, normalize={"mean": recipe.mean, "std": recipe.std})


def lightly_step(encoder, device, lr=0.05, temperature=0.5):
    """One SimCLR step with lightly's encoder, head and loss, in float32, views encoded one by one as in its examples.

    Returns a function of two views (B,3,S,S).
    """
    import torch
    from lightly.models import ResNetGenerator
    from lightly.models.modules import SimCLRProjectionHead
    from torch import nn

    layers = list(ResNetGenerator(LIGHTLY_NAMES[encoder]).children())[:-1]  # without its classifier
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(device).train()
    width = 2048 if encoder == "resnet50" else 512
    head, loss = SimCLRProjectionHead(width, 512, 128).to(device), lightly_loss(temperature)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr, 0.9, weight_decay=1e-4)

    def step(first, second):
        value = loss(head(backbone(first)), head(backbone(second)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def lightly_loss(temperature):
    """lightly's NT-Xent, a function of the embeddings of two views."""
    from lightly.loss import NTXentLoss

    return NTXentLoss(temperature)


def metric_learning_loss(temperature):
    """pytorch-metric-learning's SupCon, a function of embeddings and class ids."""
    from pytorch_metric_learning.losses import SupConLoss

    return SupConLoss(temperature)
