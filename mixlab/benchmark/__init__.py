"""Speed against peers and against counted floors, measured on the machine at hand.

    rows = run(Benchmark.check(parts=["loss"]))     # or: python -m mixlab.benchmark loss
    print(targets_table(rows))

Arms of a comparison take turns in one process, and a ratio is the median of the ratios of its rounds. On one thread of
a CPU the seconds are those of the thread, which others on the machine change little. Training steps and epochs
are timed last, in a process that from then on keeps freed memory, as a training of ours does; the peers in it gain as
well. All else is timed as a process finds it: start a new one (or restart the kernel) to measure again.
"""

from mixlab import data
from mixlab.allocator import keep_freed_memory
from mixlab.benchmark import augmentation, contrast, epoch, floors, neighbours, probe, step
from mixlab.benchmark.cost import cost_table
from mixlab.benchmark.peers import PEERS, has
from mixlab.benchmark.rows import Row, in_words, read, save, stamped
from mixlab.benchmark.targets import TARGETS, Target, Verdict, targets_table, verdicts
from mixlab.benchmark.timing import Arm, Pace, Timing, interleave, limited
from mixlab.files import writable_folder

__all__ = ["PARTS", "TARGETS", "Arm", "Pace", "Row", "Target", "Timing", "Verdict", "cost_table", "interleave", "read",
           "run", "targets_table", "verdicts"]

PARTS = {"floors": floors.measure, "augmentation": augmentation.measure, "loss": contrast.measure,
         "neighbours": neighbours.measure, "probe": probe.measure, "loss_in_training": contrast.measure_in_training,
         "step": step.measure, "epoch": epoch.measure}
TRAINING = ("loss_in_training", "step", "epoch")  # measured last, in a process that keeps freed memory


def run(params, log=print):
    """Measures the parts that ``params`` name, writes each to ``benchmark.csv`` when it is done, and returns all rows.

    Args:
        params: a checked ``params.Benchmark``.
        log: called with each measurement in words.
    """
    values = params.resolved()
    folder = writable_folder(data.resolve(values["reports_dir"]), "reports_dir")
    pace = Pace(values["threads"], values["device"], values["rounds"], values["budget"],
                least=min(0.2, values["budget"] / 50))
    log(f"Peers here: {', '.join(filter(has, PEERS)) or 'none'}. The rest: pip install '.[peers]'")
    rows = []
    for part in [part for part in PARTS if part in values["parts"]]:
        if part in TRAINING:
            keep_freed_memory()
        with limited(values["threads"]):
            for row in stamped(PARTS[part](values, pace), values["device"]):
                rows.append(row)
                log(in_words(row))
        save(folder / "benchmark.csv", rows)
    rows += floors.shares(rows)
    save(folder / "benchmark.csv", rows)
    log(f"Measurements: {folder / 'benchmark.csv'}")
    return rows
