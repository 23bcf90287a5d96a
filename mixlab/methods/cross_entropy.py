"""Cross-entropy: the supervised control, and fine-tuning when it starts from a stored encoder."""

from torch import nn

from mixlab.heads import classifier
from mixlab.losses import soft_cross_entropy


class CrossEntropy(nn.Module):
    """Classification of one weakly augmented view; with a mixer, the usual training on soft labels.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer; its partner comes from the same batch.
        num_classes: number of classes.
    Source:
        The control group of the MixSupCon draft (its Table 3); mixing after Zhang et al. 2017, arXiv 1710.09412.
    """

    needs_labels, needs_region = True, False
    views = ("weak",)
    default_mixer = "none"

    def __init__(self, encoder, mixer, *, num_classes):
        super().__init__()
        self.encoder, self.mixer, self.num_classes = encoder, mixer, num_classes
        self.classifier = classifier(encoder.dim, num_classes)

    def forward(self, batch):
        images = batch.views[0]  # (B, 3, H, W)
        draw = self.mixer.draw(images, images, batch.key.child("mixer"))
        logits = self.classifier(self.encoder(images, others=images, draw=draw))  # (B, num_classes)
        targets = draw.targets(batch.labels, self.num_classes) if self.mixer.mixes else batch.labels
        names = targets.argmax(1) if self.mixer.mixes else targets  # of a mixture, the class with the larger share
        correct = (logits.detach().argmax(1) == names).float().mean()
        return {**soft_cross_entropy(logits, targets), "train_top1": correct}

    def after_step(self, out):
        """Cross-entropy keeps no state."""
