"""The benchmark: fair turns, honest ratios, tidy rows, floors that can be counted by hand, and the speed-run recipes.

Nothing here asks how fast anything is: that is what the benchmark itself is for.
"""

import csv
import math
from dataclasses import fields, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from mixlab import benchmark, plots
from mixlab.benchmark import Arm, Pace, Row, Target, contrast, cost, epoch, floors, interleave, memory, peers, step
from mixlab.benchmark.rows import in_words, read, rows_of, save
from mixlab.benchmark.targets import HELD, NO_PEER, NOT_HELD, NOT_MEASURED, targets_table, verdicts
from mixlab.benchmark.timing import Timing, ratios
from mixlab.errors import DataError, ParamError
from mixlab.files import load_yaml
from mixlab.losses import contrastive
from mixlab.methods import METHODS
from mixlab.params import Benchmark, Pretrain
from mixlab.params.benchmark import PARTS
from mixlab.train import train

ROOT = Path(__file__).parents[1]
PACE = Pace(rounds=3, budget=0.01, least=1e-4)
TINY = {"encoders": ["resnet10"], "epoch_encoders": [], "batch_size": 4, "batch_sizes": [4], "data_sizes": [32],
        "view_batch": 8, "epoch_images": 8, "loss_sizes": [8], "bank_size": 300, "queries": 10, "probe_size": 200,
        "probe_images": 8, "matmul_size": 64, "rounds": 3, "budget": 0.01, "compile": False, "device": "cpu"}
A_ROW = Row("step", "resnet18", 64, "mixlab", 2.0, "times as fast as", against="lightly", precision="bf16", low=1.8,
            high=2.1, rounds=5, clock="cpu", wall=2.2, machine="cpu (some), 2 cores", versions="torch=2")


# Turns


class Hands:
    """Clocks that move by what each arm is said to take: (CPU seconds, wall seconds)."""

    def __init__(self):
        self.cpu = self.wall = 0.0
        self.calls = []

    def arm(self, name, cpu, wall, work=1, **given):
        def call():
            self.calls.append(name)
            self.cpu, self.wall = self.cpu + next(cpu), self.wall + next(wall)

        return Arm(name, call, work, **given)

    def read(self):
        return self.cpu, self.wall


def always(value):
    while True:
        yield value


def test_arms_take_turns_and_each_round_starts_with_another():
    hands = Hands()
    arms = [hands.arm(name, always(1.0), always(1.0)) for name in "abc"]
    interleave(arms, Pace(rounds=3, budget=100.0), hands.read)
    assert "".join(hands.calls[-9:]) == "abc" + "bca" + "cab"


def test_seconds_are_per_unit_of_work_and_by_both_clocks():
    hands = Hands()
    (timing,) = interleave([hands.arm("a", always(2.0), always(6.0), work=4)], Pace(rounds=3), hands.read)
    assert timing.seconds == (0.5, 0.5, 0.5) and timing.wall == (1.5, 1.5, 1.5) and timing.median == 0.5


def test_a_fast_arm_is_called_until_its_turn_is_long_enough():
    hands = Hands()
    (timing,) = interleave([hands.arm("a", always(0.125), always(0.125))], Pace(rounds=2, least=1.0), hands.read)
    assert len(hands.calls) == 2 + 2 * 8  # two warm-up calls
    assert timing.seconds == (0.125, 0.125)


def test_the_first_call_is_not_counted():
    hands = Hands()
    (timing,) = interleave([hands.arm("a", (1.5 if n == 0 else 1.0 for n in count()),
                                      (1.5 if n == 0 else 1.0 for n in count()))],
                           Pace(rounds=3, budget=1000.0), hands.read)
    assert timing.seconds == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("device", "cold", "calls"), [("cpu", False, 3), ("cpu", True, 4), ("cuda", False, 4)])
def test_a_long_first_call_counts_unless_it_is_a_cold_one(device, cold, calls):
    hands = Hands()
    arm = hands.arm("a", always(9.0), always(9.0), cold=cold)
    (timing,) = interleave([arm], Pace(device=device, rounds=3, budget=1000.0), hands.read)
    assert len(timing.seconds) == 3 and len(hands.calls) == calls


