"""Medians of what fleet runs printed, as a table for docs/benchmarks/fleet.md and its JSON.

    BROKER_TRIO_FIGURES=run1.json uv run pytest -m fleet -s tests/fleet/test_eight_hosts.py
    uv run python -m tests.fleet.figures run[123].json --out docs/benchmarks/NAME.json

Each file is one run. A figure that a run has twice (the fleet was asked twice) is kept twice.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

SMALL = 100  # from here on no digits behind the point


def read_run(path: Path) -> list[dict[str, Any]]:
    """The lines of one run without those of single plays, which figures name again."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if not line["figure"].startswith("play ")]


def gathered(runs: list[list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """By figure and value: what each run measured, in the order of the runs."""
    found: dict[str, dict[str, list[float]]] = {}
    for line in (line for run in runs for line in run):
        numbers = {key: value for key, value in line.items() if isinstance(value, int | float)}
        for key, value in numbers.items():
            found.setdefault(line["figure"], {}).setdefault(key, []).append(value)
    return found


def document(runs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """All runs, their medians, and the machine."""
    medians = {
        figure: {key: median(values) for key, values in each.items()}
        for figure, each in gathered(runs).items()
    }
    machine = {
        "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
    }  # fmt: skip
    return {"machine": machine, "medians": medians, "runs": runs}


def table(runs: list[list[dict[str, Any]]]) -> str:
    """One row a value: the median, and each run."""
    rows = ["| figure | | median | runs |", "|---|---|---|---|"]
    for figure, each in gathered(runs).items():
        rows += [
            f"| {figure} | {key} | {shown(median(values))} | {', '.join(map(shown, values))} |"
            for key, values in each.items()
        ]
    return "\n".join(rows)


def shown(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:.0f}" if value >= SMALL or value == int(value) else f"{value:.3g}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="what BROKER_TRIO_FIGURES named")
    parser.add_argument("--out", type=Path, help="all of it as JSON")
    asked = parser.parse_args()
    runs = [read_run(path) for path in asked.runs]
    if asked.out:
        asked.out.write_text(json.dumps(document(runs), indent=1) + "\n")
    print(table(runs))  # noqa: T201


if __name__ == "__main__":
    main()
