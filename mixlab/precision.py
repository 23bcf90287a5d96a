"""What ``precision: fp32`` means: IEEE single precision on every device, inside convolutions, too."""

from contextlib import contextmanager

import torch


@contextmanager
def exact_fp32():
    """Convolutions on a GPU keep fp32's 24 bits of mantissa, where cuDNN by default takes TF32's 11; put back after.

    Matrix products do so by default. Who wants speed asks for bf16; nothing changes on a CPU.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
