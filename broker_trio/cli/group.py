"""`broker-trio group`: consumer groups made, changed, listed, and how far behind they are."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from broker_trio.cli.access import Cluster, Target, asks, next_command, run
from broker_trio.cli.failures import GuardRefused
from broker_trio.cli.names import BrokerName, GroupName, TopicName
from broker_trio.cli.output import Column, Styled, make_table, print_json, print_table
from broker_trio.cli.times import age_text, now_ms, span_text
from broker_trio.cli.topic import problem_lines
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.client.admin.offsets import Lag
    from broker_trio.model.group import SubscriptionGroupConfig

retries_type = click.IntRange(-1, 1_000)
BEHIND: Final = "behind "
DONE: Final = "done "


@click.group()
def group() -> None:
    """Create, list, describe, change and delete consumer groups.

    And see how far behind they are.
    """


# -- changing ------------------------------------------------------------------------------------


@group.command()
@click.argument("name", type=GroupName())
@click.option("--retries", type=retries_type, default=16, show_default=True)
@click.option("--ordered", is_flag=True, help="Its members consume in order.")
@click.option("--cluster", default="", help="Only brokers of this cluster.")
@click.option("--broker", type=BrokerName(), default="", help="Only the broker of this name.")
@asks
def create(
    *,
    name: str,
    retries: int,
    ordered: bool,
    cluster: str,
    broker: str,
    target: Target,
    as_json: bool,
) -> None:
    """Create a consumer group on every master."""

    async def work(known: Cluster) -> list[str]:
        from broker_trio.model.group import SubscriptionGroupConfig  # noqa: PLC0415

        config = SubscriptionGroupConfig(
            name, retry_max_times=retries, consume_message_orderly=ordered
        )
        return await known.admin.groups.put(config, cluster, broker)

    brokers = run(target, work, changes=True)
    if as_json:
        print_json({"group": name, "retries": retries, "ordered": ordered, "brokers": brokers})
    else:
        click.echo(f"{name}: {retries} retries, on {', '.join(brokers)}")


@group.command()
@click.argument("name", type=GroupName())
@click.option("--retries", type=retries_type, help="Attempts before a message is a dead letter.")
@click.option("--enable/--disable", "enabled", default=None, help="May it consume at all?")
@click.option("--ordered/--unordered", default=None, help="Do its members consume in order?")
@click.option("--broadcast/--no-broadcast", default=None, help="May it broadcast?")
@asks
def change(
    *,
    name: str,
    retries: int | None,
    enabled: bool | None,
    ordered: bool | None,
    broadcast: bool | None,
    target: Target,
    as_json: bool,
) -> None:
    """Change what you name, and leave the rest.

    It is done on every broker that has the group.
    """
    wanted = {
        "retry_max_times": retries,
        "consume_enable": enabled,
        "consume_message_orderly": ordered,
        "consume_broadcast_enable": broadcast,
    }
    changes = {member: value for member, value in wanted.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: --retries, --disable, --ordered, --broadcast")
    found = run(target, lambda cluster: cluster.admin.groups.change(name, changes), changes=True)
    show_configs(name, found, as_json=as_json)


def config_tree(broker: str, config: "SubscriptionGroupConfig") -> dict[str, Any]:
    """One broker's configuration of a group as JSON."""
    return {
        "broker": broker,
        "enabled": config.consume_enable,
        "retries": config.retry_max_times,
        "retry_queues": config.retry_queue_nums,
        "ordered": config.consume_message_orderly,
        "broadcast": config.consume_broadcast_enable,
        "timeout_min": config.consume_timeout_minute,
    }


def show_configs(
    name: str, found: "Mapping[str, SubscriptionGroupConfig]", *, as_json: bool
) -> None:
    """The group on each of its brokers."""
    rows = [config_tree(broker, config) for broker, config in found.items()]
    if as_json:
        print_json({"group": name, "brokers": rows})
        return
    columns = ("broker", "enabled", "retries", "retry queues", "ordered", "broadcast", "timeout")
    shown = [(*list(row.values())[:-1], f"{row['timeout_min']} min") for row in rows]
    print_table(name, columns, shown)


