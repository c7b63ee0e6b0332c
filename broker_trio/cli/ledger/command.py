"""`broker-trio ledger`: prove what a cluster promised, with files that survive whoever wrote them.

    ledger write TOPIC ──▶ TOPIC.written.cbor ┐
    ledger read TOPIC  ──▶ TOPIC.read.cbor    ┴──▶ ledger check FILE … ──▶ 0 pass, 1 fail, 5 open

Write while something breaks, read when it is whole again, then judge, here or anywhere the files
are brought to. Several writers' files are judged together.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker_trio.cli.access import Target, cluster_options, nameserver_option
from broker_trio.cli.connected import run_connected
from broker_trio.cli.failures import Failure, NobodyReached
from broker_trio.cli.ledger.check import check
from broker_trio.cli.names import TopicName
from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    from broker_trio.client.connect import Client
    from broker_trio.ops.ledger.file import LedgerFile
    from broker_trio.ops.ledger.read import LedgerReader
    from broker_trio.ops.ledger.write import LedgerWriter, Plan

SIZE_MIN: Final = 64
SIZE_MAX: Final = 4 << 20
CAUSES_SHOWN: Final = 5
RATE_REACHED: Final = 0.95  # of the rate asked for


@click.group()
def ledger() -> None:
    """Send numbered messages, read them back, and judge what was lost, doubled or moved."""


ledger.add_command(check)

file_option = click.option(
    "-o",
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to record it; an existing ledger is gone on with.",
)


@ledger.command()
@click.argument("topic", type=TopicName())
@file_option
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=100.0,
    show_default=True,
    help="Messages a second; 0: as fast as they are answered.",
)
@click.option("--tasks", type=click.IntRange(1, 1024), default=8, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(SIZE_MIN, SIZE_MAX),
    default=256,
    show_default=True,
    help="Bytes of each body.",
)
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--seconds", type=click.FloatRange(0.001), help="Stop after so long.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="How often the client may try one message, as long as none may have been stored.",
)
@click.option(
    "--resend-unknown",
    is_flag=True,
    help="Try again also after no answer: then a message may be there twice by right.",
)
@json_option
@cluster_options
def write(
    *,
    topic: str,
    path: Path | None,
    rate: float,
    tasks: int,
    size: int,
    count: int | None,
    seconds: float | None,
    attempts: int,
    resend_unknown: bool,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Send numbered messages and record what becomes of each.

    Runs until --count, --seconds, Ctrl-C or SIGTERM; what is in flight is waited for. --timeout is
    for one send. Failures are recorded, they do not end it.
    """
    from broker_trio.ops.ledger.through_client import options_of, sender  # noqa: PLC0415
    from broker_trio.ops.ledger.write import LedgerWriter, Plan  # noqa: PLC0415
    from broker_trio.runtime.ambient import fresh_entropy  # noqa: PLC0415
    from broker_trio.runtime.clock import RealClock  # noqa: PLC0415

    target, path = Target(nameservers, timeout_s), path or Path(f"{topic}.written.cbor")
    plan = Plan(
        topic=topic, rate=rate, tasks=tasks, size=size, count=count, seconds=seconds,
        attempts=attempts, resend=resend_unknown,
    )  # fmt: skip

    async def work(mq: "Client") -> "LedgerWriter":
        file = await opened(path)
        try:
            identity = f"{fresh_entropy().getrandbits(64):016x}"
            writer = LedgerWriter(file, sender(mq, plan), RealClock(), identity, plan)
            await run_until_signal(writer)
        finally:
            file.close()
        return writer

    writer = run_connected(target, work, options_of(plan, timeout_s), sends=True)
    print_written(writer, plan, path, as_json=as_json)
    if not writer.tally.ok and writer.tally.attempts:
        raise Failure(
            f"nothing was acknowledged; last cause: {writer.tally.last_why}",
            f"broker-trio topic route{nameserver_option(target)} {topic}",
        )
    if not as_json:
        click.echo(f" next: broker-trio ledger read{nameserver_option(target)} {topic}", err=True)


