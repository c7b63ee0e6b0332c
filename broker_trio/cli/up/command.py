"""`broker-trio up`: plan, check the ports, start the children, show them, stop them.

    plan ──▶ ports free? ──▶ folder locked ──▶ nameservers ready ──▶ brokers ready ──▶ show
                                                                                        │
      exit 0 ◀── brokers, then nameservers stopped ◀── SIGINT, SIGTERM ◀───── rates ◀───┤
      exit 1 ◀── the others stopped ◀── the tail of its log ◀── a child died ◀──────────┘

Everything is on loopback, and nothing outside the folder is touched.
"""

import fcntl
import functools
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import click

from broker_trio.cli.failures import Failure, GuardRefused
from broker_trio.cli.up import ports
from broker_trio.cli.up.plan import NAMESERVERS_MAX, PAIRS_MAX, Plan, make_plan

NAMESERVER_PORT: Final = 9876
BROKER_PORT: Final = 10911
RESTART_AFTER_S: Final = 30.0  # long enough to look, and to promote the other one
PORT: Final = click.IntRange(0, 65_000)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--ephemeral", is_flag=True, help="Use a temporary folder, removed at the end.")
@click.option("--pairs", type=click.IntRange(1, PAIRS_MAX), default=1, show_default=True)
@click.option("--single", is_flag=True, help="Masters alone: no slaves, one copy of everything.")
@click.option(
    "--nameservers", type=click.IntRange(1, NAMESERVERS_MAX), default=1, show_default=True
)
@click.option("--nameserver-port", type=PORT, default=NAMESERVER_PORT, show_default=True)
@click.option("--broker-port", type=PORT, default=BROKER_PORT, show_default=True)
@click.option(
    "--restart-after",
    "restart_after_s",
    type=click.FloatRange(0.1, 86_400),
    default=RESTART_AFTER_S,
    show_default=True,
    help="Seconds until a replica that died is started again.",
)
@click.option("--json", "as_json", is_flag=True, help="A line when ready, then one an event.")
def up(
    *,
    folder: Path | None,
    ephemeral: bool,
    pairs: int,
    single: bool,
    nameservers: int,
    nameserver_port: int,
    broker_port: int,
    restart_after_s: float,
    as_json: bool,
) -> None:
    """Start nameservers and brokers here, in one terminal; Ctrl-C stops all.

    A pair is a master and a slave, and a message is acknowledged when both have it. Kill the
    master and watch: what to type is shown. Port 0 takes any free one; further processes take
    ports + 10 each. Settings of brokers may be given as BROKER_TRIO__SECTION__KEY. The folder is
    kept between runs: $XDG_DATA_HOME/broker-trio unless --dir names another one.
    """
    if ephemeral and folder is not None:
        raise click.UsageError("--dir and --ephemeral exclude each other")
    with chosen_folder(folder, ephemeral=ephemeral) as home, locked(home):
        if single:
            check_no_pair(home)
        plan = make_plan(
            home,
            pairs=pairs,
            nameservers=nameservers,
            nameserver_port=nameserver_port,
            broker_port=broker_port,
            free_block=lambda offsets, taken: ports.free_block(
                offsets, taken, random.SystemRandom()
            ),
            single=single,
        )
        check_ports(plan)
        code = run_fleet(
            plan,
            as_json=as_json,
            ephemeral=ephemeral,
            folder=home,
            restart_after_s=restart_after_s,
        )
    sys.exit(code)


def check_no_pair(home: Path) -> None:
    """A replica without its pair would go on from an old copy. Raises `GuardRefused`."""
    known = sorted(path.parts[-4] for path in home.glob("broker-*/store/broker_trio/pair.cbor"))
    if known:
        raise GuardRefused(
            f"{home} holds replicas of pairs: {', '.join(known)}",
            f"broker-trio up --dir {home}, or --single with another folder",
        )


def run_fleet(
    plan: Plan, *, as_json: bool, ephemeral: bool, folder: Path, restart_after_s: float
) -> int:
    """Everything that needs a loop; gives the exit code."""
    import trio  # noqa: PLC0415

    from broker_trio.cli.up.run import run  # noqa: PLC0415
    from broker_trio.cli.up.view import JsonView, Screen  # noqa: PLC0415

    flush = os.environ.get("BROKER_TRIO__STORE__FLUSH_DISK_TYPE", "ASYNC_FLUSH")
    mode = os.environ.get("BROKER_TRIO__REPLICATION__MODE", "sync")
    screen = Screen(live=sys.stdout.isatty(), flush_disk_type=flush, mode=mode)
    view = JsonView() if as_json else screen
    view.starting(folder, ephemeral=ephemeral)
    start = functools.partial(run, restart_after_s=restart_after_s)
    return trio.run(start, plan, view, dict(os.environ))


@contextmanager
def chosen_folder(folder: Path | None, *, ephemeral: bool) -> Iterator[Path]:
    """The folder to work in; a temporary one goes with everything in it."""
    if ephemeral:
        made = Path(tempfile.mkdtemp(prefix="broker-trio-"))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return
    home = folder or default_folder(dict(os.environ))
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{home}: {error.strerror}", "broker-trio up --dir FOLDER") from error
    yield home.absolute()


def default_folder(environ: dict[str, str]) -> Path:
    """Where users' data goes by the XDG rules."""
    data = environ.get("XDG_DATA_HOME", "")
    home = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return home / "broker-trio"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises `GuardRefused` naming who has it."""
    with (folder / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GuardRefused(
                f"{folder} is in use by another `broker-trio up`, pid {_first_line(lock)}",
                "broker-trio up --ephemeral --nameserver-port 0 --broker-port 0",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _first_line(file: TextIO) -> str:
    file.seek(0)
    return file.readline().strip() or "unknown"


def check_ports(plan: Plan) -> None:
    """Refuse before anything starts: all ports that are taken, and by whom."""
    problems = plan.clashes()
    for process in plan.processes:
        for port, use in process.ports.items():
            if not 1 <= port <= 65_535:
                problems.append(f"port {port} ({process.instance}, {use}) is out of range")
            elif not ports.is_free(port):
                holder = ports.holder_of(port) or "somebody who has just left, or a reserved port"
                problems.append(f"port {port} ({process.instance}, {use}) is taken by {holder}")
    if problems:
        raise Failure(
            "\n       ".join(problems), "broker-trio up --nameserver-port 0 --broker-port 0"
        )
