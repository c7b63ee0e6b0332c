"""`broker-trio topic`: create, change, list, describe, route, count, delete.

What a topic's numbers mean: `messages` are still stored, `in/s` is the rate between two looks with
--watch, and the broker's own rate of the last minute without.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, asks, next_command, no_broker, run
from broker_trio.cli.failures import Failure, GuardRefused
from broker_trio.cli.names import BrokerName, TopicName
from broker_trio.cli.output import Column, Styled, make_table, print_json, print_table
from broker_trio.cli.times import age_text, now_ms
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.client.admin.topics import TopicState
    from broker_trio.model.route import TopicRouteData
    from broker_trio.model.topic import TopicConfig

PERMS = {"r": 4, "w": 2, "rw": 6}
queues_type = click.IntRange(1, 65_536)


@click.group()
def topic() -> None:
    """Create, list, describe, route, count and delete topics."""


def perm_text(perm: int) -> str:
    """Permission bits as letters: 6 is `rw`, 7 `rwi` (new topics inherit from it)."""
    return "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "i")) if perm & bit) or "-"


# -- changing ------------------------------------------------------------------------------------


@topic.command()
@click.argument("name", type=TopicName())
@click.option("--queues", type=queues_type, default=8, show_default=True)
@click.option("--perm", type=click.Choice(sorted(PERMS)), default="rw", show_default=True)
@click.option("--cluster", default="", help="Only brokers of this cluster.")
@click.option("--broker", type=BrokerName(), default="", help="Only the broker of this name.")
@click.option("--order", is_flag=True, help="Keep queue numbers fixed for ordered messages.")
@click.option("--attributes", default="", help="To set and remove: +message.type=FIFO,-other")
@asks
def create(
    *,
    name: str,
    queues: int,
    perm: str,
    cluster: str,
    broker: str,
    order: bool,
    attributes: str,
    target: Target,
    as_json: bool,
) -> None:
    """Create a topic on every master.

    One that exists is made like this; to change a part of it see `topic change`.
    """

    async def work(known: Cluster) -> list[str]:
        from broker_trio.model.topic import TopicConfig  # noqa: PLC0415

        config = TopicConfig(name, queues, queues, PERMS[perm], order=order)
        return await known.admin.topics.put(config, cluster, broker, attributes=attributes)

    brokers = run(target, work, changes=True)
    if as_json:
        print_json({"topic": name, "queues": queues, "perm": perm, "brokers": brokers})
    else:
        click.echo(f"{name}: {queues} queues, {perm}, on {', '.join(brokers)}")


@topic.command()
@click.argument("name", type=TopicName())
@click.option("--queues", type=queues_type, help="Read and write queues.")
@click.option("--read-queues", type=queues_type, help="To shrink: fewer to write first, then this.")
@click.option("--write-queues", type=queues_type)
@click.option("--perm", type=click.Choice(sorted(PERMS)))
@click.option("--broker", type=BrokerName(), default="", help="Only the broker of this name.")
@asks
def change(
    *,
    name: str,
    queues: int | None,
    read_queues: int | None,
    write_queues: int | None,
    perm: str | None,
    broker: str,
    target: Target,
    as_json: bool,
) -> None:
    """Change what you name, and leave the rest.

    It is done on every broker that has the topic.
    """
    wanted = {
        "read_queue_nums": read_queues or queues,
        "write_queue_nums": write_queues or queues,
        "perm": None if perm is None else PERMS[perm],
    }
    changes = {member: value for member, value in wanted.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: --queues, --read-queues, --write-queues, --perm")

    async def work(cluster: Cluster) -> "dict[str, TopicConfig]":
        return await cluster.admin.topics.change(name, changes, broker)

    found = run(target, work, changes=True)
    if not found:
        raise Failure(
            f"broker {broker} does not have topic {name}",
            next_command(f"broker-trio topic route {name}", target),
        )
    rows = [config_tree(broker_name, config) for broker_name, config in found.items()]
    if as_json:
        print_json({"topic": name, "brokers": rows})
        return
    for row in rows:
        click.echo(
            f"{name} on {row['broker']}: {row['read_queues']} read and {row['write_queues']} write "
            f"queues, {row['perm']}"
        )


def config_tree(broker: str, config: "TopicConfig") -> dict[str, Any]:
    """One broker's configuration of a topic as JSON."""
    return {
        "broker": broker,
        "read_queues": config.read_queue_nums,
        "write_queues": config.write_queue_nums,
        "perm": perm_text(config.perm),
        "order": config.order,
        "attributes": config.attributes,
    }


@topic.command()
@click.argument("name", type=TopicName())
@click.option("--yes", is_flag=True, help="Delete although there are messages in it.")
@asks
def delete(*, name: str, yes: bool, target: Target, as_json: bool) -> None:
    """Delete a topic and its messages.

    On every broker, then at every nameserver.
    """
    messages = run(target, lambda cluster: cluster.admin.topics.state(name)).messages
    if messages and not yes:
        raise GuardRefused(
            f"topic {name} holds {messages} messages, which would be gone",
            next_command(f"broker-trio topic delete {name} --yes", target),
        )
    brokers = run(target, lambda cluster: cluster.admin.topics.delete(name), changes=True)
    if as_json:
        print_json({"topic": name, "messages": messages, "brokers": brokers})
    else:
        click.echo(f"{name}: deleted on {', '.join(brokers)}, with {messages} messages")