def test_an_arm_that_compiled_is_timed_like_the_others():
    """However long its compilation took, turns are filled with calls of what came out of it."""
    hands, fast = Hands(), 0.00390625
    cold = hands.arm("a", *((30.0 if n == 0 else fast for n in count()) for _ in range(2)), cold=True)
    (timing,) = interleave([cold], Pace(rounds=5, budget=15.0, least=0.2), hands.read)
    assert timing.seconds == (fast,) * 5 and len(hands.calls) == 2 + 5 * round(0.2 / fast)


@pytest.mark.parametrize(("budget", "rounds"), [(1000.0, 9), (50.0, 5), (1.0, 3)])
def test_rounds_end_with_the_budget_but_three_are_made(budget, rounds):
    hands = Hands()
    (timing,) = interleave([hands.arm("a", always(10.0), always(10.0))], Pace(rounds=9, budget=budget), hands.read)
    assert len(timing.seconds) == len(hands.calls) == rounds


def test_one_thread_of_a_cpu_is_timed_by_what_it_computes():
    assert Pace(1, "cpu").clock == "cpu" and Pace(2, "cpu").clock == "wall" and Pace(1, "cuda").clock == "wall"


def test_threads_are_limited_and_put_back():
    before = torch.get_num_threads()
    seen = []
    interleave([Arm("a", lambda: seen.append(torch.get_num_threads()))], replace(PACE, threads=before + 1))
    assert set(seen) == {before + 1} and torch.get_num_threads() == before


# Ratios and rows


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    """A round in which the machine was busy slows both arms, and its ratio stays what it is."""
    ours, theirs = Timing("mixlab", "bf16", (1.0, 10.0, 2.0), (1.0, 1.0, 1.0)), \
        Timing("peer", "fp32", (3.0, 40.0, 4.0), (1.0, 1.0, 1.0))
    assert ratios(ours, theirs) == (3.0, 4.0, 2.0)
    rows = list(rows_of("step", "resnet18", 64, [ours, theirs], Pace(), "views/s"))
    assert [(r.arm, r.against, r.value, r.low, r.high) for r in rows] == [
        ("mixlab", "", 0.5, 0.1, 1.0), ("peer", "", 0.25, 1 / 40, 1 / 3), ("mixlab", "peer", 3.0, 2.0, 4.0)]
    assert [r.unit for r in rows] == ["views/s", "views/s", "times as fast as"]
    assert {(r.rounds, r.clock, r.threads) for r in rows} == {(3, "cpu", 1)}


def test_times_in_ms():
    (row,) = rows_of("loss", "", 8, [Timing("peer", "fp32", (0.5, 0.5), (1.0, 1.0))], Pace())
    assert (row.value, row.wall, row.unit) == (500.0, 1000.0, "ms")


def test_rows_come_back_from_the_file_and_other_parts_stay(tmp_path):
    path, missing = tmp_path / "benchmark.csv", Row("loss", "a, \"b\"", 8, "lightly", None, "missing")
    save(path, [A_ROW, missing])
    assert read(path) == [A_ROW, missing]
    again = replace(A_ROW, value=3.0)
    save(path, [again])
    assert read(path) == [missing, again]
    with open(path, newline="") as file:
        assert next(csv.reader(file)) == [field.name for field in fields(Row)]


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "benchmark.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"benchmark\.csv: measurements"):
        read(path)


def test_a_row_in_words():
    assert in_words(A_ROW).endswith("mixlab bf16: 2 times as fast as lightly (1.8 to 2.1)")
    assert in_words(Row("loss", "", 8, "lightly", None, "missing")).endswith("lightly fp32: missing")


# Peers


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(peers, "PEERS", {name: "no_such_module" for name in peers.PEERS})


def test_parts_cover_what_can_be_asked_for():
    assert tuple(benchmark.PARTS) == PARTS


def test_memory_is_kept_from_the_first_training_on(monkeypatch, tmp_path):
    """Whatever the order asked for: peers' losses are timed in a process as their users have it."""
    done = []
    for part in PARTS:
        monkeypatch.setitem(benchmark.PARTS, part, lambda values, pace, part=part: done.append(part) or [])
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: done.append("keep"))
    benchmark.run(Benchmark.check(parts=["epoch", "loss", "step"], reports_dir=str(tmp_path)), lambda line: None)
    assert done[0] == "loss" and done.index("keep") < done.index("step") and "epoch" in done


