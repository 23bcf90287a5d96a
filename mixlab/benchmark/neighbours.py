"""Weighted kNN at the size of CIFAR, k = 200, against scikit-learn's and faiss's exact search with the same vote."""

import torch
import torch.nn.functional as F

from mixlab.benchmark import peers
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.evaluate import knn_predict

DIM, CLASSES, K, TEMPERATURE = 512, 10, 200, 0.1


def clusters(count, dim=DIM, classes=CLASSES, seed=0):
    """Standardised synthetic features (count, dim) float32 around class means, and labels (count,)."""
    bits = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=bits)
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    features = torch.randn(count, dim, generator=bits) * 4 + means[labels]
    return (features - features.mean(0)) / features.std(0), labels


def measure(values, pace):
    """Rows of queries per second, of the seconds that 10,000 take, and of how often the answers agree."""
    (bank, labels), (queries, _) = clusters(values["bank_size"]), clusters(values["queries"], seed=1)
    k = min(K, len(bank))
    place = [x.to(pace.device) for x in (bank, labels, queries)]
    answers = {"mixlab": lambda: knn_predict(*place, CLASSES, k, TEMPERATURE)}
    if peers.has("scikit-learn"):
        answers["scikit-learn"] = _scikit_learn(bank, labels, queries, k)
    if peers.has("faiss-cpu"):
        answers["faiss"] = _faiss(bank, labels, queries, k, pace.threads)
    about = ("neighbours", f"k {k}, {values['queries']:,} queries", len(bank))
    for peer in {"scikit-learn", "faiss"} - set(answers):
        yield Row(*about, peer, None, MISSING)
    last = {}
    arms = [Arm(name, lambda name=name: last.update({name: answers[name]()}), len(queries)) for name in answers]
    yield from rows_of(*about, interleave(arms, pace), pace, "queries/s")
    own = last.pop("mixlab").cpu()
    yield from (Row(*about, "mixlab", (own == torch.as_tensor(other)).float().mean().item(), "equal answers with",
                    against=name) for name, other in last.items())


def _scikit_learn(bank, labels, queries, k):
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(k, weights=lambda d: torch.exp(torch.from_numpy(1 - d) / TEMPERATURE).numpy(),
                                 algorithm="brute", metric="cosine")
    return lambda: model.fit(bank.numpy(), labels.numpy()).predict(queries.numpy())


def _faiss(bank, labels, queries, k, threads):
    import faiss

    def predict():
        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatIP(bank.shape[1])
        index.add(F.normalize(bank, dim=1).numpy())
        similarity, found = map(torch.from_numpy, index.search(F.normalize(queries, dim=1).numpy(), k))
        votes = torch.zeros(len(queries), CLASSES)
        return votes.scatter_add_(1, labels[found], (similarity / TEMPERATURE).exp()).argmax(1)

    return predict
