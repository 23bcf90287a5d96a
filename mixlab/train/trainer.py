"""One run being trained: the steps, the epochs, and what they leave in the run directory."""

import time
from dataclasses import dataclass, field

import torch

from mixlab import checkpoint, data, runs, snapshots
from mixlab.allocator import keep_freed_memory
from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError, DataError, NonFiniteLossError, problem
from mixlab.evaluate import knn_top1
from mixlab.heads import layout
from mixlab.mixers import MIXERS
from mixlab.optim import build_optimizer, learning_rate, own_state, restore_optimizer
from mixlab.params import build, build_recipes, labels_used, mixing_stops
from mixlab.rng import Key, to_device
from mixlab.views import Batch, apply_views, draw_views

SAVE, STOP = 1, 2  # what a rank may ask of all after a step; the most that one asks is done


@dataclass
class Progress:
    """How far a run is: the next step to make, and the running sums of this epoch's terms."""

    epoch: int = 1
    step: int = 0
    sums: dict = field(default_factory=dict)
    single_class: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0
    cpu_seconds: float = 0.0  # of this process and all its threads, over all epochs: what a busy machine can't stretch


class Trainer:
    """One run being trained: its parts, how far it is, and the steps that move it on.

    Args:
        ranks: the processes that train it together; rank 0 alone writes, measures kNN and speaks.
    """

    def __init__(self, run, values, who, splits, ranks, log=print):
        self.run, self.values, self.who, self.splits, self.ranks, self.log = run, values, who, splits, ranks, log
        self.device = torch.device(values["device"])
        self.method = ranks.spread(build(values, splits).to(self.device, memory_format=torch.channels_last))
        self.optimizer = build_optimizer(self.method, values, self.device)
        self.steps = len(splits.train) // values["batch_size"]  # the last, partial batch is left out
        self.progress, self.saved_at, self.ordered = Progress(), "", (None, None)
        self.followed = None  # the splits of snapshot_dataset, where it is not the run's own
        self.duplicates = None  # queries that are training images too; None where kNN asks nothing
        self.made_by = [{"versions": runs.versions(), "device": runs.device_name(self.device), "devices": ranks.count,
                         "threads": torch.get_num_threads()}]  # one entry for each part made in other surroundings
        if self.device.type == "cuda":
            self.made_by[0]["fp32_convolutions"] = "ieee"  # not TF32, see ``exact_fp32``
        self.deferred = self.device.type == "cuda"  # read the failure flag at the end of an epoch only
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        encoder = self.method.encoder
        self.recipes = build_recipes(values, self.method.views, encoder.mean.tolist(), encoder.std.tolist())
        self.pixels = self._placed(splits.train.pixels)
        self.labels = None if splits.train.labels is None else splits.train.labels.to(self.device)
        self.apply_views = torch.compile(apply_views, dynamic=False) if values["compile"] else apply_views
        for part in self.method.modules() if values["compile"] and ranks.count == 1 else ():
            if isinstance(part, Encoder):  # the method's, and a slow copy of it; exchanges would break their graphs
                part.compile()

    def _placed(self, pixels):
        """On the device if it leaves half of the free memory to the work, else on the host, gathered per step."""
        if self.device.type == "cuda" and pixels.numel() < torch.cuda.mem_get_info()[0] // 2:
            return pixels.to(self.device)
        return pixels

    def resume(self):
        """Continues from the run's checkpoint, if there is one."""
        state, note = checkpoint.load(self.run.path / "checkpoint.pt", self.who, self.device)
        if state is None:
            return
        self.method.load_state_dict(state["method"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.progress = Progress(**state["progress"])
        self.saved_at = f"epoch {self.progress.epoch}, step {self.progress.step}"
        self.log(f"Continuing {self.run.name} at {self.saved_at}.{f' Note: {note}.' if note else ''}")
        self._compare_surroundings(state.get("made_by", []))
        missing = sorted(set(range(self.progress.epoch)) - {row["epoch"] for row in self.run.history()})
        if missing:
            raise CheckpointError(f"{self.run.path / 'history.jsonl'}: rows of epochs {missing} are missing, which the "
                                  "checkpoint is past. Put the file back, or start again with fresh: true.")

    def _compare_surroundings(self, earlier):
        """Says, and keeps for the result, that a part of the run was made with other versions, devices or threads."""
        if not earlier or earlier[-1] == self.made_by[0]:
            self.made_by = earlier or self.made_by
            return
        before, now = ({**part, **part["versions"]} for part in (earlier[-1], self.made_by[0]))
        changes = [f"{name} {before.get(name)} to {now[name]}" for name in now
                   if name != "versions" and before.get(name) != now[name]]
        self.log(f"Note: {', '.join(changes)} since the last part, so the run need not end bit for bit as if it had "
                 "never stopped; the result names all parts.")
        self.made_by = earlier + self.made_by

    def save(self):
        """Writes a checkpoint of this step boundary, unless a step since the last one went wrong."""
        self._raise_if_bad()
        if self.ranks.first:
            state = {"method": self.method.state_dict(), "optimizer": self.optimizer.state_dict(),
                     "progress": vars(self.progress), "made_by": self.made_by}
            checkpoint.save(self.run.path / "checkpoint.pt", state, self.who)
        self.saved_at = f"epoch {self.progress.epoch}, step {self.progress.step}"

    def batch(self):
        """The batch of the coming step: its indices, its views, and the key of its draws."""
        p, size, seed = self.progress, self.values["batch_size"], self.values["seed"]
        chosen = self._order(p.epoch)[p.step * size:(p.step + 1) * size]
        index, key = to_device(self.device, chosen), Key(seed, "step", p.epoch, p.step)
        here = self.pixels.device.type == self.device.type  # torch holds cuda and cuda:0 for different devices
        pixels = self.pixels[index] if here else self.pixels[chosen].to(self.device)  # uint8 (B, H, W, 3)
        views = tuple(draw_views(pixels, recipe, key.child(f"view{i}"), self.apply_views)
                      for i, recipe in enumerate(self.recipes))
        labels = None if self.labels is None else self.labels[index]
        self._count_one_class(chosen)
        done = (p.epoch - 1 + p.step / self.steps) / self.values["epochs"]
        return Batch(views, labels, index, key, p.epoch, done)

    def _order(self, epoch):
        """The epoch's permutation of the training images, drawn once."""
        if self.ordered[0] != epoch:
            drawn = Key(self.values["seed"], "order", epoch).generator().permutation(len(self.splits.train))
            self.ordered = epoch, drawn
        return self.ordered[1]

    def _count_one_class(self, index):
        """Counts batches that hold one class only: every pair in them attracts, and nothing repels."""
        labels = self.splits.train.labels
        self.progress.single_class += bool(self.method.needs_labels and (labels[index] == labels[index[0]]).all())

    def step(self):
        """One optimizer step."""
        batch = self.batch()
        lr = learning_rate(self.values, self.progress.epoch - 1 + self.progress.step / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.values["lr"] if group.get("constant_lr") else lr
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.values["precision"] == "bf16"):
            out = self.method(batch)
        self.optimizer.zero_grad(set_to_none=True)
        out["loss"].backward()
        self.ranks.average(self.method.parameters())
        self._check(out, lr)
        self.optimizer.step()
        self._after_step(out)
        for name, term in out.items():
            if term.ndim == 0:
                self.progress.sums[name] = self.progress.sums.get(name, 0) + term.detach().double()
        self.progress.step += 1

    def _after_step(self, out):
        """The method's own state moves on; where the flag is read late, a bad step's change is undone."""
        kept = [(state, state.clone()) for state in own_state(self.method)] if self.deferred else []
        self.method.after_step(out)
        for state, before in kept:
            state.copy_(torch.where(self.bad_step >= 0, before, state))

    def _check(self, out, lr):
        """Notices a loss or gradient that is not finite; the flag is sticky and stops every later update."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.method.parameters() if p.grad is not None])
        finite = torch.isfinite(out["loss"].detach()) & torch.isfinite(norm)
        number = (self.progress.epoch - 1) * self.steps + self.progress.step + 1
        self.bad_step = torch.where((self.bad_step < 0) & ~finite, number, self.bad_step)
        if self.deferred:
            self.optimizer.found_inf = (self.bad_step >= 0).float()  # a fused optimizer then does nothing
        elif not finite:
            terms = ", ".join(f"{k} {v.item():.4g}" for k, v in out.items() if v.ndim == 0)
            self._raise_if_bad(f" ({terms}, lr {lr:.4g}, gradient norm {norm.item():.4g})")

    def _raise_if_bad(self, details=""):
        number = self.bad_step.item()
        if number >= 0:
            raise NonFiniteLossError(f"loss: finite; step {number} gave a loss or gradient that is not{details}. "
                                     "Lower lr, raise temperature, or use precision fp32; "
                                     f"the last good checkpoint is kept ({self.saved_at}).")

    def memory_problem(self):
        """What to say when the device's memory is full. Nothing is made smaller in silence: the loss would change."""
        size, side = self.values["batch_size"], self.pixels.shape[1]
        peak = torch.cuda.max_memory_allocated() >> 20 if self.device.type == "cuda" else 0
        used = f" (at most {peak:,} MiB were in use)" if peak else ""
        return problem("batch_size", f"as many images of {side} x {side} as the memory of {self.made_by[-1]['device']} "
                       f"holds{used}", size, f"Try batch_size {size // 2}, which is another run with another loss; the "
                       f"last good checkpoint is kept ({self.saved_at})")

    def fit(self, stop, on_epoch=None):
        """Trains to the last epoch; ``stop`` becomes true when a signal asked to end after this step."""
        self._say_duplicates()
        self.saved, warm = time.monotonic(), False
        if self.progress.epoch == 1 and self.progress.step == 0:
            self._end_of(0, {"loss": None}, on_epoch)
            self.save()
        while self.progress.epoch <= self.values["epochs"]:
            self.method.train()
            if mixing_stops(self.values, self.progress.epoch) and not isinstance(self.method.mixer, MIXERS["none"]):
                self.method.mixer, warm = MIXERS["none"](), False  # draws of another form compile anew
            if self.values["compile"] and not warm and self.progress.step < self.steps:  # else no batch is left to ask
                warm = self._warm_up()
            while self.progress.step < self.steps:
                started, cpu = time.monotonic(), time.process_time()
                self.step()
                self.progress.seconds += time.monotonic() - started
                self.progress.cpu_seconds += time.process_time() - cpu
                self._save_or_stop(stop)
            self._end_epoch(on_epoch)
        self.save()
        if self.ranks.most(bool(stop)):
            raise KeyboardInterrupt("stopped after the last epoch; start again to write the result")

    def _warm_up(self):
        """Compiles what a step needs, outside the clock, and leaves no trace of it."""
        before, counted = [(buffer, buffer.clone()) for buffer in self.method.buffers()], self.progress.single_class
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.values["precision"] == "bf16"):
            self.method(self.batch())["loss"].backward()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.single_class = counted
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
        return True

    def _save_or_stop(self, stop):
        """After a step: a checkpoint that is due, and the end that a signal to any rank asked for."""
        due = time.monotonic() - self.saved >= self.values["checkpoint_every"]
        wanted = self.ranks.most(STOP if stop else SAVE if due else 0)
        if wanted:
            started = time.monotonic()
            self._raise_if_bad()  # waits for the device, so its time belongs to the steps
            self.progress.seconds += time.monotonic() - started
            self.save()
            self.saved = time.monotonic()
        if wanted == STOP:
            raise KeyboardInterrupt(f"stopped at {self.saved_at}; start again to continue")

    def _end_epoch(self, on_epoch):
        p, started = self.progress, time.monotonic()
        self._raise_if_bad()  # waits for the device, so its time belongs to the epoch
        p.seconds += time.monotonic() - started
        if p.single_class == self.steps:
            raise DataError(f"labels: two classes in some batch; got {self.steps} batches of one class each in epoch "
                            f"{p.epoch}. Raise batch_size, or add images of other classes.")
        row = {name: (total / self.steps).item() for name, total in p.sums.items()}
        views = self.steps * self.values["batch_size"] * len(self.method.views)
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": p.seconds,
                "views_per_second": views / p.seconds}
        row |= {"single_class_batches": p.single_class} if p.single_class else {}
        self._end_of(p.epoch, row, on_epoch)
        self.progress = Progress(p.epoch + 1, total_seconds=p.total_seconds + p.seconds, cpu_seconds=p.cpu_seconds)

    def _end_of(self, epoch, row, on_epoch):
        """What rank 0 measures and writes at the end of an epoch; the others wait for it in the next step."""
        if not self.ranks.first:
            return
        if self._due("snapshot_every", epoch) and self.values["snapshot_every"]:
            self._take_snapshot(epoch)
        self._record({"epoch": epoch} | row | self._knn(epoch), on_epoch)

    def _take_snapshot(self, epoch):
        other = "" if self.values["snapshot_dataset"] == self.values["dataset"] else self.values["snapshot_dataset"]
        if other and not self.followed:
            whole = {"dataset": other, "val_fraction": 0.0, "train_size": "auto", "label_fraction": 1.0}
            self.followed = data.load_splits(self.values | whole)
        snapshots.record(self.run, self.method.encoder, self.followed or self.splits, epoch, self.values["precision"],
                         other)

    def _due(self, name, epoch):
        every = self.values[name]
        return epoch == self.values["epochs"] or bool(every and epoch % every == 0)

    def _knn(self, epoch):
        unknown = self.splits.queries.labels is None or self.splits.train.labels is None
        if unknown or not self._due("knn_every", epoch):
            return {}
        return knn_top1(self.method.encoder, self.splits.train, self.splits.queries,
                        precision=self.values["precision"])

    def _say_duplicates(self):
        """kNN finds an image that it was asked about among those it knows."""
        train, queries, split = self.splits.train, self.splits.queries, self.splits.knn_split
        if self.ranks.first and train.labels is not None and queries.labels is not None:
            self.duplicates = data.overlap(train, queries)
        if self.duplicates:
            self.log(f"Note: {self.duplicates:,} of the {len(queries):,} {split} images that kNN asks are training "
                     "images too, so its accuracy is too kind.")

    def _record(self, row, on_epoch):
        runs.record_row(self.run, row)
        self.log(runs.describe(row, self.values["epochs"]))
        if on_epoch:
            on_epoch(row)

    def finish(self):
        """Writes the encoder, its head and, last, the result that makes the run finished."""
        history = self.run.history()
        about = {name: self.values[name] for name in ("encoder", "stem", "width")} | {"run": self.run.name}
        digest = runs.save_weights(self.run, "encoder", self.method.encoder, about)
        head = getattr(self.method, "projector", None) or self.method.classifier
        head_digest = runs.save_weights(self.run, "head", head, {"layout": layout(head)})
        last, seconds = history[-1], self.progress.total_seconds
        views = self.values["epochs"] * self.steps * self.values["batch_size"] * len(self.method.views)
        runs.write_result(self.run, {
            "status": "ok", "run": self.run.name, "seed": self.values["seed"], "epochs": self.values["epochs"],
            "loss": last["loss"],
            "knn_top1": last.get("knn_top1"), "knn_k": last.get("knn_k"), "knn_split": self.splits.knn_split,
            "knn_top1_untrained": history[0].get("knn_top1"), "feature_layer": "encoder output (after pooling)",
            "seconds": seconds, "cpu_seconds": self.progress.cpu_seconds,
            "views_per_second": views / seconds if views else None,
            "train_images": len(self.splits.train), "data_checksum": self.splits.train.checksum,
            "queries_checksum": self.splits.queries.checksum, "init_from": self.values["init_from"],
            "knn_duplicates": self.duplicates, "val_seed": self.values.get("val_seed"),
            "labels_used": labels_used(self.values, self.run.path.parent),
            "data_skipped": self.splits.train.skipped, "encoder_sha256": digest, "head_sha256": head_digest,
            **self.made_by[-1], "continued_from": self.made_by[:-1], "finished_at": time.time()})
