"""`broker-trio produce`: each line of stdin becomes a message, each message a receipt.

    stdin ──lines──▶ a bounded channel ──▶ N senders ──▶ receipts on stdout
                                              │
                 not stored ──▶ stderr with its line number, --rejected FILE

One sender keeps the order of the lines within the topic's queues as they come round; more of them
are faster and promise no order. A line is read only when a sender is free, so that a slow cluster
slows down whoever writes into the pipe. Each line is tried until its deadline, so that a failover
costs time and no line; one that was sent and not answered is unknown and never sent again.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import click

from broker_trio.cli.access import (
    Cluster,
    Target,
    client_of,
    cluster_options,
    failure_of,
    no_broker,
    run,
)
from broker_trio.cli.failures import Failure, NobodyReached, OutcomeUnknown
from broker_trio.cli.output import json_option, print_json
from broker_trio.cli.times import Delay

if TYPE_CHECKING:
    import trio

    from broker_trio.client.connect import Client
    from broker_trio.client.receipt import Receipt
    from broker_trio.model.errors import BrokerTrioError

LINE_BYTES_MAX: Final = 4 << 20
READ_BYTES: Final = 1 << 16
FAILURES_SHOWN_MAX: Final = 10
ATTEMPTS_MAX: Final = 10_000  # of one line; its deadline ends them
INTERRUPTED: Final = 130  # the exit code of a shell's command that Ctrl-C ended


class Line(NamedTuple):
    """One message to be: which line of stdin, counted from 1, and what is in it."""

    number: int
    body: bytes


@dataclass(slots=True)
class Tally:
    """How the sends ended. `rejected`: where lines that were certainly not stored are kept."""

    rejected: Path | None = None
    begun: int = 0
    stored: int = 0
    failed: int = 0
    unknown: int = 0
    unreachable: int = 0
    shown: int = 0
    _file: BinaryIO | None = None

    @property
    def problems(self) -> int:
        return self.failed + self.unknown + self.unreachable

    def note(self, line: Line, error: "BrokerTrioError", failure: BaseException) -> None:
        """Count one line that has no receipt, and say why for the first few."""
        what = "not stored"
        if isinstance(failure, OutcomeUnknown):
            self.unknown += 1
            what = "unknown"
        elif isinstance(failure, NobodyReached):
            self.unreachable += 1
        elif isinstance(failure, Failure):
            self.failed += 1
        else:
            raise failure
        if what != "unknown":
            self._keep(line)
        if self.shown < FAILURES_SHOWN_MAX:
            self.shown += 1
            click.echo(f"{what}: line {line.number}: {error}", err=True)

    def _keep(self, line: Line) -> None:
        if self.rejected is None:
            return
        try:
            if self._file is None:
                self._file = self.rejected.open("xb", buffering=0)
            self._file.write(line.body + b"\n")
        except OSError as error:
            raise Failure(f"--rejected {self.rejected}: {error.strerror}") from error

    def close(self) -> None:
        """Close what is open, and say what was not said."""
        if self._file is not None:
            self._file.close()
            click.echo(f"lines that were not stored: {self.rejected}", err=True)
        if self.problems > self.shown:
            click.echo(f"{self.problems - self.shown} more errors are not shown", err=True)

    def text(self) -> str:
        """All that was counted, in one line."""
        under_way = self.begun - self.stored - self.problems
        return (
            f"{self.stored} stored, {self.failed} refused, {self.unreachable} not sent, "
            f"{self.unknown + under_way} of unknown outcome"
        )

    def verdict(self) -> Failure | None:
        """The failure that the command ends with; unknown outcomes weigh most."""
        if self.unknown:
            return OutcomeUnknown(self.text())
        if self.failed or (self.unreachable and self.stored):
            return Failure(self.text())
        return NobodyReached(self.text()) if self.unreachable else None


@click.command()
@click.argument("topic")
@click.option("--tag", "tags", default="", help="Tag of every message.")
@click.option("--key", "keys", default="", help="Keys of each, separated by spaces.")
@click.option("--group", default="broker-trio-produce", show_default=True)
@click.option("--delay", type=Delay(), help="1s 5s 10s 30s 1m … 10m 20m 30m 1h 2h")
@click.option("--delay-level", type=click.IntRange(0, 18), default=0, hidden=True)
@click.option("--senders", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(0.01, 3_600),
    default=30.0,
    show_default=True,
    help="Seconds that each line is tried.",
)
@click.option(
    "--rejected",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file for lines that were not stored.",
)
@click.option("--quiet", is_flag=True, help="No receipts, only the sum at the end.")
@json_option
@cluster_options
def produce(
    *,
    topic: str,
    tags: str,
    keys: str,
    group: str,
    delay: int | None,
    delay_level: int,
    senders: int,
    deadline_s: float,
    rejected: Path | None,
    quiet: bool,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Send each line of stdin to TOPIC and print a receipt for each.

    A receipt says how durable the message is: memory, disk, replicated or
    replicated_disk. A line is tried again through an outage, until its deadline.
    """
    target = Target(nameservers, timeout_s)
    if rejected is not None and rejected.exists():
        raise click.BadParameter(f"{rejected} exists already", param_hint="--rejected")
    tally = Tally(rejected)
    level = delay or delay_level
    sending = Sending(topic, tags, keys.split(), level, target, tally, quiet, as_json)

    async def work(cluster: Cluster) -> None:
        if not await cluster.admin.brokers.replicas():
            raise no_broker(target)
        if sys.stdin.isatty():
            click.echo("one message a line, Ctrl-D ends", err=True)
        client = client_of(target, group, send_timeout_s=deadline_s, attempts_max=ATTEMPTS_MAX)
        async with client as mq:
            await send_all(partial(sending.one, mq), senders)

    try:
        run(target, work, changes=True)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {tally.text()}", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        tally.close()
    if quiet:
        print_sum(tally, as_json=as_json)
    verdict = tally.verdict()
    if verdict is not None:
        raise verdict


