"""The rows of the budget table, ours against Apache 5.4.0, alternating in one run.

    uv run python -m tests.bench.compare [--rounds 3] [--quick] [--out docs/benchmarks/NAME.json]

A row is measured `rounds` times on each side, ours first in odd rounds, Apache first in even ones;
the ratio is that of the medians. Both brokers are up all the time and idle while the other is
measured, so both share the machine's neighbours. Everything runs on the same cores.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import peers
from tests.bench.lifecycle import recovery_row, start_row

ROOT = Path(__file__).parents[2]


class Row:
    """One line of the table: what is run, which figure counts, and what ours must reach."""

    def __init__(self, name, kind, figure, must, *, lower_is_better=False, **options):
        self.name, self.kind, self.figure, self.must = name, kind, figure, must
        self.lower_is_better, self.options = lower_is_better, options


ROWS = [
    Row("sync send, 64 threads, 128 B", "produce", "per_second", 1.5, threads=64, count=200_000),
    Row(
        "batch of 32, 4 threads", "produce", "per_second", 1.3, threads=4, batch=32, count=1_600_000
    ),
    Row("one thread, one at a time", "produce", "per_second", 1.1, threads=1, count=20_000),
    Row("catch-up consume", "consume", "per_second", 1.0, count=1_000_000),
]


def measure(row, contender, attempt, scale):
    """One run of a row on one side."""
    options = dict(row.options)
    options["count"] = max(2_000, int(options["count"] * scale))
    if row.kind == "produce":
        topic = f"Bench{abs(hash(row.name)) % 1000}"
        options.setdefault("warmup", max(1_000, int(20_000 * scale)))
    else:
        topic = "Catch"
        options["group"] = f"catch_{contender.name}_{attempt}"
    return peers.load(contender, row.kind, topic=topic, **options)


def prepare_catch_up(contenders, scale):
    """The messages that the consume row reads back."""
    row = next(row for row in ROWS if row.kind == "consume")
    count = max(2_000, int(row.options["count"] * scale))
    for contender in contenders:
        peers.load(contender, "produce", topic="Catch", threads=4, batch=32, count=count, warmup=0)


def run_rows(ours, apache, rounds, scale, say):
    """All rows, `rounds` times each side, alternating."""
    results = []
    for row in ROWS:
        runs = {"ours": [], "apache": []}
        for attempt in range(rounds):
            pair = (ours, apache) if attempt % 2 == 0 else (apache, ours)
            for contender in pair:
                figures = measure(row, contender, attempt, scale)
                runs[contender.name].append(figures)
                say(f"{row.name}: {contender.name} {figures['per_second']:,.0f}/s")
        results.append(summarise(row, runs))
    return results


def summarise(row, runs):
    """Medians, their ratio, and the runs themselves."""
    ours = statistics.median(one[row.figure] for one in runs["ours"])
    apache = statistics.median(one[row.figure] for one in runs["apache"])
    ratio = apache / ours if row.lower_is_better else ours / apache
    return {
        "row": row.name, "figure": row.figure, "ours": ours, "apache": apache,
        "ratio": round(ratio, 2), "must": row.must, "reached": ratio >= row.must, "runs": runs,
    }  # fmt: skip


def memory_row(ours, apache):
    """Anonymous memory of both brokers after everything above."""
    mine, theirs = ours.memory() / 1e6, apache.memory() / 1e6
    return {
        "row": "anonymous memory after the load, MB", "figure": "MB", "ours": round(mine, 1),
        "apache": round(theirs, 1), "ratio": round(theirs / mine, 1), "must": "≤ 100 MB",
        "reached": mine <= 100,
    }  # fmt: skip


def table(results):
    """What a person reads."""
    shown = Table(title="broker_trio beside Apache RocketMQ 5.4.0, same run, same machine")
    for name in ("what", "ours", "apache", "ratio", "must"):
        shown.add_column(name, justify="left" if name == "what" else "right")
    for one in results:
        colour = "green" if one["reached"] else "red"
        shown.add_row(
            one["row"], f"{one['ours']:,}", f"{one['apache']:,}",
            f"[{colour}]{one['ratio']}[/]", str(one["must"]),
        )  # fmt: skip
    return shown


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of the messages, one round"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    reason = peers.missing()
    if reason:
        sys.exit(reason)
    console = Console(width=110)
    scale, rounds = (0.05, 1) if options.quick else (1.0, options.rounds)
    with tempfile.TemporaryDirectory(prefix="broker-trio-bench-") as name:
        folder = Path(name)
        with peers.both(folder / "up") as (ours, apache):
            prepare_catch_up((ours, apache), scale)
            results = run_rows(ours, apache, rounds, scale, console.print)
            results.append(memory_row(ours, apache))
        results.append(start_row(folder, rounds, console.print))
        megabytes = 32 if options.quick else 1024
        results.append(recovery_row(folder, console.print, megabytes))
    console.print(table(results))
    document = {
        "machine": {"python": platform.python_version(), "kernel": platform.release()},
        "rounds": rounds, "scale": scale, "results": results,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return document


if __name__ == "__main__":
    main()
