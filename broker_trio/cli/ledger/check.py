"""`broker-trio ledger check`: judge ledgers, without any cluster; the exit code is the verdict.

    0 pass    1 fail: a promise was broken    5 inconclusive: the evidence does not prove it

For people a table of promises, gaps on a time line, and what to do next; with --json the whole
report as one document.
"""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker_trio.cli.failures import Failure
from broker_trio.cli.output import console, json_option, print_json
from broker_trio.cli.times import When

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.ops.ledger.evidence import Evidence
    from broker_trio.ops.ledger.report import Report

EXIT: Final = {"pass": 0, "fail": 1, "inconclusive": 5}
COLOURS: Final = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
EXAMPLES_SHOWN: Final = 5
GAPS_SHOWN: Final = 8
NOTES_SHOWN: Final = 8


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option(
    "--lost-max",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="So many may be lost, where the mode promises no more.",
)
@click.option(
    "--rto-max", "rto_max_s", type=click.FloatRange(0), help="Longest gap allowed, in seconds."
)
@click.option(
    "--gaps-over",
    "gap_s",
    type=click.FloatRange(0.001),
    default=1.0,
    show_default=True,
    help="Tell of gaps of so many seconds and more.",
)
@click.option(
    "--fault-at",
    "fault_wall_ms",
    type=When(),
    help="When the drill broke something: recovery is measured from there.",
)
@json_option
def check(
    *,
    files: tuple[Path, ...],
    lost_max: int,
    rto_max_s: float | None,
    gap_s: float,
    fault_wall_ms: int | None,
    as_json: bool,
) -> None:
    """Judge ledgers: lost, duplicated, out of order, how long.

    \b
    Exit codes: 0 pass, 1 a promise was broken, 5 inconclusive.
    """
    from broker_trio.ops.ledger.judge import judge  # noqa: PLC0415
    from broker_trio.ops.ledger.report import Demands  # noqa: PLC0415

    demands = Demands(
        lost_max=lost_max, rto_max_s=rto_max_s, gap_s=gap_s, fault_wall_ms=fault_wall_ms
    )
    report = judge(loaded(files), demands)
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report)
    click.get_current_context().exit(EXIT[report.verdict])


def loaded(files: tuple[Path, ...]) -> "Evidence":
    """The records of all files. Raises `Failure` for a file that is no ledger."""
    from broker_trio.model.errors import RemoteProtocolError  # noqa: PLC0415
    from broker_trio.ops.ledger.evidence import Evidence  # noqa: PLC0415
    from broker_trio.ops.ledger.file import load  # noqa: PLC0415
    from broker_trio.runtime.disk import RealDisk  # noqa: PLC0415

    evidence = Evidence()
    for path in files:
        disk = RealDisk(str(path.parent), nowait=False)
        try:
            load(disk, path.name, evidence)
        except RemoteProtocolError as error:
            raise Failure(f"{path}: {error}") from error
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}") from error
    return evidence


# -- for people --------------------------------------------------------------------------------


def print_report(report: "Report") -> None:
    """Numbers, promises, gaps, and last the verdict: the end of an output is read first."""
    out = console()
    for part in (sums(report), promises(report), gaps_table(report)):
        if part is not None:
            out.print(part)
            out.print()
    for note in report.notes[:NOTES_SHOWN]:
        out.print(f"note: {note}", style="dim", markup=False)
    out.print(report.verdict.upper(), style=COLOURS[report.verdict])
    for reason in report.reasons:
        out.print(f"  {reason}", markup=False)


def sums(report: "Report") -> "RenderableType":
    """What was sent and what was found."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column()
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.durability.items()))
    causes = sorted(report.causes.items(), key=lambda item: -item[1])
    why = ", ".join(f"{number:,} {cause}" for cause, number in causes[:EXAMPLES_SHOWN])
    table.add_row(
        "attempts",
        f"{report.attempts:,}",
        f"by {report.writers} writer{'s' * (report.writers != 1)}",
    )
    table.add_row("acknowledged", f"{report.acknowledged:,}", kinds)
    stored = f"{report.unknown_stored:,} of them stored"
    table.add_row("failed", f"{report.failed:,}", "refused, or never left")
    table.add_row("unknown", f"{report.unknown:,}", stored)
    if why:
        table.add_row("causes", "", why)
    others = [(report.foreign, "of other programs"), (report.other_writers, "of other ledgers")]
    others.append((report.repeated, "sent twice by the client"))
    also = ", ".join(f"{number:,} {what}" for number, what in others if number)
    table.add_row("read back", f"{report.read_back:,}", f"and {also}" if also else "")
    return table


def promises(report: "Report") -> "RenderableType":
    """Each way to break a promise, how often it was found, and where first."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("looked for")
    table.add_column("found", justify="right")
    table.add_column("", overflow="fold")
    for name, found in [*report.broken(), ("could not be judged", report.not_judged)]:
        shown = found.examples[:EXAMPLES_SHOWN]
        more = [f"and {found.count - len(shown):,} more"] if found.count > len(shown) else []
        style = "" if not found.count else "yellow" if found is report.not_judged else "red"
        table.add_row(
            Text(name, style=style),
            Text(f"{found.count:,}", style=style or "green"),
            Text("\n".join([*shown, *more])),
        )
    return table


def gaps_table(report: "Report") -> "RenderableType | None":
    """When nothing was acknowledged, longest first."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if report.rto_s is None:
        return None
    brokers = ", ".join(f"{name} {s:.3f} s" for name, s in sorted(report.rto_by_broker.items()))
    what = "longest gap (RTO)" if report.recoveries else "longest gap"  # RTO: after a fault
    title = f"{what} {report.rto_s:.3f} s   each broker by itself: {brokers}"
    if report.rpo_messages:
        title += f"\nlost (RPO) {report.rpo_messages:,} messages over {report.rpo_s:.3f} s"
    for recovery in report.recoveries:
        took = "never" if recovery.seconds is None else f"{recovery.seconds:.3f} s"
        title += f"\nfrom the fault to lasting success: {took}"
    if not report.gaps:
        return Text(title)
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    for name in ("from", "seconds", "failed", "writer", "causes"):
        table.add_column(name, justify="right" if name in {"seconds", "failed"} else "left")
    for gap in report.gaps[:GAPS_SHOWN]:
        begun = datetime.fromtimestamp(gap.from_wall_ms / 1_000).astimezone()
        causes = ", ".join(f"{number} {cause}" for cause, number in sorted(gap.causes.items()))
        table.add_row(
            f"{begun:%H:%M:%S.%f}"[:-3],
            f"{gap.seconds:.3f}",
            f"{gap.failed:,}",
            gap.writer[:8],
            Text(causes + (" (open)" if gap.open else "")),
        )
    return table