@dataclass(frozen=True, slots=True)
class Sending:
    """What every line becomes, and where what became of it is printed and counted."""

    topic: str
    tag: str
    keys: list[str]
    level: int
    target: Target
    tally: Tally
    quiet: bool
    as_json: bool

    async def one(self, mq: "Client", line: Line) -> None:
        """Send one line until it is stored or its deadline is over. Cancelled: unknown."""
        from broker_trio.client.message import DelayLevel  # noqa: PLC0415
        from broker_trio.model.errors import BrokerTrioError  # noqa: PLC0415

        delay = DelayLevel(self.level) if self.level else None
        self.tally.begun += 1
        try:
            receipt = await mq.send(
                self.topic, line.body, tag=self.tag, keys=self.keys, delay=delay
            )
        except BrokerTrioError as error:
            self.tally.note(line, error, failure_of(error, self.target, changes=True))
            return
        self.tally.stored += 1
        if not self.quiet:
            print_receipt(receipt, as_json=self.as_json)


async def send_all(send: Callable[[Line], Any], senders: int) -> None:
    """Hand the lines of stdin to so many senders; a line is read when one of them is free."""
    import trio  # noqa: PLC0415

    give, take = trio.open_memory_channel[Line](0)

    async def sender(lines: "trio.MemoryReceiveChannel[Line]") -> None:
        async with lines:
            async for line in lines:
                await send(line)

    async with trio.open_nursery() as nursery, give, take:
        for _ in range(senders):
            nursery.start_soon(sender, take.clone())
        await take.aclose()
        async for line in lines_of(stdin_reader()):
            await give.send(line)
        await give.aclose()


def stdin_reader() -> Callable[[int], bytes]:
    """How to read some bytes of stdin: from the descriptor itself.

    A thread that waits in Python's buffered reader holds its lock, and the interpreter aborts when
    it ends before that thread does, as after Ctrl-C.
    """
    try:
        return partial(os.read, sys.stdin.fileno())
    except UnsupportedOperation:  # a test's stdin is no file
        return sys.stdin.buffer.read


async def lines_of(read: Callable[[int], bytes]) -> AsyncIterator[Line]:
    """Lines without their ends; empty ones are skipped, a message has a body.

    Reading happens in a thread: a terminal may be slow. A line longer than LINE_BYTES_MAX becomes
    several.
    """
    import trio  # noqa: PLC0415

    number, rest = 0, bytearray()
    while True:
        data = await trio.to_thread.run_sync(read, READ_BYTES, abandon_on_cancel=True)
        rest += data
        if data and b"\n" not in data and len(rest) < LINE_BYTES_MAX:
            continue
        *whole, last = rest.split(b"\n")
        rest = bytearray(last)
        while len(rest) >= LINE_BYTES_MAX:
            whole.append(rest[:LINE_BYTES_MAX])
            del rest[:LINE_BYTES_MAX]
        if not data:
            whole.append(rest)
        for each in whole:
            number += 1
            body = bytes(each).rstrip(b"\r")
            if body:
                yield Line(number, body)
        if not data:
            return


def print_receipt(receipt: "Receipt", *, as_json: bool) -> None:
    """One line a message."""
    if as_json:
        print_json(receipt._asdict())
        return
    click.echo(
        f"message_id {receipt.message_id}  offset_message_id {receipt.offset_message_id}  "
        f"{receipt.broker_name} queue {receipt.queue_id} offset {receipt.queue_offset}  "
        f"{durability_of(receipt)}"
    )


def durability_of(receipt: "Receipt") -> str:
    """What the broker says of it; Apache's do not, so it is the status there."""
    return receipt.status if receipt.durability == "not_told" else receipt.durability.value


def print_sum(tally: Tally, *, as_json: bool) -> None:
    """One line for all messages."""
    if as_json:
        print_json(
            {
                "stored": tally.stored,
                "failed": tally.failed,
                "unreachable": tally.unreachable,
                "unknown": tally.unknown,
            }
        )
    else:
        click.echo(f"{tally.stored} stored")