# -- looking -------------------------------------------------------------------------------------


@topic.command("list")
@click.option("--system", is_flag=True, help="System, retry and dead-letter topics too.")
@click.option("--long", "-l", is_flag=True, help="Queues, messages and rates, too.")
@watch_options
@asks
def list_topics(
    *,
    system: bool,
    long: bool,
    every_s: float | None,
    times: int | None,
    target: Target,
    as_json: bool,
) -> None:
    """List the topics that the nameserver knows. With --watch or --long: what is in them."""
    if long or every_s is not None:
        overview = Watch(
            lambda cluster: overview_of(cluster, target, system=system),
            lambda rows: {"topics": rows},
            overview_table,
            lambda rows: {row["topic"]: row["ever"] for row in rows},
        )
        show(target, overview, as_json=as_json, every_s=every_s, times=times)
        return
    topics = run(target, lambda cluster: names_of(cluster, target, system=system))
    if as_json:
        print_json({"topics": topics})
        return
    if not topics:
        click.echo("no topic yet", err=True)
    for name in topics:
        click.echo(name)


async def names_of(cluster: Cluster, target: Target, *, system: bool) -> list[str]:
    """What the nameserver lists. Raises `NobodyReached` where it knows no broker at all."""
    names = await cluster.admin.topics.names(system=system)
    if not names and not await cluster.admin.brokers.replicas():
        raise no_broker(target)
    return names


async def overview_of(cluster: Cluster, target: Target, *, system: bool) -> list[dict[str, Any]]:
    """One row a topic; one whose brokers are silent says so in `error`."""
    from broker_trio.client.admin.asking import ask_each  # noqa: PLC0415

    names = await names_of(cluster, target, system=system)
    asked = await ask_each({name: name for name in names}, cluster.admin.topics.state)
    rows = []
    for name in names:
        state = asked.answers.get(name)
        if state is None:
            rows.append({"topic": name, "ever": 0, "error": str(asked.problems[name])})
            continue
        newest = max((each.last_update_timestamp for each in state.queues.values()), default=0)
        rows.append(
            {
                "topic": name,
                "brokers": len({queue.broker_name for queue in state.queues}),
                "queues": len(state.queues),
                "messages": state.messages,
                "ever": state.ever,
                "in_per_s": round(state.puts_per_s, 1),
                "newest_ms": newest,
            }
        )
    return rows


def overview_table(rows: list[dict[str, Any]], moved: Moved) -> "RenderableType":
    """The overview for people."""
    now = now_ms()
    shown: list[tuple[object, ...]] = []
    for row in rows:
        if "error" in row:
            shown.append((row["topic"], None, None, None, None, Styled("no answer", "fail")))
            continue
        rate = moved.per_s(row["topic"])
        newest = Styled(age_text(row["newest_ms"], now), "dim")
        shown.append(
            (
                row["topic"],
                row["brokers"],
                row["queues"],
                row["messages"],
                row["in_per_s"] if rate is None else rate,
                newest,
            )
        )
    columns = ("topic", "brokers", "queues", "messages", "in/s", Column("newest", "whole"))
    return make_table("", columns, shown, empty="no topic")