@ledger.command()
@click.argument("topic", type=TopicName())
@file_option
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds that a broker may stay silent before its queue is left open.",
)
@json_option
@cluster_options
def read(
    *,
    topic: str,
    path: Path | None,
    patience_s: float,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Read every queue of TOPIC and record what is there.

    Each from its first message to its end.
    """
    from broker_trio.ops.ledger.read import LedgerReader  # noqa: PLC0415
    from broker_trio.ops.ledger.through_client import GROUP, TopicSource  # noqa: PLC0415
    from broker_trio.runtime.ambient import fresh_entropy  # noqa: PLC0415
    from broker_trio.runtime.clock import RealClock  # noqa: PLC0415

    target, path = Target(nameservers, timeout_s), path or Path(f"{topic}.read.cbor")

    async def work(mq: "Client") -> "LedgerReader":
        import trio  # noqa: PLC0415

        from broker_trio.cli.ledger.watch import watch_reader  # noqa: PLC0415

        file = await opened(path)
        try:
            identity = f"{fresh_entropy().getrandbits(64):016x}"
            reader = LedgerReader(
                file, TopicSource(mq, topic), RealClock(), identity, topic, patience_s=patience_s
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_reader, reader.progress)
                await reader.run()
                nursery.cancel_scope.cancel()
        finally:
            file.close()
        return reader

    reader = run_connected(target, work, {"group": GROUP, "call_timeout_s": timeout_s})
    print_read(reader, path, as_json=as_json)
    if reader.progress.incomplete:
        raise NobodyReached(
            f"{reader.progress.incomplete} of {reader.progress.queues} queues were not read to "
            "their end; read again when their brokers are back: the last reading counts",
            f"broker-trio cluster list{nameserver_option(target)}",
        )
    if not as_json:
        click.echo(f" next: broker-trio ledger check {topic}.written.cbor {path}", err=True)


async def opened(path: Path) -> "LedgerFile":
    """The ledger at this path, made where there is none. Raises `Failure`."""
    from broker_trio.ops.ledger.file import LedgerDamaged, open_ledger  # noqa: PLC0415
    from broker_trio.runtime.disk import RealDisk  # noqa: PLC0415

    try:
        return await open_ledger(RealDisk(str(path.parent), nowait=False), path.name)
    except LedgerDamaged as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


async def run_until_signal(writer: "LedgerWriter") -> None:
    """Run it, watched. The first signal stops it politely, the second one at once."""
    import trio  # noqa: PLC0415

    from broker_trio.cli.ledger.watch import watch_writer  # noqa: PLC0415

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                writer.stop(signal.Signals(await anext(signals)).name)
                await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            nursery.start_soon(watch_writer, writer)
            await writer.run()
            nursery.cancel_scope.cancel()


def print_written(writer: "LedgerWriter", plan: "Plan", path: Path, *, as_json: bool) -> None:
    """What a run did, in sum."""
    tally = writer.tally
    if as_json:
        print_json(
            {
                "writer": writer.writer,
                "file": str(path),
                "topic": plan.topic,
                "attempts": tally.attempts,
                "acknowledged": tally.ok,
                "failed": tally.fail,
                "unknown": tally.unknown,
                "causes": dict(tally.causes),
                "longest_gap_s": round(tally.longest_gap_s, 6),
            }
        )
        return
    click.echo(
        f"{path}: {tally.attempts:,} attempts, {tally.ok:,} acknowledged, {tally.fail:,} failed, "
        f"{tally.unknown:,} unknown; longest gap {tally.longest_gap_s:.3f} s"
    )
    reached = tally.attempts / tally.seconds if tally.seconds else plan.rate
    if reached < plan.rate * RATE_REACHED:
        click.echo(f"  rate not reached: {reached:.0f}/s of {plan.rate:.0f}/s")
    for cause, number in tally.causes.most_common(CAUSES_SHOWN):
        click.echo(f"  {number:>8,}  {cause}")


def print_read(reader: "LedgerReader", path: Path, *, as_json: bool) -> None:
    """What a reading found, in sum."""
    found = reader.progress
    if as_json:
        print_json(
            {
                "file": str(path),
                "queues": found.queues,
                "incomplete": found.incomplete,
                "messages": found.messages,
                "numbered": found.found,
                "damaged": found.damaged,
            }
        )
        return
    click.echo(
        f"{path}: {found.queues} queues, {found.messages:,} messages, {found.found:,} of ledgers, "
        f"{found.damaged:,} damaged"
    )
