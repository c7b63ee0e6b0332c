"""`broker-trio dlq`: dead letters listed, looked at, counted by cause, sent back at a rate.

    waiting    dead letters that nobody sent back yet        total    all that are still stored

A message is a dead letter when its group has tried it so often as its `retries` say, or when the
consumer gave it up. `send-back` lets the same group try it again, from the first attempt on.
"""

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import click

from broker_trio.cli.access import Cluster, Target, asks, next_command, run
from broker_trio.cli.failures import Failure, GuardRefused
from broker_trio.cli.message import message_tree, preview
from broker_trio.cli.names import GroupName, TopicName
from broker_trio.cli.output import Column, Styled, make_table, print_json, print_table
from broker_trio.cli.times import Rate, age_text, now_ms, span_text, time_text
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from broker_trio.client.admin.dead_letters import DeadGroup
    from broker_trio.model.message import MessageExt

BY: Final = ("cause", "topic", "tag", "attempts")


@click.group()
def dlq() -> None:
    """List, peek at and count dead letters, and send them back into consumption."""


# -- looking -------------------------------------------------------------------------------------


@dlq.command("list")
@watch_options
@asks
def list_groups(*, every_s: float | None, times: int | None, target: Target, as_json: bool) -> None:
    """List the groups that have dead letters.

    Those first of which the most wait.
    """
    watch = Watch(
        lambda cluster: cluster.admin.dead_letters.groups(),
        lambda groups: {"groups": [group_tree(each) for each in groups]},
        groups_table,
        lambda groups: {each.group: each.ever for each in groups},
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


def group_tree(dead: "DeadGroup") -> dict[str, Any]:
    """One group as JSON."""
    return {
        "group": dead.group,
        "waiting": dead.waiting,
        "total": dead.total,
        "newest_ms": dead.newest_ms,
        "queues": [
            {
                "broker": each.queue.broker_name,
                "queue": each.queue.queue_id,
                "min_offset": each.low,
                "max_offset": each.high,
                "place": each.place,
            }
            for each in dead.queues
        ],
    }


def groups_table(groups: "list[DeadGroup]", moved: Moved) -> "RenderableType":
    """Groups for people."""
    from rich.text import Text  # noqa: PLC0415

    if not groups:
        return Text("no dead letters")
    now = now_ms()
    rows: list[tuple[object, ...]] = [
        (
            each.group,
            Styled(str(each.waiting), "warn" if each.waiting else "ok"),
            each.total,
            moved.per_s(each.group),
            Styled(age_text(each.newest_ms, now), "dim"),
        )
        for each in sorted(groups, key=lambda each: -each.waiting)
    ]
    columns: tuple[str, ...] = ("group", "waiting", "total", "died/s", "newest")
    if not moved.moving:
        rows = [(*row[:3], row[4]) for row in rows]
        columns = (*columns[:3], columns[4])
    return make_table("", columns, rows)


@dlq.command()
@click.argument("group", type=GroupName())
@click.option("--count", type=click.IntRange(1, 32), default=10, show_default=True)
@click.option("--first", is_flag=True, help="The oldest that wait instead of the newest.")
@click.option("--all", "everything", is_flag=True, help="Those that were sent back, too.")
@asks
def peek(
    *, group: str, count: int, first: bool, everything: bool, target: Target, as_json: bool
) -> None:
    """Print dead letters, with the cause of each.

    The newest that wait; nothing moves.
    """
    from broker_trio.client.admin.dead_letters import cause_of, origin_topic  # noqa: PLC0415

    async def work(cluster: Cluster) -> "tuple[list[MessageExt], int]":
        dead_letters = cluster.admin.dead_letters
        found = await dead_letters.peek(group, count, first=first, everything=everything)
        return found, await dead_letters.attempts_max(group)

    messages, attempts = run(target, work)
    if as_json:
        for each in messages:
            origin = {"cause": cause_of(each, attempts), "origin_topic": origin_topic(each)}
            print_json({**origin, **message_tree(each)})
        return
    rows = [
        (
            each.queue_offset,
            time_text(each.store_timestamp_ms)[5:19],
            origin_topic(each),
            " ".join([each.tags or "", *each.keys]).strip(),
            cause_of(each, attempts),
            preview(each.body),
        )
        for each in messages
    ]
    columns = (
        "offset",
        Column("died", "whole"),
        "topic",
        "tag, keys",
        "cause",
        Column("body", "cut"),
    )
    print_table("", columns, rows, empty=f"no dead letter of group {group} waits")


@dlq.command()
@click.argument("group", type=GroupName())
@click.option("--by", type=click.Choice(BY), default="cause", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Those that were sent back, too.")
@asks
def count(*, group: str, by: str, everything: bool, target: Target, as_json: bool) -> None:
    """Count dead letters by cause.

    Or by the topic they came from, their tag, or the attempts made.
    """
    from broker_trio.client.admin.dead_letters import By  # noqa: PLC0415

    async def work(cluster: Cluster) -> Counter[str]:
        dead_letters = cluster.admin.dead_letters
        dead = await dead_letters.of(group)
        return await dead_letters.count(dead, cast("By", by), everything=everything)

    counts = run(target, work)
    total = counts.total()
    if as_json:
        tree = [{by: name, "messages": messages} for name, messages in counts.most_common()]
        print_json({"group": group, "messages": total, "counts": tree})
        return
    rows = [
        (name or "none", messages, f"{messages / total:.0%}")
        for name, messages in counts.most_common()
    ]
    title = f"{group}: {total} dead letters"
    print_table(title, (by, "messages", "share"), rows, empty=f"no dead letter of {group} waits")


# -- the way back --------------------------------------------------------------------------------


@dlq.command("send-back")
@click.argument("group", type=GroupName())
@click.option("--rate", "per_s", type=Rate(), default="50/s", show_default=True, help="At most.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--cause", default="", help="Only those whose cause contains this text.")
@click.option("--topic", type=TopicName(), default="", help="Only those that came from here.")
@click.option("--tag", default="", help="Only those with this tag.")
@click.option(
    "--to",
    type=click.Choice(["retry", "origin"]),
    default="retry",
    show_default=True,
    help="retry: this group alone tries again. origin: a new message for all groups of its topic.",
)
@click.option("--all", "everything", is_flag=True, help="Those that were sent back, too.")
@click.option("--yes", is_flag=True, help="Do it; without it only say how many.")
@asks
def send_back(
    *,
    group: str,
    per_s: float,
    limit: int | None,
    cause: str,
    topic: str,
    tag: str,
    to: Literal["retry", "origin"],
    everything: bool,
    yes: bool,
    target: Target,
    as_json: bool,
) -> None:
    """Send dead letters back, at a rate.

    Oldest first, at most RATE a second; GROUP tries them again.

    What a filter passes over counts as handled; --all sees it again. Interrupted, it goes on where
    it was; one message may then be sent twice.
    """
    dead = run(target, lambda cluster: cluster.admin.dead_letters.of(group))
    waiting = dead.total if everything else dead.waiting
    wanted = min(waiting, limit or waiting)
    if not yes and wanted:
        words = [word for word in sys.argv[1:] if word != "--yes"] or ["dlq", "send-back", group]
        raise GuardRefused(
            f"nothing done yet: up to {wanted} dead letters of group {group} would go to its "
            f"{'retry topic' if to == 'retry' else 'messages’ own topics'}, "
            f"in {span_text(wanted / per_s)} at {per_s:g} a second",
            shlex.join(["broker-trio", *words, "--yes"]),
        )
    sent, passed = Counter[str](), 0

    async def work(cluster: Cluster) -> None:
        nonlocal passed
        attempts = await cluster.admin.dead_letters.attempts_max(group)
        fits = filter_of(cause, topic, tag, attempts)
        with progress(wanted, "sent back", as_json=as_json) as advance:
            async for each in cluster.admin.dead_letters.send_back(
                dead, per_s=per_s, to=to, wanted=fits, everything=everything
            ):
                passed += not each.topic
                if each.topic:
                    sent[each.topic] += 1
                advance()
                if sent.total() == limit:
                    return

    try:
        run(target, work, changes=True)
    except Failure as failure:
        text = f"{failure.message}; {sent.total()} were sent back before"
        advice = failure.advice or ordered_advice(failure, group, target)
        raise type(failure)(text, advice) from failure
    report(group, sent, passed, as_json=as_json)


def filter_of(
    cause: str, topic: str, tag: str, attempts: int
) -> "Callable[[MessageExt], bool] | None":
    """Which dead letters are wanted; None for all."""
    from broker_trio.client.admin.dead_letters import cause_of, origin_topic  # noqa: PLC0415

    if not (cause or topic or tag):
        return None
    return lambda message: (
        cause.lower() in cause_of(message, attempts).lower()
        and topic in {"", origin_topic(message)}
        and tag in {"", message.tags}
    )


def ordered_advice(failure: Failure, group: str, target: Target) -> str:
    """What an ordered group can do instead."""
    if "consumes in order" not in failure.message:
        return ""
    return next_command(f"broker-trio dlq send-back {group} --to origin --yes", target)


def report(group: str, sent: Counter[str], passed: int, *, as_json: bool) -> None:
    """What was done."""
    if as_json:
        print_json(
            {"group": group, "sent": sent.total(), "passed_over": passed, "topics": dict(sent)}
        )
        return
    where = ", ".join(f"{messages} to {topic}" for topic, messages in sent.most_common())
    click.echo(
        f"{sent.total()} dead letters of {group} sent back" + (f": {where}" if where else "")
    )
    if passed:
        click.echo(f"{passed} passed over; --all sees them again")


@contextmanager
def progress(total: int, what: str, *, as_json: bool) -> "Iterator[Callable[[], None]]":
    """A bar on a terminal's stderr, with the rate and the time that is left; nothing elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
