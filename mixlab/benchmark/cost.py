"""What a study costs: minutes for so many epochs of an encoder on some hardware, measured and as counted floors."""

from mixlab.benchmark.floors import VENDORS, count_encoder
from mixlab.benchmark.rows import is_ours

CIFAR_VIEWS = 100_000
EPOCHS = (100, 200, 1000)


def cost_table(rows, epochs=EPOCHS, encoders=("resnet18", "resnet34", "resnet50")):
    """Minutes of pre-training on CIFAR with two views as Markdown: what was measured, then floors, which are not.

    Args:
        rows: measured rows; where an encoder has no epoch measured, its step stands for it.
    """
    lines = [f"| encoder | hardware | views/s | {' | '.join(f'{n:,} epochs' for n in epochs)} | from |",
             "| --- | --- | ---: |" + " ---: |" * len(epochs) + " --- |"]
    for encoder in encoders:
        for hardware, rate, source in [*_measured(rows, encoder), *_floors(encoder)]:
            minutes = [f"{n * CIFAR_VIEWS / rate / 60:,.{0 if rate < 1e4 else 1}f} min" for n in epochs]
            lines.append(f"| {encoder} | {hardware} | {rate:,.0f} | {' | '.join(minutes)} | {source} |")
    return "\n".join(lines)


def _measured(rows, encoder):
    """(hardware, views per second by the wall clock, how it was got): whole epochs, else steps."""
    own = [row for row in rows if row.case == encoder and is_ours(row.arm) and row.unit == "views/s"]
    for part, source in (("epoch", "measured: whole epochs"), ("step", "measured: steps without augmentation")):
        found = [row for row in own if row.part == part]
        if found:
            best = max(found, key=lambda row: row.value)
            threads = f", {best.threads} thread{'s' * (best.threads > 1)}" if best.machine.startswith("cpu") else ""
            rate = best.value if best.clock == "cpu" else best.wall
            return [(best.machine.rsplit(", ", 1)[0] + threads, rate, f"{source} ({best.precision})")]
    return []


def _floors(encoder):
    """The same for hardware that was not measured: the larger of the counted floors at the vendor's figures."""
    counted = count_encoder(encoder)
    for name, (flops, bandwidth) in VENDORS.items():
        arithmetic, memory = counted.seconds(flops, bandwidth)
        bound = "memory" if memory > arithmetic else "arithmetic"
        yield name, 1 / max(arithmetic, memory), f"**floor, not measured** ({bound})"
