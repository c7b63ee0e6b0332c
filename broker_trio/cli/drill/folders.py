"""Where drills are kept, and the report that is made of a folder.

DRILLS/                       $XDG_DATA_HOME/broker-trio/drills, or --keep
  20261123T131502-kill_master/  run.json marks.jsonl samples.jsonl alerts.jsonl *.cbor
                                report.json report.md report.html
  broker-trio-drills.prom         the newest figures of all of them, for a node exporter
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from broker_trio.cli.failures import Failure
from broker_trio.ops.drill.compare import compare
from broker_trio.ops.drill.page import page
from broker_trio.ops.drill.records import Run, alerts_in, marks_in, samples_in
from broker_trio.ops.drill.report import document, exposition, markdown
from broker_trio.ops.drill.series import series_of
from broker_trio.ops.drill.timeline import fault_ms
from broker_trio.ops.drill.verdict import Folder, outcome_of

RUNS_MAX: Final = 1_000  # of a kept folder; the oldest are not compared with


def default_keep() -> Path:
    """The user's data, as XDG has it."""
    told = os.environ.get("XDG_DATA_HOME", "")
    home = Path(told) if told.startswith("/") else Path.home() / ".local" / "share"
    return home / "broker-trio" / "drills"


def make_folder(keep: Path, run: Run) -> Path:
    """A folder for this run, with `run.json` in it. Raises `Failure`."""
    folder = keep / run.run
    try:
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}", "--keep FOLDER") from error
    return folder


def load(folder: Path) -> Folder:
    """Everything in it. Raises `Failure` for a folder that is none of a drill."""
    from broker_trio.cli.ledger.check import loaded  # noqa: PLC0415

    try:
        run = msgspec.json.decode((folder / "run.json").read_bytes(), type=Run)
    except OSError as error:
        raise Failure(f"{folder}/run.json: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Failure(f"{folder}/run.json: {error}") from error
    ledgers = [folder / name for name in ("written.cbor", "read.cbor")]
    evidence = loaded(tuple(path for path in ledgers if path.exists()))
    try:
        return Folder(
            run,
            marks_in(_bytes(folder / "marks.jsonl")),
            sorted(samples_in(_bytes(folder / "samples.jsonl")), key=lambda one: one.at_ms),
            evidence,
            alerts_in(_bytes(folder / "alerts.jsonl")),
        )
    except msgspec.DecodeError as error:
        raise Failure(f"{folder}: {error}") from error


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def write_report(folder: Path) -> dict[str, Any]:
    """Judge the folder and write the three reports into it; the document of `report.json`."""
    found = load(folder)
    outcome, fault = outcome_of(found), fault_ms(found.marks)
    made = document(found.run, outcome)
    changes = compare(last_before(folder, found.run), made)
    series = None
    if fault is not None:
        series = series_of(found.run, found.samples, found.evidence, fault, found.alerts)
    replace(folder / "report.json", json.dumps(made, indent=1) + "\n")
    replace(folder / "report.md", markdown(found.run, outcome, changes))
    replace(folder / "report.html", page(found.run, outcome, series, changes))
    return made


def kept(keep: Path) -> list[dict[str, Any]]:
    """Every report that is kept, oldest first; what is none is passed over."""
    found: list[dict[str, Any]] = []
    for path in sorted(keep.glob("*/report.json"))[-RUNS_MAX:]:
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda one: one["run"]["begun_ms"])


def last_before(folder: Path, run: Run) -> dict[str, Any]:
    """The report of the same drill on the same pair before this run; empty where there is none."""
    reports: list[dict[str, Any]] = kept(folder.parent)
    for one in reports[::-1]:
        told = one["run"]
        same = (told["drill"], told["cluster"], told["pair"]) == (run.drill, run.cluster, run.pair)
        if same and told["begun_ms"] < run.begun_ms and told["human"] == run.human:
            return one
    return {}


def write_metrics(
    keep: Path, textfile: Path | None, cluster: str, active: tuple[str, str] | None = None
) -> None:
    """The page of metrics here, and where a node exporter reads it. Raises `Failure`."""
    text = exposition(kept(keep), cluster, active)
    for folder in (keep, *([textfile] if textfile else [])):
        try:
            replace(folder / "broker-trio-drills.prom", text)
        except OSError as error:
            raise Failure(f"{folder}/broker-trio-drills.prom: {error.strerror}") from error


def replace(path: Path, text: str) -> None:
    """Write it beside and rename, so that nobody reads half of it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o644)
    beside.rename(path)


@contextmanager
def alone(path: Path) -> Iterator[str]:
    """Hold the lock; gives who holds it instead, or "" when it is ours now."""
    import fcntl  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            yield lock.readline().strip() or "another drill runs"
            return
        lock.truncate(0)
        lock.write(f"another drill runs, pid {os.getpid()}\n")
        lock.flush()
        yield ""
