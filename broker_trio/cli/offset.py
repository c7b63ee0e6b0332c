"""`broker-trio offset`: where a group stands, and where it is put.

A reset shows first what it would do, queue by queue: how many messages would be consumed again, and
how many never. It is done with --yes only, and then exactly as shown.
"""

from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, asks, next_command, run
from broker_trio.cli.failures import GuardRefused
from broker_trio.cli.names import GroupName, TopicName
from broker_trio.cli.output import Column, Styled, make_table, print_json, print_table
from broker_trio.cli.times import When, time_text
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.client.admin.offsets import Lag, Move, Place


@click.group()
def offset() -> None:
    """Show, reset and copy the places of consumer groups; find the offset of a time."""


@offset.command("show")
@click.argument("group", type=GroupName())
@click.option("--topic", type=TopicName(), default="", help="Only this topic.")
@watch_options
@asks
def show_offsets(
    *,
    group: str,
    topic: str,
    every_s: float | None,
    times: int | None,
    target: Target,
    as_json: bool,
) -> None:
    """Show the group's place in each queue."""
    from broker_trio.cli.group import lag_numbers, lag_tree, queues_table  # noqa: PLC0415

    def table(found: "Lag", moved: Moved) -> "RenderableType":
        if found.queues:
            return queues_table({group: found}, moved)
        return make_table("", (), (), empty=f"{group} has no place anywhere")

    watch = Watch(
        lambda cluster: cluster.admin.offsets.lag(group, topic),
        lambda found: lag_tree({group: found})["groups"][0],
        table,
        lambda found: lag_numbers({group: found}),
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


@offset.command()
@click.argument("group", type=GroupName())
@click.argument("topic", type=TopicName())
@click.option("--to", "end", type=click.Choice(["first", "last"]), help="Beginning or end.")
@click.option("--to-time", "time_ms", type=When(), help="10m (ago), 2026-11-23T09:00, ms.")
@click.option("--to-offset", "number", type=click.IntRange(0), help="Of one queue: --queue.")
@click.option("--queue", "queue_id", type=click.IntRange(0), help="Only this queue id.")
@click.option("--yes", is_flag=True, help="Do it; without it only show.")
@asks
def reset(
    *,
    group: str,
    topic: str,
    end: str | None,
    time_ms: int | None,
    number: int | None,
    queue_id: int | None,
    yes: bool,
    target: Target,
    as_json: bool,
) -> None:
    """Put the group elsewhere in TOPIC. Members that are online follow with their next pull.

    Without --yes it shows what would be done, and exits with 3.
    """
    to = place_of(end, time_ms, number, queue_id)

    async def plan(cluster: Cluster) -> "list[Move]":
        return await cluster.admin.offsets.plan_reset(group, topic, to, queue_id=queue_id)

    moves = run(target, plan)
    tree = {"group": group, "topic": topic, "done": yes, "queues": [move_tree(m) for m in moves]}
    if yes:
        run(target, lambda cluster: cluster.admin.offsets.reset(group, moves), changes=True)
    if as_json:
        print_json(tree)
    else:
        print_moves(moves)
    again, skipped = sum(m.again for m in moves), sum(m.skipped for m in moves)
    text = f"{again} messages to be consumed again, {skipped} to be skipped"
    if yes:
        click.echo(f"done: {text}", err=as_json)
        return
    command = command_of(to, group, topic, queue_id)
    raise GuardRefused(f"nothing done yet: {text}", next_command(command, target))


def place_of(
    end: str | None, time_ms: int | None, number: int | None, queue_id: int | None
) -> "Place":
    """Which of the options says where to."""
    from broker_trio.client.admin.offsets import AtTime  # noqa: PLC0415

    if sum(each is not None for each in (end, time_ms, number)) != 1:
        raise click.UsageError("where to: one of --to first|last, --to-time TIME, --to-offset N")
    if number is not None:
        if queue_id is None:
            raise click.UsageError("--to-offset is of one queue: name it with --queue")
        return number
    if time_ms is not None:
        return AtTime(time_ms)
    return "first" if end == "first" else "last"


def command_of(to: "Place", group: str, topic: str, queue_id: int | None) -> str:
    """The command that does what was shown."""
    if isinstance(to, int):
        where = f"--to-offset {to}"
    elif isinstance(to, str):
        where = f"--to {to}"
    else:
        where = f"--to-time {to.timestamp_ms}"
    queue = "" if queue_id is None else f" --queue {queue_id}"
    return f"broker-trio offset reset {group} {topic} {where}{queue} --yes"


def move_tree(move: "Move") -> dict[str, Any]:
    """One queue of a plan as JSON."""
    return {
        "broker": move.queue.broker_name,
        "queue": move.queue.queue_id,
        "before": move.before,
        "after": move.after,
        "min_offset": move.low,
        "max_offset": move.high,
        "again": move.again,
        "skipped": move.skipped,
    }


def print_moves(moves: "list[Move]") -> None:
    """A plan for people."""
    rows = [
        (
            move.queue.broker_name,
            move.queue.queue_id,
            move.before if move.before >= 0 else None,
            move.after,
            move.low,
            move.high,
            Styled(str(move.again), "warn" if move.again else "dim"),
            Styled(str(move.skipped), "fail" if move.skipped else "dim"),
        )
        for move in moves
    ]
    columns = ("broker", "queue", "from", "to", "min", "max", "again", "skipped")
    print_table("", columns, rows)


@offset.command()
@click.argument("source", type=GroupName())
@click.argument("group", type=GroupName())
@click.option("--topic", type=TopicName(), default="", help="Only this topic.")
@asks
def clone(*, source: str, group: str, topic: str, target: Target, as_json: bool) -> None:
    """Give GROUP the places of SOURCE.

    In one topic, or in all that SOURCE consumes.
    """
    brokers = run(
        target, lambda cluster: cluster.admin.offsets.clone(source, group, topic), changes=True
    )
    if as_json:
        print_json({"source": source, "group": group, "topic": topic or None, "brokers": brokers})
    else:
        click.echo(f"{group} stands where {source} stands, on {', '.join(brokers)}")


@offset.command("find")
@click.argument("topic", type=TopicName())
@click.argument("when", type=When())
@asks
def find(*, topic: str, when: int, target: Target, as_json: bool) -> None:
    """Show the offsets of a time.

    In each queue that of the first message stored at or after WHEN.
    """

    async def work(cluster: Cluster) -> list[dict[str, Any]]:
        offsets = cluster.admin.offsets
        return [
            {
                "broker": queue.broker_name,
                "queue": queue.queue_id,
                "offset": await offsets.at_time(queue, address, when),
            }
            for queue, address in (await offsets.queues(topic)).items()
        ]

    rows = run(target, work)
    if as_json:
        print_json({"topic": topic, "time_ms": when, "queues": rows})
        return
    title = f"{topic} at {time_text(when)}"
    columns = (Column("broker", "whole"), "queue", "offset")
    print_table(title, columns, [tuple(row.values()) for row in rows])
