"""The Python client beside others, all against one broker of ours, alternating in one run.

    uv run python -m tests.bench.compare_clients [--rounds 3] [--quick] [--out docs/benchmarks/…]

    python      this package on Trio; `python, asyncio`: the same on asyncio
    java        Apache's client 5.4.0, by `peers load`
    librocketmq `rocketmq` 0.4.4 of the package index: Python over Apache's C++ client

No pure-Python client of the remoting protocol is on the index (looked at in November 2026): those
in pure Python speak the gRPC protocol of Apache's proxy, others start a JVM (JPype) or are wrappers
of the C++ library. Of these, `rocketmq` 0.4.4 brings its library along and installs; it is put into
an environment of its own under the cache folder, and left out, with the reason, where that fails.

A ratio is python's median over the other's. Whoever is measured shares two cores with the broker.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import peers

ROOT = Path(__file__).parents[2]
CACHE = Path.home() / ".cache" / "broker-trio-peers" / "librocketmq"
PEER = "rocketmq==0.4.4"
LIBRARY_COUNT = 0.25  # its share of the messages: it is slower

ROWS = {
    "64 sends in flight, 128 B": ("produce", {"tasks": 64, "count": 30_000, "warmup": 20_000}),
    "one send at a time": ("produce", {"tasks": 1, "count": 3_000, "warmup": 1_000}),
    "batches of 32, 4 in flight": (
        "produce",
        {"tasks": 4, "batch": 32, "count": 200_000, "warmup": 50_000},
    ),
    "catch-up consume": ("consume", {"count": 300_000}),
}


class Clients:
    """Everybody who can be measured, by name, against one broker."""

    def __init__(self, broker, scale):
        self.broker, self.scale = broker, scale
        self.library, self.why_not = library()
        self.runs = 0

    def names(self, kind, options):
        """Who takes part in this row."""
        found = ["python", "python, asyncio", "java"]
        if self.library and kind == "produce" and "batch" not in options:
            found.append("librocketmq")
        return found

    def measure(self, name, kind, options):
        """One run; its figures."""
        self.runs += 1
        options = {
            key: max(1_000, int(value * self.scale)) if key in {"count", "warmup"} else value
            for key, value in options.items()
        }
        catch_up = {"topic": "Catch", "group": f"catch_{self.runs}"}
        options |= {"topic": "Clients"} if kind == "produce" else catch_up
        if name == "java":
            threads = options.pop("tasks", None)
            return peers.load(
                self.broker, kind, **options, **({"threads": threads} if threads else {})
            )
        if name == "librocketmq":
            return self._librocketmq(options)
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        backend = "asyncio" if name.endswith("asyncio") else "trio"
        return self._python(kind, *words, "--backend", backend)

    def _python(self, kind, *words):
        nameserver = self.broker.nameserver
        return said(
            [sys.executable, "-m", "tests.bench.client_load", kind, "--nameserver", nameserver,
             *words]
        )  # fmt: skip

    def _librocketmq(self, options):
        count, warmup = (int(options[key] * LIBRARY_COUNT) for key in ("count", "warmup"))
        script = Path(__file__).with_name("client_librocketmq.py")
        numbers = (options["tasks"], count, warmup)
        return said(
            [self.library, script, self.broker.nameserver, options["topic"], *map(str, numbers)]
        )


def said(command):
    """The JSON line that a load prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def library():
    """(its interpreter, None), or (None, why there is none)."""
    python = CACHE / "bin" / "python"
    if not python.exists():
        for words in (["venv", str(CACHE)], ["pip", "install", "--python", str(python), PEER]):
            done = subprocess.run(["uv", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                return None, done.stderr.strip().splitlines()[-1]
    done = subprocess.run(
        [python, "-c", "import rocketmq.client"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["ended at once"])[-1]
    return python, None


def run_rows(clients, rounds, say):
    """All rows; who begins changes with each round."""
    results = []
    for row, (kind, options) in ROWS.items():
        names = clients.names(kind, options)
        runs = {name: [] for name in names}
        for attempt in range(rounds):
            for name in names if attempt % 2 == 0 else reversed(names):
                figures = clients.measure(name, kind, options)
                runs[name].append(figures)
                say(f"{row}: {name} {figures['per_second']:,.0f}/s")
        results.append(summarise(row, runs))
    return results


def summarise(row, runs):
    """Medians, and python's over each other's."""
    medians = {
        name: statistics.median(one["per_second"] for one in taken) for name, taken in runs.items()
    }
    ratios = {
        name: round(medians["python"] / median, 2)
        for name, median in medians.items()
        if name != "python"
    }
    return {"row": row, "per_second": medians, "ratio_of_python_to": ratios, "runs": runs}


def table(results):
    """What a person reads."""
    shown = Table(title="clients against one broker of ours, messages a second")
    names = list(results[0]["per_second"])
    for name in ("what", *names, "to java"):
        shown.add_column(name, justify="left" if name == "what" else "right")
    for one in results:
        figures = [f"{one['per_second'].get(name, 0):,.0f}" for name in names]
        shown.add_row(one["row"], *figures, str(one["ratio_of_python_to"]["java"]))
    return shown


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a twentieth of it, one round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    reason = peers.missing()
    if reason:
        sys.exit(reason)
    console = Console(width=110)
    scale, rounds = (0.05, 1) if options.quick else (1.0, options.rounds)
    with tempfile.TemporaryDirectory(prefix="broker-trio-bench-") as folder:
        broker = peers.start_ours(Path(folder))
        try:
            peers.wait_route(broker)
            count = max(2_000, int(ROWS["catch-up consume"][1]["count"] * scale))
            peers.load(broker, "produce", topic="Catch", threads=4, batch=32, count=count, warmup=0)
            clients = Clients(broker, scale)
            results = run_rows(clients, rounds, console.print)
        finally:
            broker.stop()
    console.print(table(results))
    document = {
        "machine": {"python": platform.python_version(), "kernel": platform.release()},
        "rounds": rounds, "scale": scale,
        "librocketmq": clients.why_not or PEER, "results": results,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return document


if __name__ == "__main__":
    main()