def test_without_peers_every_part_runs_and_names_them(no_peers, tmp_path):
    lines = []
    params = Benchmark.check(**TINY, parts=["augmentation", "step", "neighbours", "probe"], reports_dir=str(tmp_path))
    rows = benchmark.run(params, lines.append)
    assert {row.arm for row in rows if row.unit == "missing"} == {"kornia", "lightly", "scikit-learn", "faiss"}
    assert not [row for row in rows if row.against not in ("", "torchvision on PIL", "encoding in every epoch")]
    assert read(tmp_path / "benchmark.csv") == rows and "Peers here: none" in lines[0]
    for row in rows:
        assert row.machine.startswith("cpu") and "torch=" in row.versions and "mixlab=" in row.versions
        assert row.unit == "missing" or 0 < row.low <= row.value <= row.high < math.inf


def test_the_loss_names_missing_peers_and_measures_memory(no_peers, monkeypatch):
    monkeypatch.setattr(contrast, "peak_mebibytes", lambda arms, size, pace, lean: dict.fromkeys(arms, size / 4))
    rows = list(contrast.measure(TINY | {"loss_sizes": [64, 8], "most_seconds": 9.0}, PACE))
    assert {row.arm for row in rows if row.unit == "missing"} == {"lightly NTXent", "metric-learning SupCon"}
    times = [row for row in rows if row.unit == "ms"]
    assert [(row.size, row.arm) for row in times] == [(n, f"mixlab {kind}") for n in (8, 64)
                                                      for kind in ("hard", "soft")]
    assert [row.value for row in rows if row.unit == "MiB"] == [2.0, 2.0, 16.0, 16.0]


@pytest.mark.skipif(not memory.STATUS.exists(), reason="peak memory is read from /proc")
def test_peak_memory_is_that_of_the_step():
    """More than the gradient of 2 MiB, less than one N x N matrix of 64 MiB."""
    arms = [("mixlab soft", "fp32"), ("mixlab hard", "fp32")]
    peaks = memory.peak_mebibytes(arms, 4096, PACE, lean=("mixlab soft",))  # each in a process of its own
    assert peaks.keys() == set(arms) and all(2 < peak < 64 for peak in peaks.values())


def test_an_arm_that_takes_too_much_is_left_out_with_a_reason(monkeypatch):
    monkeypatch.setattr(contrast, "available", lambda: 10e9)
    assert contrast.too_much(None, 8192, 20.0) == ""
    assert contrast.too_much((8192, 2.0, 1e9), 16384, 20.0) == ""
    assert contrast.too_much((8192, 2.0, 1e9), 32768, 20.0) == "not run: about 32 s"
    assert contrast.too_much((8192, 1.0, 1e9), 32768, 20.0) == "not run: about 16 GB"


def test_a_size_that_takes_long_is_measured_once():
    last = {("mixlab soft", "fp32"): (1024, 1.0, 1e6)}
    assert contrast._patient(Pace(budget=15.0), last, list(last), 2048) == Pace(budget=15.0)
    once = contrast._patient(Pace(budget=15.0), last, list(last), 4096)
    assert (once.warm, once.rounds) == (False, 1)
    hands = Hands()
    (timing,) = interleave([hands.arm("a", always(9.0), always(9.0))], once, hands.read)
    assert hands.calls == ["a"] and timing.seconds == (9.0,)


def test_bf16_is_an_arm_of_its_own_where_it_is_used():
    assert {p for _, p in contrast.arm_names(512)} == {"fp32"}
    assert ("mixlab soft", "bf16") in contrast.arm_names(8192)


def test_the_loss_of_a_training_is_measured_at_one_size(no_peers):
    rows = list(contrast.measure_in_training(TINY | {"loss_sizes": [16, 4096]}, PACE))
    assert {(row.part, row.size, row.arm, row.precision) for row in rows} == {
        ("loss_in_training", 4096, f"mixlab {kind}", precision) for kind in ("hard", "soft")
        for precision in ("fp32", "bf16")}


