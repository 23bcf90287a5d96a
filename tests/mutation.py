"""Breaks mixlab on purpose, one sign or index at a time, and asks whether the tests notice.

    python tests/mutation.py                 every mutant, in a copy of the project; exit code 1 if one survives
    python tests/mutation.py losses resume   only those whose name holds one of the words

Each mutant runs the one test file (or the part of it) that has to catch it; before that the same tests must pass
unbroken. A mutant whose text is not found exactly once is an error, so that the list can't rot.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("mixlab", "tests", "notebooks", "params", "pyproject.toml", "README.md", "reports", "constraints.txt")
SECONDS = 600  # a mutant that makes its tests hang counts as noticed


@dataclass(frozen=True)
class Mutant:
    """``old`` becomes ``new`` in ``mixlab/<file>``; the tests named by ``tests`` (pytest arguments) must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


STREAMED, PAIRS = "losses/streamed.py", "losses/pairs.py"
MUTANTS = (
    Mutant("losses: an id attracts itself", STREAMED, "[self.index] - 1", "[self.index]", "test_losses.py"),
    Mutant("losses: ids: x_i stays in the sum", STREAMED, "index_add_(0, self.index, x)[self.index] - x",
           "index_add_(0, self.index, x)[self.index]", "test_losses.py"),
    Mutant("losses: soft rows: own mass stays", STREAMED, "strip.double() * (total - strip)",
           "strip.double() * total", "test_losses.py"),
    Mutant("losses: soft rows: own product stays", STREAMED,
           "self.rows @ (self.rows.T @ x) - self.rows.square().sum(1, keepdim=True) * x",
           "self.rows @ (self.rows.T @ x)", "test_losses.py"),
    Mutant("losses: neighbouring ids run together", STREAMED, "ordered[1:] != ordered[:-1]",
           "ordered[1:] > ordered[:-1] + 1", "test_losses.py"),
    Mutant("losses: cosine similarity not normalised", STREAMED,
           'rows if label_similarity == "dot" else F.normalize(rows, dim=1)', "rows", "test_losses.py"),
    Mutant("losses: an anchor without positive counts", STREAMED,
           "share = ~lonely / (~lonely).sum().clamp(min=1).double()",
           "share = torch.ones_like(mass) / len(mass)", "test_losses.py"),
    Mutant("losses: reading row weighs like anchor", STREAMED, "return mass / total, ~lonely / total",
           "return ~lonely / (~lonely).sum(), ~lonely / total", "test_losses.py"),
    Mutant("losses: gradient along z kept", STREAMED, "across = gradient - (gradient * u).sum(1, keepdim=True) * u",
           "across = gradient", "test_losses.py"),
    Mutant("losses: sign of the attraction", STREAMED, "gradient -= per_positive * pulled",
           "gradient += per_positive * pulled", "test_losses.py"),
    Mutant("losses: an image is its own negative", STREAMED, ".fill_diagonal_(-torch.inf)", "", "test_losses.py"),
    Mutant("losses: tiles right of the diagonal are skipped", STREAMED, "range(top + height, len(v), width)",
           "range(top + height + width, len(v), width)", "test_losses.py"),
    Mutant("losses: half of the softmax gradient", STREAMED, "gradient[columns] += p.T @ v[rows]",
           "gradient[columns] += 0 * p.T @ v[rows]", "test_losses.py"),
    Mutant("losses: info_nce without its positive below", PAIRS, "return logits.logsumexp(1) - logits[:, 0]",
           "return logits[:, 1:].logsumexp(1) - logits[:, 0]", "test_mixssl.py test_losses.py"),
    Mutant("losses: soft_info_nce looks at the queue", PAIRS, "logits.log_softmax(1)[:, :targets.shape[1]]",
           "logits.log_softmax(1)[:, -targets.shape[1]:]", "test_mixssl.py test_losses.py"),
    Mutant("losses: pair_contrast attracts itself", PAIRS, "positive = (ids[:, None] == ids) & ~itself",
           "positive = ids[:, None] == ids", "test_mixssl.py test_losses.py"),
    Mutant("losses: sign of the cosine distance", PAIRS, "2 - 2 * (p * z).sum(1)", "2 + 2 * (p * z).sum(1)",
           "test_mixssl.py test_losses.py"),
    Mutant("mixers: shares exchanged in the targets", "mixers/records.py",
           "return self.lam[:, None] * own + (1 - self.lam[:, None]) * other",
           "return (1 - self.lam[:, None]) * own + self.lam[:, None] * other", "test_mixers.py"),
    Mutant("mixers: images exchanged in the blend", "mixers/records.py",
           "torch.lerp(b.to(wide), a.to(wide), weight.to(wide))",
           "torch.lerp(a.to(wide), b.to(wide), weight.to(wide))", "test_mixers.py"),
    Mutant("mixers: the partner is the image itself", "mixers/records.py",
           "return _blend(a, b[self.partner], weight)", "return _blend(a, b, weight)", "test_mixers.py"),
    Mutant("mixers: labels of the wrong partner", "mixers/records.py", "others[self.partner][:, None] == classes",
           "others[self.partner.flip(0)][:, None] == classes", "test_mixers.py"),
    Mutant("mixers: box of side 1 - lam", "mixers/regions.py", "np.sqrt(1 - lam)", "(1 - lam)", "test_mixers.py"),
    Mutant("mixers: a box without its last column", "mixers/regions.py",
           "torch.stack([top, left, bottom, right], dim=1)", "torch.stack([top, left, bottom, right - 1], dim=1)",
           "test_mixers.py"),
    Mutant("mixers: mix_prob turned round", "mixers/draws.py", "< mixer.mix_prob", ">= mixer.mix_prob",
           "test_mixers.py"),
    Mutant("mixers: both images from one view", "mixers/draws.py", "views[(k + 1) % len(views)]",
           "views[k % len(views)]", "test_mixers.py"),
    Mutant("draws: a cycle with fixed points", "rng.py", "np.roll(order, -1)", "np.roll(order, 0)", "test_rng.py"),
    Mutant("draws: the epoch is left out of the key", "rng.py", "{self.role}|{self.epoch}|{self.step}",
           "{self.role}|{self.step}", "test_rng.py"),
    Mutant("schedule: half a cosine too far", "optim.py", "(epochs_done - warmup) / max(epochs - warmup, 1)",
           "(epochs_done - warmup) / max(epochs, 1)", "test_optim.py"),
    Mutant("schedule: warm-up starts at 0", "optim.py", "0.1 + 0.9 * epochs_done / warmup", "epochs_done / warmup",
           "test_optim.py"),
    Mutant("schedule: a step one epoch late", "optim.py", "epochs_done >= e for e", "epochs_done > e for e",
           "test_optim.py"),
    Mutant("momentum: fast and slow exchanged", "momentum.py",
           "mine.mul_(momentum).add_(theirs * (1 - momentum))", "mine.mul_(1 - momentum).add_(theirs * momentum)",
           "test_mixssl.py"),
    Mutant("momentum: the queue does not move on", "momentum.py",
           "self.cursor.copy_((self.cursor + len(keys)) % size)", "self.cursor.copy_(self.cursor % size)",
           "test_mixssl.py"),
    Mutant("momentum: shuffled keys stay shuffled", "momentum.py", "order, np.argsort(order)", "order, order",
           "test_mixssl.py"),
    Mutant("momentum: BYOL's momentum falls", "momentum.py", "1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2",
           "1 - (1 - start) * (1 - math.cos(math.pi * progress)) / 2", "test_mixssl.py"),
    Mutant("regions: inside and outside exchanged", "regions.py",
           "return _mean(maps, outside), _mean(maps, 1 - outside)",
           "return _mean(maps, 1 - outside), _mean(maps, outside)", "test_mixssl.py"),
    Mutant("regions: reversed queries pair different images", "methods/regions_within.py",
           "pair = (q_in, q_out) if self.fixed", "pair = (q_out, q_in) if self.fixed", "test_mixssl.py"),
    Mutant("methods: the reverse term is not reversed", "methods/unmix.py", "self._match(qm.flip(0), k)",
           "self._match(qm, k)", "test_mixssl.py"),
    Mutant("knn: the far ones vote", "evaluate/knn.py", "(chunk @ bank.T).topk(k, sorted=False)",
           "(chunk @ bank.T).topk(k, sorted=False, largest=False)", "test_evaluate.py -k 'knn or screening'"),
    Mutant("knn: weights without temperature", "evaluate/knn.py",
           "(similarity - similarity.amax(1, keepdim=True)) / temperature",
           "similarity - similarity.amax(1, keepdim=True)",
           "test_evaluate.py -k 'knn or screening'"),
    Mutant("knn: candidates without proof", "evaluate/knn.py", "<= left_out + error", "<= left_out - 9",
           "test_evaluate.py -k 'knn or screening'"),
    Mutant("resume: the optimizer starts afresh", "train/trainer.py",
           'self.optimizer.load_state_dict(state["optimizer"])', "pass", "test_train.py -k stop"),
    Mutant("resume: the method starts afresh", "train/trainer.py",
           'self.method.load_state_dict(state["method"])', "pass", "test_train.py -k stop"),
    Mutant("resume: a step is made twice", "train/trainer.py", "[p.step * size:(p.step + 1) * size]",
           "[max(p.step - 1, 0) * size:max(p.step, 1) * size]", "test_train.py"),
    Mutant("resume: sums of the epoch are lost", "train/trainer.py",
           'Progress(**state["progress"])', 'Progress(state["progress"]["epoch"], state["progress"]["step"])',
           "test_train.py -k stop"),
    Mutant("resume: the checksum is not asked", "checkpoint.py", 'sha256(payload) != header.get("sha256")', "False",
           "test_checkpoint.py"),
    Mutant("resume: any run's checkpoint will do", "checkpoint.py", "if differing:", "if False:",
           "test_checkpoint.py"),
    Mutant("resume: a later row does not replace an earlier one", "runs/history.py", 'rows[row["epoch"]] = row',
           'rows.setdefault(row["epoch"], row)', "test_runs.py"),
    Mutant("resume: an interrupted run counts as finished", "runs/directory.py",
           'return self.result().get("status") == "ok"', 'return bool(self.result().get("status"))',
           "test_runs.py test_train.py"),
    Mutant("resume: rows that the checkpoint is past are not missed", "train/trainer.py", "        if missing:",
           "        if False:", "faults/test_storage.py -k row_19"),
    Mutant("resume: other versions are not recorded", "train/trainer.py", "self.made_by = earlier + self.made_by",
           "pass", "faults/test_storage.py -k row_24"),
    Mutant("results: their own sha256 is not asked", "runs/directory.py", "if known and known != digest(record):",
           "if False:", "faults/test_storage.py -k 'row_08 and result'"),
    Mutant("results: the history's sha256 is not asked", "runs/directory.py", "if known and sha256(content) != known:",
           "if False:", "faults/test_storage.py -k 'row_08 and history'"),
    Mutant("steps: a gradient that is not finite passes", "train/trainer.py", "& torch.isfinite(norm)", "",
           "faults/test_numerics.py -k row_27"),
)