@group.command()
@click.argument("name", type=GroupName())
@click.option("--keep-offsets", is_flag=True, help="A new group of this name goes on from there.")
@click.option("--yes", is_flag=True, help="Delete although members are online or messages wait.")
@asks
def delete(*, name: str, keep_offsets: bool, yes: bool, target: Target, as_json: bool) -> None:
    """Delete a group and its offsets on every broker.

    Its dead letters stay.
    """

    async def look(cluster: Cluster) -> tuple[int, int]:
        await cluster.admin.groups.configs(name)
        online = await cluster.admin.connections.consumers(name)
        lag = await cluster.admin.offsets.lag(name)
        return len(online.members) if online else 0, lag.messages

    members, waiting = run(target, look)
    if (members or waiting) and not yes:
        raise GuardRefused(
            f"group {name} has {members} members online and {waiting} messages that wait",
            next_command(f"broker-trio group delete {name} --yes", target),
        )

    async def work(cluster: Cluster) -> list[str]:
        return await cluster.admin.groups.delete(name, offsets=not keep_offsets)

    brokers = run(target, work, changes=True)
    if as_json:
        print_json({"group": name, "brokers": brokers, "offsets_kept": keep_offsets})
    else:
        click.echo(f"{name}: deleted on {', '.join(brokers)}")


@group.command()
@click.argument("name", type=GroupName())
@click.argument("topic", type=TopicName())
@asks
def bar(*, name: str, topic: str, target: Target, as_json: bool) -> None:
    """Let the group read TOPIC no more.

    Until `allow`; its pulls are refused with 16, no permission.
    """
    set_allowed(target, name, topic, readable=False, as_json=as_json)


@group.command()
@click.argument("name", type=GroupName())
@click.argument("topic", type=TopicName())
@asks
def allow(*, name: str, topic: str, target: Target, as_json: bool) -> None:
    """Let the group read TOPIC again."""
    set_allowed(target, name, topic, readable=True, as_json=as_json)


def set_allowed(target: Target, name: str, topic: str, *, readable: bool, as_json: bool) -> None:
    """Both directions."""
    found = run(
        target,
        lambda cluster: cluster.admin.groups.allow(name, topic, readable=readable),
        changes=True,
    )
    if as_json:
        print_json({"group": name, "topic": topic, "readable": found})
        return
    what = "may read" if readable else "may not read"
    click.echo(f"{name} {what} {topic} on {', '.join(found)}")


# -- looking -------------------------------------------------------------------------------------


@group.command("list")
@click.option("--system", is_flag=True, help="Groups that every broker has, too.")
@asks
def list_groups(*, system: bool, target: Target, as_json: bool) -> None:
    """List the consumer groups.

    For how far behind they are see `group lag`.
    """
    groups = run(target, lambda cluster: cluster.admin.groups.names(system=system))
    if as_json:
        print_json({"groups": groups})
        return
    if not groups:
        click.echo("no group yet", err=True)
    for name in groups:
        click.echo(name)


@group.command()
@click.argument("name", type=GroupName())
@asks
def describe(*, name: str, target: Target, as_json: bool) -> None:
    """Show the group's settings on each broker.

    Nobody keeps them alike, so that a difference is worth a look.
    """
    found = run(target, lambda cluster: cluster.admin.groups.configs(name))
    show_configs(name, found, as_json=as_json)