def test_resnet18_is_measured_in_the_precision_of_peers_too(no_peers):
    sizes = TINY | {"encoders": ["resnet18", "resnet10"], "precisions": ["bf16"], "compile_step": False}
    rows = [row for row in step.measure(sizes, replace(PACE, rounds=1, budget=0.01)) if row.unit == "views/s"]
    assert [(row.case, row.precision) for row in rows] == [("resnet18", "bf16"), ("resnet18", "fp32"),
                                                           ("resnet10", "bf16")]


def test_rows_of_another_machine_stay(tmp_path):
    gpu = replace(A_ROW, machine="cuda (one)", value=9.0)
    save(tmp_path / "b.csv", [gpu])
    save(tmp_path / "b.csv", [replace(A_ROW, machine="cpu (two)")])
    save(tmp_path / "b.csv", [replace(A_ROW, machine="cpu (two)", value=2.0)])
    assert [(row.machine, row.value) for row in read(tmp_path / "b.csv")] == [("cuda (one)", 9.0), ("cpu (two)", 2.0)]


def test_the_measured_loss_is_the_loss():
    """The timed call makes the gradient that a training step would."""
    call = contrast.step("mixlab hard", "fp32", 32, "cpu")
    z = next(cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, torch.Tensor))
    loss = next(cell.cell_contents for cell in call.__closure__ if callable(cell.cell_contents))
    bits = torch.Generator().manual_seed(0)
    torch.testing.assert_close(z.detach(), torch.randn(32, contrast.DIM, generator=bits))
    ids = torch.randint(0, contrast.CLASSES, (32,), generator=bits)
    assert loss(z) == contrastive(z, ids, contrast.TEMPERATURE)["loss"]


# Steps and epochs


def test_the_timed_step_trains():
    batch = step.two_views(4, "cpu")
    method, _ = step.simclr("resnet10", "fp32", "cpu")
    assert isinstance(method, METHODS["simclr"]) and method.training
    run = step.own_step("resnet10", batch, "fp32", False, "cpu")
    parts = dict(zip(run.__code__.co_freevars, (c.cell_contents for c in run.__closure__), strict=True))
    before = parts["method"].projector[0].weight.detach().clone()
    run()
    assert not torch.equal(before, parts["method"].projector[0].weight)


def test_the_timed_epoch_is_the_training_loops():
    made = epoch.trainer("resnet10", 16, 4, PACE)
    assert made.steps == 4
    epoch.steps(made, 3)()
    assert made.progress.step == 3 and made.bad_step == -1


def test_growth_is_against_the_first_size(monkeypatch):
    timings = [Timing("mixlab", "fp32", seconds, seconds) for seconds in ((1e-6, 2e-6, 1e-6), (3e-6, 4e-6, 2e-6))]
    monkeypatch.setattr(epoch, "interleave", lambda arms, pace: timings)
    rows = list(epoch._growth("batch size", [(4, Arm("mixlab", None)), (8, Arm("mixlab", None))], PACE))
    assert [(row.size, row.value, row.unit, row.against) for row in rows] == [
        (4, 1.0, "µs", ""), (8, 3.0, "µs", ""), (8, 2.0, "times the cost of", "size 4")]


# Floors and costs


