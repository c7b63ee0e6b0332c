"""`broker-trio produce`: each line of stdin becomes a message, each message a receipt.

    stdin ──lines──▶ a bounded channel ──▶ N senders ──▶ receipts on stdout

One sender keeps the order of the lines within the topic's queues as they come round; more of them
are faster and promise no order. A line is read only when a sender is free, so that a slow cluster
slows down whoever writes into the pipe.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

import click

from broker_trio.cli.access import Cluster, Target, client_of, cluster_options, failure_of, run
from broker_trio.cli.failures import Failure, NobodyReached, OutcomeUnknown
from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    import trio

    from broker_trio.client.connect import Client
    from broker_trio.client.receipt import Receipt

LINE_BYTES_MAX: Final = 4 << 20
FAILURES_SHOWN_MAX: Final = 10


@dataclass(slots=True)
class Tally:
    """How the sends ended."""

    stored: int = 0
    failed: int = 0
    unknown: int = 0
    unreachable: int = 0
    texts: list[str] = field(default_factory=list)

    def note(self, failure: BaseException) -> None:
        """Count one send that has no receipt, and say why for the first few."""
        if isinstance(failure, OutcomeUnknown):
            self.unknown += 1
        elif isinstance(failure, NobodyReached):
            self.unreachable += 1
        elif isinstance(failure, Failure):
            self.failed += 1
        else:
            raise failure
        if len(self.texts) < FAILURES_SHOWN_MAX:
            self.texts.append(failure.message)
            click.echo(f"not stored: {failure.message}", err=True)

    def verdict(self) -> Failure | None:
        """The failure that the command ends with; unknown outcomes weigh most."""
        text = (
            f"{self.stored} stored, {self.failed} refused, {self.unreachable} not sent, "
            f"{self.unknown} of unknown outcome"
        )
        if self.unknown:
            return OutcomeUnknown(text)
        if self.failed:
            return Failure(text)
        return NobodyReached(text) if self.unreachable else None


@click.command()
@click.argument("topic")
@click.option("--tag", "tags", default="", help="Tag of every message.")
@click.option("--key", "keys", default="", help="Keys of every message, separated by spaces.")
@click.option("--group", default="broker-trio-produce", show_default=True)
@click.option("--delay-level", type=click.IntRange(0, 18), default=0, help="1 is 1 s, 18 is 2 h.")
@click.option("--senders", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--quiet", is_flag=True, help="No receipt a message, only the sum at the end.")
@json_option
@cluster_options
def produce(
    *,
    topic: str,
    tags: str,
    keys: str,
    group: str,
    delay_level: int,
    senders: int,
    quiet: bool,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Send each line of stdin to TOPIC and print a receipt for each.

    A receipt says how durable the message is: memory, disk, replicated or replicated_disk.
    """
    target = Target(nameservers, timeout_s)
    tally = Tally()

    async def send_one(mq: "Client", line: bytes) -> None:
        from broker_trio.client.message import DelayLevel  # noqa: PLC0415
        from broker_trio.model.errors import BrokerTrioError  # noqa: PLC0415

        delay = DelayLevel(delay_level) if delay_level else None
        try:
            receipt = await mq.send(topic, line, tag=tags, keys=keys.split(), delay=delay)
        except BrokerTrioError as error:
            tally.note(failure_of(error, target, changes=True))
            return
        tally.stored += 1
        if not quiet:
            print_receipt(receipt, as_json=as_json)

    async def work(_cluster: Cluster) -> None:
        import trio  # noqa: PLC0415

        give, take = trio.open_memory_channel[bytes](0)  # a line is read when a sender is free

        async def sender(lines: "trio.MemoryReceiveChannel[bytes]") -> None:
            async with lines:
                async for line in lines:
                    await send_one(mq, line)

        async with client_of(target, group) as mq, trio.open_nursery() as nursery, give, take:
            for _ in range(senders):
                nursery.start_soon(sender, take.clone())
            await take.aclose()
            await feed(sys.stdin.buffer, give)
            await give.aclose()

    run(target, work, changes=True)
    if quiet:
        print_sum(tally, as_json=as_json)
    verdict = tally.verdict()
    if verdict is not None:
        raise verdict


async def feed(stdin: IO[bytes], give: "trio.MemorySendChannel[bytes]") -> None:
    """Give each line on, without its end. Reading happens in a thread: a terminal may be slow."""
    import trio  # noqa: PLC0415

    lines = lines_of(stdin)
    while True:
        line = await trio.to_thread.run_sync(next, lines, None, abandon_on_cancel=True)
        if line is None:
            return
        await give.send(line)


def lines_of(stdin: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; empty ones are skipped, a message has a body."""
    while line := stdin.readline(LINE_BYTES_MAX):
        line = line.rstrip(b"\r\n")
        if line:
            yield line


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
