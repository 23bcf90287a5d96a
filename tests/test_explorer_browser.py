"""The run browser: states, what differs, damage, live runs, and labels that are shown as they are."""

import asyncio
import json
import multiprocessing
import os
import time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from mixlab import explorers, plots, runs
from mixlab.explorers.browser import Browser, first_shown
from mixlab.files import write_json
from mixlab.plots.seen import MOST, differing, labels, rows_of

WHO = {"dataset": "cifar10-mini", "method": "simclr", "mixer": "none", "encoder": "resnet10", "seed": 0, "lr": 0.1}


def make(folder, name="run", rows=3, status="ok", reason=None, **values):
    """A run directory with a parameters file, a history of ``rows`` epochs and, with a status, a result."""
    run = runs.Run(folder / name)
    run.path.mkdir(parents=True)
    (run.path / "params.json").write_text(json.dumps(WHO | {"epochs": 5} | values))
    lines = [{"epoch": e, "loss": None if e == 0 else 3.0 - 0.1 * e, "knn_top1": 0.1 * e} for e in range(rows)]
    (run.path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status:
        (run.path / "result.json").write_text(json.dumps({"status": status, "reason": reason or ""}))
    return run


def by_name(folder):
    return {seen.run.name: seen for seen in plots.survey(folder)}


def asked(folder, interactive=False):
    return SimpleNamespace(runs_dir=str(folder), interactive=interactive)


def test_every_state_is_told_with_its_reason(tmp_path):
    for name, status, reason in (("done", "ok", None), ("cut", "interrupted", "stopped at epoch 2"),
                                 ("bad", "failed", "loss: finite"), ("left", None, None), ("live", None, None),
                                 ("again", "interrupted", "stopped at epoch 1")):
        make(tmp_path, name, status=status, reason=reason)
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file.txt").write_text("no run either")
    with runs.locked(runs.Run(tmp_path / "live")), runs.locked(runs.Run(tmp_path / "again")):
        found = by_name(tmp_path)
    assert {name: (seen.state, seen.reason) for name, seen in found.items()} == {
        "done": ("finished", ""), "cut": ("interrupted", "stopped at epoch 2"), "bad": ("failed", "loss: finite"),
        "left": ("unfinished", ""), "live": ("running", ""), "again": ("running", "")}
    assert list(found)[:2] in (["again", "live"], ["live", "again"]), "running ones come first"
    assert found["done"].epoch == 2 and found["done"].knn == pytest.approx(0.2) and found["done"].progress == "2/5"
    assert "stopped at epoch 2" in plots.runs_table(list(found.values()))


DAMAGE = {
    "no parameters": lambda path: (path / "params.json").unlink(),
    "empty parameters": lambda path: (path / "params.json").write_text(""),
    "parameters that are a list": lambda path: (path / "params.json").write_text("[1]"),
    "parameters that are bytes": lambda path: (path / "params.json").write_bytes(b"\xff\x00\x80"),
    "parameters that are a folder": lambda path: ((path / "params.json").unlink(), (path / "params.json").mkdir()),
    "a nested bomb": lambda path: (path / "result.json").write_text("[" * 200_000),
    "half a result": lambda path: (path / "result.json").write_text('{"status": "o'),
    "a damaged row": lambda path: (path / "history.jsonl").write_text('{"epoch": 0}\ngarbage\n{"epoch": 2}\n'),
    "an epoch that is text": lambda path: (path / "history.jsonl").write_text('{"epoch": "<b>", "loss": 1}\n'),
    "a loss that is a list": lambda path: (path / "history.jsonl").write_text('{"epoch": 0, "loss": [1]}\n'),
    "a row that is a number": lambda path: (path / "history.jsonl").write_text('3\n{"epoch": 1}\n'),
    "a huge number": lambda path: (path / "history.jsonl").write_text('{"epoch": 1' + "0" * 400 + '}\n{"epoch": 1}\n'),
    "NaN": lambda path: (path / "history.jsonl").write_text('{"epoch": 0, "loss": NaN}\n'),
}


@pytest.mark.parametrize("spoil", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_shown_and_stops_nothing(spoil, tmp_path):
    spoil(make(tmp_path, "spoilt").path)
    make(tmp_path, "whole")
    found = by_name(tmp_path)
    assert found["spoilt"].state == "damaged" and found["spoilt"].reason and found["whole"].state == "finished"
    shown = first_shown(list(found.values()), ())
    assert [seen.run.name for seen in shown] == ["whole", "spoilt"]
    assert "damaged" in plots.runs_table(shown) and rows_of(found["whole"])
    plots.overlay(shown).savefig(os.devnull, format="png")
    browser = Browser(tmp_path)
    browser.refresh()
    assert len(browser.list.options) == 2


def test_a_torn_last_row_is_no_damage_and_a_long_history_is_read_from_its_end(tmp_path):
    run = make(tmp_path, "long", rows=1000)
    with open(run.path / "history.jsonl", "a") as file:
        file.write('{"epoch": 1000, "lo')
    (seen,) = plots.survey(tmp_path)
    assert (seen.state, seen.epoch, len(rows_of(seen))) == ("finished", 999, 1000)


def test_what_differs_is_named_and_no_more(tmp_path):
    make(tmp_path, "a", seed=0, runs_dir="here")
    make(tmp_path, "b", seed=1, runs_dir="there")
    make(tmp_path, "c", seed=1, alpha=0.5)
    (make(tmp_path, "d", seed=7).path / "params.json").write_text("damaged")
    found = by_name(tmp_path)
    assert differing([found["a"], found["b"], found["d"]]) == ["seed"]
    assert differing(list(found.values())) == ["seed", "alpha"] and differing([found["a"]]) == []
    assert labels([found[name] for name in "abc"]) == ["seed 0", "seed 1", "seed 1, alpha 0.5"]
    assert labels([found["a"], found["a"]]) == ["a", "a"], "nothing differs, so the name is told"
    table = plots.runs_table([found[name] for name in "abc"], chosen={"b"})
    assert ">alpha</th>" in table and ">0.5</td>" in table and "<b>b</b>" in table and ">lr<" not in table


EVIL = "<img src=x onerror=alert(1)>$\\frac{\n\u202egnp.exe&\"'"


def test_labels_are_shown_as_they_are(tmp_path):
    """A directory, a parameter and a reason may hold anything that a file system and JSON can."""
    make(tmp_path, EVIL, status="failed", reason=EVIL, method=EVIL)
    make(tmp_path, "other", method="$x$")
    found = plots.survey(tmp_path)
    page = explorers.run_browser(asked(tmp_path)).data
    browser = Browser(tmp_path)
    for text in (page, browser.table.value, browser.said.value):
        assert "<img" not in text and "\u202e" not in text and "onerror" in page
    assert all("\n" not in line for line, _ in browser.list.options)
    hovers = [trace.text for trace in browser.figure.data if trace.visible]
    assert hovers and not any("<img" in text for text in hovers)
    figure = plots.overlay(found)
    figure.savefig(os.devnull, format="png")
    assert r"\$x\$" in [text.get_text() for text in figure.legends[0].texts]
    plt.close("all")


def test_hundreds_of_runs_are_listed_at_once(tmp_path):
    for i in range(300):
        make(tmp_path, f"run-{i:03}", rows=200, seed=i)
    plots.survey(tmp_path)
    started = time.process_time()
    found = plots.survey(tmp_path)
    assert len(found) == 300 and time.process_time() - started < 0.5
    with open(tmp_path / "run-007" / "history.jsonl", "a") as file:
        file.write('{"epoch": 200, "loss": 0.5}\n')
    again = {seen.run.name: seen for seen in plots.survey(tmp_path, found)}
    reread = [seen.run.name for seen in found if again[seen.run.name] is not seen]
    assert reread == ["run-007"] and again["run-007"].epoch == 200


def test_a_killed_writer_is_noticed(tmp_path):
    """Its files stay as they were; only the lock is gone."""
    run = make(tmp_path, status=None)
    with runs.locked(run):
        found = plots.survey(tmp_path)
    assert found[0].state == "running" and plots.survey(tmp_path, found)[0].state == "unfinished"


def keep_writing(folder, ready):
    """300 writes as a training makes them, every third torn in the middle by the reader's bad luck."""
    run = make(folder, "live", rows=1, status=None)
    with runs.locked(run):
        ready.set()
        for epoch in range(1, 301):
            if epoch % 3:
                runs.record_row(run, {"epoch": epoch, "loss": 1 / epoch, "knn_top1": 0.5})
            else:
                append_slowly(run.path / "history.jsonl", json.dumps({"epoch": epoch, "loss": 0.0}) + "\n")
        write_json(run.path / "result.json", {"status": "ok"})


def append_slowly(file, line):
    with open(file, "a") as opened:
        for part in (line[:9], line[9:]):
            opened.write(part)
            opened.flush()


def test_a_reader_never_fails_while_a_run_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, epochs, states = context.Event(), [], set()
    writer = context.Process(target=keep_writing, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(30)
    browser, deadline = Browser(tmp_path), time.monotonic() + 60
    while browser.found[0].state != "finished" and time.monotonic() < deadline:
        browser.refresh()
        states.add(browser.found[0].state)
        epochs.append(browser.found[0].epoch)
        browser.pick()
    writer.join(30)
    browser.refresh()
    assert writer.exitcode == 0 and epochs == sorted(epochs) and len(set(epochs)) > 3
    assert "damaged" not in states and browser.found[0].epoch == 300
    loss = next(trace for trace in browser.figure.data if trace.visible)
    assert list(loss.x) == list(range(1, 301)) and loss.y[-1] == pytest.approx(0.0)


def drawn(browser):
    """(text, number of points) of each curve of the loss."""
    return [(trace.text, len(trace.x)) for trace in browser.figure.data[:MOST] if trace.visible]


def test_picks_decide_curves_and_table(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        make(tmp_path, name, rows=3 + seed, seed=seed)
    browser = Browser(tmp_path, [runs.Run(tmp_path / "b")])
    assert set(browser.list.value) == {"a", "b", "c"} and "<b>b</b>" in browser.table.value
    assert browser.list.index == (0, 1, 2), "what the page highlights"
    browser.list.value = ("c",)
    assert [count for _, count in drawn(browser)] == [4] and ">seed</th>" not in browser.table.value
    browser.list.value = ("a", "c")
    assert drawn(browser) == [("seed 2", 4), ("seed 0", 2)], "a curve keeps its colour when another joins it"
    browser.list.value = ()
    assert drawn(browser) == [] and browser.table.value == ""


def test_the_filter_keeps_what_is_picked(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 11)):
        make(tmp_path, name, seed=seed, status="failed" if name == "c" else "ok")
    browser = Browser(tmp_path)
    browser.list.value = ("a",)
    for words, listed in (("seed=1", "abc"), ("SEED=1 fail", "ac"), ("nothing", "a"), ("", "abc")):
        browser.filter.value = words
        assert sorted(name for _, name in browser.list.options) == list(listed) and browser.list.value == ("a",)
        assert [browser.list.options[i][1] for i in browser.list.index] == ["a"]
    assert "3 runs" in browser.said.value and "1 failed" in browser.said.value


async def watch(folder):
    """What a person sees while a run gains rows and another appears; then stopped, then closed."""
    run = make(folder, "live", rows=2, status=None)
    browser, seen = Browser(folder, every=0.01), []
    browser.start()
    for step in (lambda: runs.record_row(run, {"epoch": 2, "loss": 1.0}), lambda: make(folder, "new", seed=5),
                 browser.stop, lambda: runs.record_row(run, {"epoch": 3, "loss": 1.0})):
        await asyncio.sleep(0.1)
        step()
        await asyncio.sleep(0.1)
        seen.append((drawn(browser)[0][1], len(browser.list.options)))
    browser.follow.value = False
    browser.follow.value = True
    await asyncio.sleep(0.1)
    seen.append((drawn(browser)[0][1], len(browser.list.options)))
    task = browser.task
    browser.view.close()
    await asyncio.wait_for(task, 5)
    return seen


def test_a_live_run_is_followed_until_stopped_and_again_after(tmp_path):
    assert asyncio.run(watch(tmp_path)) == [(2, 1), (2, 2), (2, 2), (2, 2), (3, 2)]


def test_without_a_kernel_nothing_follows_and_nothing_fails(tmp_path):
    browser = Browser(tmp_path / "missing")
    browser.start()
    assert browser.task is None and not browser.follow.value and "No runs" in browser.said.value


def test_headless_it_is_a_table_and_a_figure(tmp_path):
    plt.close("all")
    assert "No runs" in explorers.run_browser(asked(tmp_path)).data and not plt.get_fignums()
    for i in range(10):
        make(tmp_path, f"run-{i}", seed=i)
    page = explorers.run_browser(asked(tmp_path), [runs.Run(tmp_path / "run-3")]).data
    assert page.count("<tr>") == 9 and "<b>run-3</b>" in page and "10 finished" in page
    (number,) = plt.get_fignums()
    assert len(plt.figure(number).axes[0].lines) == 8
    plt.close("all")