@group.command()
@click.argument("name", type=GroupName(), required=False)
@click.option("--topic", type=TopicName(), default="", help="Only this topic.")
@click.option("--queues", is_flag=True, help="Each queue of the group.")
@click.option("--all", "every", is_flag=True, help="Empty retry topics, too.")
@watch_options
@asks
def lag(
    *,
    name: str | None,
    topic: str,
    queues: bool,
    every: bool,
    every_s: float | None,
    times: int | None,
    target: Target,
    as_json: bool,
) -> None:
    """Show how many messages wait.

    Of one group by topic, or of all groups.

    With --watch: how fast it is consumed, and when it will be done at that speed.
    """

    async def look(cluster: Cluster) -> "dict[str, Lag]":
        if name is None:
            from broker_trio.client.admin.groups import is_hidden  # noqa: PLC0415

            every = await cluster.admin.offsets.everything()
            return {group: lag for group, lag in every.items() if not is_hidden(group)}
        found = await cluster.admin.offsets.lag(name, topic)
        if not found.queues:
            await cluster.admin.groups.configs(name)
        return {name: found}

    watch = Watch(
        look,
        lag_tree,
        partial(queues_table if queues else lag_table, every=every),
        lag_numbers,
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


def lag_numbers(lags: "Mapping[str, Lag]") -> dict[str, float]:
    """What moves: what waits and what is done, of each topic of each group."""
    numbers: dict[str, float] = {}
    for name, each in lags.items():
        for topic, part in each.by_topic().items():
            numbers[f"{BEHIND}{name} {topic}"] = part.messages
            numbers[f"{DONE}{name} {topic}"] = part.consumed
        for queue, place in each.queues.items():
            key = f"{DONE}{name} {queue.topic} {queue.broker_name} {queue.queue_id}"
            numbers[key] = place.consumer_offset
    return numbers


def lag_tree(lags: "Mapping[str, Lag]") -> dict[str, Any]:
    """Lag as JSON, queue by queue."""
    from broker_trio.client.admin.offsets import behind  # noqa: PLC0415

    groups = [
        {
            "group": name,
            "lag": each.messages,
            "in_flight": each.in_flight,
            "consumed_per_s": round(each.consumed_per_s, 3),
            "queues": [
                {
                    "topic": queue.topic,
                    "broker": queue.broker_name,
                    "queue": queue.queue_id,
                    "max_offset": place.broker_offset,
                    "consumer_offset": place.consumer_offset,
                    "pull_offset": place.pull_offset,
                    "lag": behind(place),
                    "last_consumed_ms": place.last_timestamp,
                }
                for queue, place in each.queues.items()
            ],
            **({"problems": each.problems} if each.problems else {}),
        }
        for name, each in lags.items()
    ]
    return {"groups": groups}


def lag_table(lags: "Mapping[str, Lag]", moved: Moved, *, every: bool = True) -> "RenderableType":
    """One line a topic of a group; those that wait first. `every`: empty retry topics, too."""
    from rich.console import Group  # noqa: PLC0415

    from broker_trio.model.names import is_retry  # noqa: PLC0415

    now = now_ms()
    rows: list[tuple[object, ...]] = []
    parts = [
        (name, topic, part)
        for name, each in lags.items()
        for topic, part in each.by_topic().items()
        if every or part.messages or not is_retry(topic)
    ]
    for name, topic, part in sorted(parts, key=lambda each: -each[2].messages):
        place = max((each.last_timestamp for each in part.queues.values()), default=0)
        done, less = moved.per_s(f"{DONE}{name} {topic}"), moved.per_s(f"{BEHIND}{name} {topic}")
        rows.append(
            (
                name,
                topic,
                lag_cell(part.messages),
                part.in_flight,
                done,
                time_left(part.messages, less),
                Styled(age_text(place, now), "dim"),
            )
        )
    columns: tuple[str | Column, ...] = (
        "group",
        "topic",
        Column("lag", "whole"),
        "in flight",
        "done/s",
        "done in",
        "at messages of",
    )
    if not moved.moving:
        rows = [(*row[:4], row[6]) for row in rows]
        columns = (*columns[:4], columns[6])
    problems = next((each.problems for each in lags.values()), {})
    table = make_table("", columns, rows, empty="no group has consumed anything")
    return Group(table, *problem_lines(problems))


def queues_table(
    lags: "Mapping[str, Lag]", moved: Moved, *, every: bool = True
) -> "RenderableType":
    """One line a queue. `every`: those of empty retry topics, too."""
    from broker_trio.client.admin.offsets import behind  # noqa: PLC0415
    from broker_trio.model.names import is_retry  # noqa: PLC0415

    now = now_ms()
    rows: list[tuple[object, ...]] = [
        (
            name,
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            place.broker_offset,
            place.consumer_offset,
            lag_cell(behind(place)),
            moved.per_s(f"{DONE}{name} {queue.topic} {queue.broker_name} {queue.queue_id}"),
            Styled(age_text(place.last_timestamp, now), "dim"),
        )
        for name, each in lags.items()
        for queue, place in each.queues.items()
        if every or behind(place) or not is_retry(queue.topic)
    ]
    columns: tuple[str, ...] = (
        "group",
        "topic",
        "broker",
        "queue",
        "end",
        "group is at",
        "lag",
        "done/s",
        "at messages of",
    )
    if not moved.moving:
        rows = [(*row[:7], row[8]) for row in rows]
        columns = (*columns[:7], columns[8])
    return make_table("", columns, rows)


def lag_cell(messages: int) -> Styled:
    return Styled(str(messages), "warn" if messages else "ok")


def time_left(messages: int, change_per_s: float | None) -> str:
    """When nothing will wait any more, at the speed of the last look."""
    if not messages or change_per_s is None:
        return ""
    if change_per_s < 0:
        return span_text(messages / -change_per_s)
    return "growing" if change_per_s else "standing"