@topic.command()
@click.argument("name", type=TopicName())
@watch_options
@asks
def describe(
    *, name: str, every_s: float | None, times: int | None, target: Target, as_json: bool
) -> None:
    """Show each queue: bounds, rate, last message."""
    watch = Watch(
        lambda cluster: cluster.admin.topics.state(name),
        lambda state: state_tree(name, state),
        lambda state, moved: state_table(name, state, moved),
        queue_numbers,
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


def queue_numbers(state: "TopicState") -> Mapping[str, float]:
    """What moves in a topic: the end of each queue."""
    return {f"{q.broker_name} {q.queue_id}": each.max_offset for q, each in state.queues.items()}


def state_tree(name: str, state: "TopicState") -> dict[str, Any]:
    """A topic's queues as JSON."""
    queues = [
        {
            "broker": queue.broker_name,
            "queue": queue.queue_id,
            "min_offset": each.min_offset,
            "max_offset": each.max_offset,
            "messages": each.max_offset - each.min_offset,
            "last_stored_ms": each.last_update_timestamp,
        }
        for queue, each in state.queues.items()
    ]
    tree = {
        "topic": name,
        "messages": state.messages,
        "in_per_s": round(state.puts_per_s, 3),
        "queues": queues,
    }
    return {**tree, "problems": state.problems} if state.problems else tree


def state_table(name: str, state: "TopicState", moved: Moved) -> "RenderableType":
    """A topic's queues for people."""
    from rich.console import Group  # noqa: PLC0415

    now = now_ms()
    rows: list[tuple[object, ...]] = [
        (
            queue.broker_name,
            queue.queue_id,
            each.min_offset,
            each.max_offset,
            each.max_offset - each.min_offset,
            moved.per_s(f"{queue.broker_name} {queue.queue_id}"),
            Styled(age_text(each.last_update_timestamp, now), "dim"),
        )
        for queue, each in state.queues.items()
    ]
    title = f"{name}: {state.messages} messages, {state.puts_per_s:.1f} in/s in the last minute"
    columns: tuple[str, ...] = ("broker", "queue", "min", "max", "messages", "in/s", "last stored")
    if not moved.moving:
        rows = [(*row[:5], row[6]) for row in rows]
        columns = ("broker", "queue", "min", "max", "messages", "last stored")
    return Group(make_table(title, columns, rows), *problem_lines(state.problems))


def problem_lines(problems: Mapping[str, str]) -> list["RenderableType"]:
    """One line for each broker that did not answer."""
    from rich.text import Text  # noqa: PLC0415

    return [
        Text(f"no answer of {name}: {problem}", style="red") for name, problem in problems.items()
    ]


@topic.command()
@click.argument("name", type=TopicName())
@asks
def route(*, name: str, target: Target, as_json: bool) -> None:
    """Show which brokers have the topic, as clients see it."""
    found = run(target, lambda cluster: cluster.nameservers.route(name))
    if as_json:
        print_json(route_tree(name, found))
        return
    addresses = {data.broker_name: data for data in found.broker_datas}
    rows = [
        (
            queue.broker_name,
            queue.read_queue_nums,
            queue.write_queue_nums,
            perm_text(queue.perm),
            addresses_text(addresses[queue.broker_name].broker_addrs)
            if queue.broker_name in addresses
            else Styled("not registered", "fail"),
        )
        for queue in found.queue_datas
    ]
    columns = (Column("broker", "whole"), "read queues", "write queues", "perm", "addresses")
    print_table(name, columns, rows)


def addresses_text(addresses: dict[int, str]) -> str:
    """Broker ids with their addresses; id 0 is the master."""
    return ", ".join(f"{broker_id}={address}" for broker_id, address in sorted(addresses.items()))


def route_tree(name: str, found: "TopicRouteData") -> dict[str, Any]:
    """A route as JSON."""
    addresses = {data.broker_name: data.broker_addrs for data in found.broker_datas}
    return {
        "topic": name,
        "brokers": [
            {
                "name": queue.broker_name,
                "read_queues": queue.read_queue_nums,
                "write_queues": queue.write_queue_nums,
                "perm": perm_text(queue.perm),
                "addresses": {
                    str(key): value for key, value in addresses.get(queue.broker_name, {}).items()
                },
            }
            for queue in found.queue_datas
        ],
    }


@topic.command()
@click.argument("name", type=TopicName())
@watch_options
@asks
def stats(
    *, name: str, every_s: float | None, times: int | None, target: Target, as_json: bool
) -> None:
    """Count what was stored and consumed of late.

    In the last minute, hour and day; consumed, group by group.
    """
    columns = ("what", "group", "per s", "minute", "hour", "day")
    keys = ("what", "group", "per_s", "minute", "hour", "day")
    watch = Watch(
        lambda cluster: counters_of(cluster, name),
        lambda rows: {"topic": name, "counters": rows},
        lambda rows, _: make_table(name, columns, [[row[key] for key in keys] for row in rows]),
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


async def counters_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The topic's counters, summed over its masters. A broker's day and hour are as old as it."""
    admin = cluster.admin
    groups = await admin.topics.groups_of(name)
    wanted = [("stored", "", "TOPIC_PUT_NUMS", name), ("stored bytes", "", "TOPIC_PUT_SIZE", name)]
    wanted += [("consumed", group, "GROUP_GET_NUMS", f"{name}@{group}") for group in groups]
    wanted += [("given back", group, "SNDBCK_PUT_NUMS", f"{name}@{group}") for group in groups]
    masters = await admin.brokers.masters_of_topic(name)
    rows = []
    for what, group, counter, key in wanted:
        found = [await admin.statistics.counter(each, counter, key) for each in masters.values()]
        rows.append(
            {
                "what": what,
                "group": group,
                "per_s": round(sum(each.stats_minute.tps for each in found), 3),
                "minute": sum(each.stats_minute.sum for each in found),
                "hour": sum(each.stats_hour.sum for each in found),
                "day": sum(each.stats_day.sum for each in found),
            }
        )
    return rows


@topic.command()
@click.argument("name", type=TopicName())
@asks
def groups(*, name: str, target: Target, as_json: bool) -> None:
    """List the groups that consume the topic.

    Those that subscribe to it now, and those that have offsets in it.
    """
    found = run(target, lambda cluster: cluster.admin.topics.groups_of(name))
    if as_json:
        print_json({"topic": name, "groups": found})
        return
    for group in found:
        click.echo(group)
