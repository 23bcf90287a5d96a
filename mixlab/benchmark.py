"""Speed against peers, measured in one process on the machine at hand: ``python -m mixlab.benchmark [knn] [probe]``.

Each line is a ratio of wall times, the median over rounds in which both arms ran in turn, with the number of threads.
"""

import statistics
import sys
import time
import warnings

import torch

from mixlab.evaluate import fit_logistic, knn_predict

ROUNDS = 3


def clusters(count, dim=512, classes=10, seed=0):
    """Standardised synthetic features (count, dim) float32 around class means, and labels (count,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    features = torch.randn(count, dim, generator=generator) * 4 + means[labels]
    return (features - features.mean(0)) / features.std(0), labels


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compare(name, peer, ours, theirs):
    """Runs both arms in turn and prints the median ratio."""
    rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    own, other = (statistics.median(arm) for arm in zip(*rounds, strict=True))
    ratios = sorted(b / a for a, b in rounds)
    print(f"{name}: mixlab {own:.2f} s, {peer} {other:.2f} s, ratio {statistics.median(ratios):.2f} "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {torch.get_num_threads()} threads", flush=True)


def knn(bank_size=50_000, queries=10_000, k=200, temperature=0.1):
    """Weighted kNN at the size of CIFAR, d = 512, against scikit-learn's brute force with the same weights."""
    from sklearn.neighbors import KNeighborsClassifier

    (bank, labels), (asked, _) = clusters(bank_size), clusters(queries, seed=1)

    def theirs():
        model = KNeighborsClassifier(k, weights=lambda d: torch.exp(torch.from_numpy(1 - d) / temperature).numpy(),
                                     algorithm="brute", metric="cosine")
        model.fit(bank.numpy(), labels.numpy()).predict(asked.numpy())

    compare(f"kNN, {queries:,} queries", "scikit-learn (cosine, brute)",
            lambda: knn_predict(bank, labels, asked, 10, k, temperature), theirs)


def probe(count=50_000, l2=1e-4):
    """One logistic regression to convergence on 50,000 x 512 features, against scikit-learn's."""
    from sklearn.linear_model import LogisticRegression

    features, labels = clusters(count)

    def theirs():
        with warnings.catch_warnings(action="ignore"):
            LogisticRegression(C=1 / (l2 * count), max_iter=500).fit(features.numpy(), labels.numpy())

    compare("logistic regression", "scikit-learn", lambda: fit_logistic(features, labels, 10, l2), theirs)


def main(names):
    parts = {"knn": knn, "probe": probe}
    for name in names or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