def test_flops_and_outputs_are_those_counted_by_hand():
    """Convolution 3 -> 4 (3 x 3, 8 x 8 cells), pooled, linear 4 -> 5. Nobody asks for the gradient of the pixels."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Linear(4, 5)

        def forward(self, x):
            return self.linear(self.conv(x).mean((2, 3)))

    convolution, linear = 2 * 9 * 3 * 4 * 8 * 8, 2 * 4 * 5
    counted = floors.count(Net(), 2, side=8)
    assert counted.flops == 2 * convolution + 3 * linear  # forward and weights; forward, weights and inputs
    assert counted.outputs == 4 * 8 * 8
    assert counted.seconds(1e3, 1e3, "bf16") == (counted.flops / 1e3, floors.PASSES * 256 * 2 / 1e3)
    assert counted.seconds(1e3, 1e3, "fp32")[1] == 2 * counted.seconds(1e3, 1e3, "bf16")[1]


def test_resnet18_has_the_known_work():
    counted = floors.count_encoder("resnet18")
    assert counted.flops == pytest.approx(3.331e9, rel=1e-3) and counted.outputs == pytest.approx(0.614e6, rel=1e-3)


def test_a_floor_is_a_rate_at_the_ceilings_and_a_share_is_of_it():
    rows = list(floors.measure(TINY | {"loss_sizes": [1000]}, PACE))
    best = {p: max(r.value for r in rows if r.unit == "TFLOP/s" and r.precision == p) for p in ("fp32", "bf16")}
    work = floors.count_encoder("resnet10").flops
    floor = {r.precision: r.value for r in rows if (r.case, r.arm) == ("resnet10", "arithmetic floor")}
    assert floor == {p: pytest.approx(1e12 * best[p] / work) for p in best}
    mine = Row("step", "resnet10", 64, "mixlab", floor["bf16"] / 4, "views/s", precision="bf16")
    slower = replace(mine, part="epoch", value=mine.value / 2)
    shares = {r.against: r for r in floors.shares([*rows, mine, slower, replace(mine, arm="lightly", value=1e9)])}
    assert shares["arithmetic floor"].value == pytest.approx(0.25)
    assert set(shares) == {"arithmetic floor", "memory floor"}
    beside = {r.unit: r.value for r in rows if r.case not in ("resnet10", "ceiling", "resnet10, a view")}
    assert beside["ms"] == pytest.approx(1e3 * 3 * 1000**2 * 128 / (1e12 * best["fp32"]))
    assert beside["queries/s"] == pytest.approx(1e12 * best["fp32"] / (2 * 300 * 512))
    (copy,) = (r.value for r in rows if r.unit == "GB/s")
    assert beside["views/s"] == pytest.approx(1e9 * copy / (3072 + 4 * 3072))


def test_costs_are_minutes_of_the_measured_rate_and_floors_are_marked():
    measured = Row("epoch", "resnet18", 64, "mixlab", 1000.0, "views/s", precision="bf16", clock="cpu", wall=900.0,
                   machine="cpu (some), 2 cores")
    lines = cost.cost_table([measured, replace(measured, arm="lightly", value=5e3)], (30,), ("resnet18",)).splitlines()
    assert lines[2] == "| resnet18 | cpu (some), 1 thread | 1,000 | 50 min | measured: whole epochs (bf16) |"
    assert len(lines) == 3 + len(floors.VENDORS) and all("**floor, not measured**" in line for line in lines[3:])
    counted = floors.count_encoder("resnet18")
    slowest = max(counted.flops / 989e12, 14 * counted.outputs * 2 / 4.8e12)
    assert f"| {1 / slowest:,.0f} |" in lines[3] and "(memory)" in lines[3] and "(arithmetic)" in lines[4]


# Targets


WANTED = Target("a step", 1.7, "step", "mixlab", against="lightly", case="resnet18", size=64, precision="bf16")


@pytest.mark.parametrize(("changes", "verdict"), [
    ({}, HELD), ({"value": 1.7}, HELD), ({"value": 1.69}, NOT_HELD), ({"value": None}, NOT_MEASURED),
    ({"value": math.nan}, NOT_MEASURED), ({"case": "resnet50"}, NOT_MEASURED), ({"precision": "fp32"}, NOT_MEASURED),
    ({"against": "kornia"}, NOT_MEASURED), ({"size": 32}, NOT_MEASURED), ({"machine": "cuda (X)"}, NOT_MEASURED),
    ({"unit": "views/s"}, NOT_MEASURED)])
def test_a_target_is_held_by_its_own_row_only(changes, verdict):
    (found,) = verdicts([replace(A_ROW, **changes)], [WANTED])
    assert found.verdict == verdict and (found.row is None) == (verdict == NOT_MEASURED)


def test_the_worst_row_decides():
    rows = [replace(A_ROW, value=value) for value in (3.0, 1.0, 2.0)]
    assert verdicts(rows, [WANTED])[0].row.value == 1.0
    most = replace(WANTED, bound=2.5, least=False)
    assert verdicts(rows, [most])[0].verdict == NOT_HELD and verdicts(rows[1:], [most])[0].verdict == HELD


def test_a_missing_peer_is_no_failure():
    gone = Row("step", "resnet18", 64, "lightly", None, "missing", machine="cpu")
    assert verdicts([gone], [WANTED])[0].verdict == NO_PEER
    for other in (replace(gone, part="loss"), replace(gone, arm="kornia")):
        assert verdicts([other], [WANTED])[0].verdict == NOT_MEASURED


def test_the_table_says_what_was_measured_and_wanted():
    line = targets_table([A_ROW], [WANTED]).splitlines()[2]
    assert line == "| a step | at least 1.7 | 2 | 1.8 to 2.1 (5) | held |"


def test_targets_are_those_of_the_programme():
    """Every target is about a part that exists, at a size that the defaults measure."""
    defaults = Benchmark.check()
    for target in benchmark.TARGETS:
        assert target.part in PARTS
        assert target.part != "loss" or target.size in defaults.loss_sizes
        assert target.part != "step" or target.size == defaults.batch_size
    bounds = {t.claim.split(",")[0]: t.bound for t in benchmark.TARGETS}
    assert bounds["compiled views"] == 3.5 and bounds["eager views"] == 2.0 and bounds["kNN"] == 2.5
    assert {t.bound for t in benchmark.TARGETS if t.claim.startswith("loss at 8,192 in bf16")} == {6.0}


def test_pictures_of_little_and_of_nothing():
    figures = [plots.benchmark_rates, plots.benchmark_loss, plots.benchmark_growth]
    rows = [A_ROW, replace(A_ROW, unit="views/s", against=""), Row("loss", "", 8, "mixlab $x$", 2.0, "ms")]
    for rows_shown in (rows, []):
        for figure in figures:
            assert len(figure(rows_shown).axes) == 2
        plots.png(plots.benchmark_targets(verdicts(rows_shown)))


def test_an_arm_of_the_loss_has_one_colour_whatever_the_order_of_its_rows():
    rows = [Row("loss", "", 8, arm, 2.0, unit) for unit, arms in (("ms", "abc"), ("MiB", "cxa")) for arm in arms]
    left, right = ({line.get_label(): line.get_color() for line in ax.lines} for ax in plots.benchmark_loss(rows).axes)
    assert {arm: right[arm] for arm in left if arm in right} == {arm: left[arm] for arm in ("a fp32", "c fp32")}
    assert len(set((left | right).values())) == 4


# Parameters


@pytest.mark.parametrize(("values", "message"), [
    ({"parts": ["los"]}, "parts: "), ({"parts": ["loss", "loss"]}, "each value once"),
    ({"loss_sizes": [513]}, "even numbers"), ({"epoch_images": 32}, "at least 64"),
    ({"data_sizes": [256]}, "at least 512"), ({"rounds": 0}, "rounds: ")])
def test_wrong_parameters_are_refused(values, message):
    with pytest.raises(ParamError, match=message):
        Benchmark.check(**values)


@pytest.mark.parametrize("path", sorted((ROOT / "params" / "benchmark").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_accepted(path):
    assert Benchmark.from_yaml(path).resolved()["device"] in ("cpu", "cuda")


# Speed runs


SPEEDRUNS = sorted((ROOT / "params" / "pretrain").glob("speedrun-*.yaml"))
SMALL = {"dataset": "cifar10-mini", "encoder": "resnet10", "train_size": 16, "val_fraction": 0.02, "epochs": 2,
         "batch_size": 8, "warmup_epochs": 1, "device": "cpu", "precision": "fp32", "compile": False}


def test_there_are_speed_runs():
    assert SPEEDRUNS


@pytest.mark.parametrize("path", SPEEDRUNS, ids=lambda path: path.stem)
def test_a_speed_run_trains(path, tmp_path):
    """The recipe as it stands, small: its method, mixing, switch-off and schedule end in a finished run."""
    assert "Takes: not yet measured" in path.read_text() or "Measured:" in path.read_text()
    run = train(Pretrain.check(**load_yaml(path) | SMALL | {"runs_dir": str(tmp_path)}), log=lambda line: None)
    losses = [row["loss"] for row in run.history()[1:]]
    assert run.finished() and len(losses) == 2 and all(map(math.isfinite, losses))
