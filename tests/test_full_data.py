"""The full CIFAR sets, where MIXLAB_DATA points at them: checksums, and one epoch of SupCon on a subset of each."""

import os

import pytest

from mixlab import data
from mixlab.params import Pretrain
from mixlab.train import train

pytestmark = pytest.mark.skipif("MIXLAB_DATA" not in os.environ,
                                reason="MIXLAB_DATA does not point at the full CIFAR-10 and CIFAR-100")


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_one_epoch_of_supcon(name, classes, tmp_path):
    params = Pretrain.check(method="supcon", dataset=name, train_size=400, batch_size=100, epochs=1, knn_every=0,
                            runs_dir=str(tmp_path))
    result = train(params, log=lambda line: None).result()
    whole = data.load(name)  # loading compares every pixel and label with the official sha256
    assert result["status"] == "ok" and result["train_images"] == 400
    assert len(whole) == 50_000 and len(whole.classes) == classes
    assert result["data_checksum"] == whole.checksum