def main(words):
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copy(folder)
        for tests in dict.fromkeys(m.tests for m in chosen):
            if not passes(folder, tests):
                sys.exit(f"{tests}: fails already without a mutant; mend that first.")
        survivors = [m.name for m in chosen if survives(folder, m)]
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants noticed.")
    return 1 if survivors else 0


def copy(folder):
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder)


def survives(folder, mutant):
    """Breaks the copy, runs the tests, mends it again; prints a row of the table."""
    file, started = folder / "mixlab" / mutant.file, time.monotonic()
    whole = file.read_text()
    if whole.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: {mutant.old!r} stands {whole.count(mutant.old)} times in {mutant.file}; once is due.")
    file.write_text(whole.replace(mutant.old, mutant.new))
    try:
        alive = passes(folder, mutant.tests)
    finally:
        file.write_text(whole)
    verdict = "SURVIVED" if alive else "noticed"
    print(f"| {mutant.name} | {mutant.tests} | {verdict} | {time.monotonic() - started:.0f} s |", flush=True)
    return alive


def passes(folder, tests):
    """Whether the tests pass in the copy; they import the copy's mixlab, because they run in its folder."""
    arguments = [f"tests/{word}" if word.endswith(".py") else word for word in shlex.split(tests)]
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder), "CI": "true"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1, 2):  # 2: the mutant broke an import
        sys.exit(f"pytest {tests}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
