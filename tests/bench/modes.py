"""What durability costs: one broker and a pair, with and without an fsync before the answer.

    uv run python -m tests.bench.modes [--rounds 3] [--out docs/benchmarks/NAME.json]

The Java producer of the comparison, 128 B bodies, against our broker in each mode, one mode after
the other, as often as told. Client, master and slave share this machine's cores and its disk, so a
pair has half of what two hosts would give it: the processor time a message is what carries over.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.bench import peers

FLUSH: Final = "BROKER_TRIO__STORE__FLUSH_DISK_TYPE"
MODES: Final = [(pair, flush) for pair in (False, True) for flush in ("ASYNC_FLUSH", "SYNC_FLUSH")]
LOADS: Final = {
    "64 threads": {"threads": 64, "count": 100_000, "warmup": 20_000},
    "one thread": {"threads": 1, "count": 4_000, "warmup": 1_000},
}
KEPT: Final = ("per_second", "p50_us", "p99_us", "broker_cpu_us")


def run_mode(folder: Path, *, pair: bool, flush: str) -> dict[str, dict[str, Any]]:
    """Each load once, on a fresh broker."""
    os.environ[FLUSH] = flush
    ours = peers.start_ours(folder, pair=pair)
    try:
        peers.wait_route(ours)
        found = {
            name: peers.load(ours, "produce", topic="Modes", **load) for name, load in LOADS.items()
        }
    finally:
        ours.stop()
        del os.environ[FLUSH]
    for name, figures in found.items():
        assert figures["failed"] == 0, (name, figures)
    return found


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in KEPT}


def measure(rounds: int, console: Console) -> list[dict[str, Any]]:
    """A row a mode and load: medians, and the runs themselves."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(rounds):
        for pair, flush in MODES:
            mode = f"{'pair' if pair else 'alone'}, {flush}"
            with tempfile.TemporaryDirectory(prefix="broker-trio-modes-") as name:
                found = run_mode(Path(name), pair=pair, flush=flush)
            for load, figures in found.items():
                runs.setdefault((mode, load), []).append(figures)
                console.print(f"{number + 1}: {mode}, {load}: {figures['per_second']:,.0f}/s")
    return [
        {"mode": mode, "load": load, **medians(found), "runs": found}
        for (mode, load), found in runs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    console = Console(width=110)
    waiting = round(os.getloadavg()[0], 1)
    rows = measure(options.rounds, console)
    shown = Table("mode", "load", *KEPT)
    for row in rows:
        shown.add_row(row["mode"], row["load"], *(f"{row[key]:,}" for key in KEPT))
    console.print(shown)
    if options.out:
        document = {"load_average": waiting, "rounds": options.rounds, "rows": rows}
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
