"""`broker-trio consume`: a topic's messages on stdout, and the group's place moved behind them.

One task a queue pulls, prints and commits, in this order: a message is committed only after it was
written out, so that a broken pipe or a kill prints some again and loses none. Without `--follow`
each queue ends where it stood at the beginning.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from broker_trio.cli.access import Cluster, Target, cluster_options, run
from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    from broker_trio.client.group_calls import GroupCalls
    from broker_trio.client.tag_filter import TagFilter
    from broker_trio.model.message import MessageExt
    from broker_trio.model.route import MessageQueue

HOLD_MS: Final = 15_000
IDLE_S: Final = 1.0


@dataclass(slots=True)
class Printing:
    """What is printed how, and how much of it is left (None: without limit)."""

    as_json: bool
    left: int | None
    printed: int = 0

    @property
    def done(self) -> bool:
        return self.left == 0

    def take(self, message: "MessageExt") -> None:
        """Print one message."""
        if self.left is not None:
            self.left -= 1
        self.printed += 1
        if self.as_json:
            from broker_trio.cli.message import message_tree  # noqa: PLC0415

            print_json(message_tree(message))
        else:
            sys.stdout.buffer.write(message.body + b"\n")

    def flush(self) -> None:
        sys.stdout.buffer.flush()


@click.command()
@click.argument("topic")
@click.option("--group", default="broker-trio-consume", show_default=True)
@click.option(
    "--tag", "--tags", "tags", default="*", show_default=True, help="One, or TagA || TagB."
)
@click.option("--from-first", is_flag=True, help="A new group starts at the oldest message.")
@click.option("--follow", is_flag=True, help="Go on waiting for messages at the end.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--no-commit", is_flag=True, help="Leave the group where it stands.")
@json_option
@cluster_options
def consume(
    *,
    topic: str,
    group: str,
    tags: str,
    from_first: bool,
    follow: bool,
    count: int | None,
    no_commit: bool,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Print the messages of TOPIC that GROUP has not consumed yet, one body a line.

    A new group starts at the end unless --from-first. It is no member of the
    group: two of these both get all, and order is that of each queue.
    """
    printing = Printing(as_json, count)

    async def work(cluster: Cluster) -> None:
        import trio  # noqa: PLC0415

        from broker_trio.client.group_calls import GroupCalls, readable  # noqa: PLC0415
        from broker_trio.client.tag_filter import TagFilter  # noqa: PLC0415

        calls, wanted = GroupCalls(cluster.calls, group), TagFilter.parse(tags)
        queues = readable(topic, await cluster.nameservers.route(topic))
        async with trio.open_nursery() as nursery:

            async def one(queue: "MessageQueue", address: str) -> None:
                reader = QueueReader(calls, queue, address, wanted)
                await reader.read(printing, from_first, follow=follow, commit=not no_commit)
                if printing.done:
                    nursery.cancel_scope.cancel()

            for queue, address in queues.items():
                nursery.start_soon(one, queue, address)

    try:
        run(Target(nameservers, timeout_s), work)
    except KeyboardInterrupt:  # how a person ends --follow; without it the rest is not read
        click.echo(f"{printing.printed} messages", err=True)
        if not follow:
            raise
        return
    if not as_json and sys.stderr.isatty():
        click.echo(f"{printing.printed} messages", err=True)


class QueueReader:
    """One queue, read from where the group stands."""

    def __init__(
        self, calls: "GroupCalls", queue: "MessageQueue", address: str, tags: "TagFilter"
    ) -> None:
        self._calls, self._queue, self._address, self._tags = calls, queue, address, tags

    async def read(
        self, printing: Printing, from_first: bool, *, follow: bool, commit: bool
    ) -> None:
        """Until the queue's end as it is now, for ever with `follow`, or until nothing is left."""
        calls, queue, address = self._calls, self._queue, self._address
        begin, end = await calls.bounds(address, queue)
        committed = await calls.committed(address, queue)
        start = begin if from_first else end
        offset = start if committed is None else committed
        while not printing.done and (follow or offset < end):
            pulled = await calls.pull(
                address, queue, offset, filter=self._tags, wait_ms=HOLD_MS if follow else 0
            )
            following = pulled.next_offset
            for message in pulled.messages:
                if printing.done:
                    following = message.queue_offset
                    break
                printing.take(message)
            printing.flush()
            if commit and following != offset:
                await calls.commit(address, queue, following)
            if pulled.at_end and not follow:
                return
            offset = following
