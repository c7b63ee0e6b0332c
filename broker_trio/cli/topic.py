"""`broker-trio topic`: create, list, describe, route, delete.

A topic lives on brokers; nameservers only know it. So creating goes to the masters, which register
it, and deleting goes to the masters first and then to every nameserver: the other way round the
next registration would bring it back.
"""

from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, cluster_options, run
from broker_trio.cli.failures import Failure, GuardRefused
from broker_trio.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from broker_trio.model.route import TopicRouteData
    from broker_trio.wire.bodies.topic_config import TopicStatsTable

PERMS = {"r": 4, "w": 2, "rw": 6}


@click.group()
def topic() -> None:
    """Create, list, describe, route and delete topics."""


def perm_text(perm: int) -> str:
    """Permission bits as letters: 6 is `rw`, 7 `rwi` (new topics inherit from it)."""
    return "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "i")) if perm & bit) or "-"


@topic.command()
@click.argument("name")
@click.option("--queues", type=click.IntRange(1, 65_536), default=8, show_default=True)
@click.option("--perm", type=click.Choice(sorted(PERMS)), default="rw", show_default=True)
@click.option("--cluster", default="", help="Only brokers of this cluster.")
@click.option("--broker", "broker_name", default="", help="Only the broker of this name.")
@click.option("--order", is_flag=True, help="Keep queue numbers fixed for ordered messages.")
@json_option
@cluster_options
def create(
    *,
    name: str,
    queues: int,
    perm: str,
    cluster: str,
    broker_name: str,
    order: bool,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Create or change a topic on every master that is not excluded."""
    from broker_trio.model.codes import RequestCode  # noqa: PLC0415
    from broker_trio.model.names import TBW102, check_topic  # noqa: PLC0415
    from broker_trio.wire.headers.admin import CreateTopicRequestHeader  # noqa: PLC0415

    try:
        check_topic(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    header = CreateTopicRequestHeader(
        topic=name,
        default_topic=TBW102,
        read_queue_nums=queues,
        write_queue_nums=queues,
        perm=PERMS[perm],
        topic_filter_type="SINGLE_TAG",
        topic_sys_flag=0,
        order=order,
    )

    async def work(known: Cluster) -> list[str]:
        wanted = await masters_of(known, cluster, broker_name)
        for address in wanted.values():
            await known.calls.ask(address, RequestCode.UPDATE_AND_CREATE_TOPIC, header)
        return list(wanted)

    brokers = run(Target(nameservers, timeout_s), work, changes=True)
    if as_json:
        print_json({"topic": name, "queues": queues, "perm": perm, "brokers": brokers})
    else:
        click.echo(f"{name}: {queues} queues, {perm}, on {', '.join(brokers)}")


async def masters_of(cluster: Cluster, cluster_name: str, broker_name: str) -> dict[str, str]:
    """Broker name to master's address, narrowed by the options. Raises `Failure` where none is."""
    info = await cluster.nameservers.cluster_info()
    names = set(info.broker_addr_table)
    if cluster_name:
        names &= set(info.cluster_addr_table.get(cluster_name, ()))
    if broker_name:
        names &= {broker_name}
    found = {}
    for name in sorted(names):
        master = info.broker_addr_table[name].master
        if master:
            found[name] = master
    if not found:
        known = ", ".join(sorted(info.broker_addr_table)) or "none"
        raise Failure(
            f"no master fits --cluster {cluster_name or '*'} --broker {broker_name or '*'}; "
            f"brokers known: {known}",
            "broker-trio cluster list",
        )
    return found


@topic.command("list")
@click.option("--system", is_flag=True, help="System, retry and dead-letter topics too.")
@json_option
@cluster_options
def list_topics(
    *, system: bool, as_json: bool, nameservers: tuple[str, ...], timeout_s: float
) -> None:
    """List the topics that the nameserver knows."""
    from broker_trio.model.names import is_dlq, is_retry, is_system_topic  # noqa: PLC0415

    async def work(cluster: Cluster) -> list[str]:
        topics = await cluster.nameservers.topics()
        if system:
            return topics
        info = await cluster.nameservers.cluster_info()
        hidden = {*info.cluster_addr_table, *info.broker_addr_table}
        hidden |= {f"{name}_REPLY_TOPIC" for name in info.cluster_addr_table}
        return [
            name
            for name in topics
            if not (is_system_topic(name) or is_retry(name) or is_dlq(name) or name in hidden)
        ]

    topics = run(Target(nameservers, timeout_s), work)
    if as_json:
        print_json({"topics": topics})
        return
    for name in topics:
        click.echo(name)


@topic.command()
@click.argument("name")
@json_option
@cluster_options
def route(*, name: str, as_json: bool, nameservers: tuple[str, ...], timeout_s: float) -> None:
    """Show which brokers have the topic, as clients see it."""
    found = run(Target(nameservers, timeout_s), lambda cluster: cluster.nameservers.route(name))
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
            else "not registered",
        )
        for queue in found.queue_datas
    ]
    print_table(name, ("broker", "read queues", "write queues", "perm", "addresses"), rows)


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
@click.argument("name")
@json_option
@cluster_options
def describe(*, name: str, as_json: bool, nameservers: tuple[str, ...], timeout_s: float) -> None:
    """Show each queue of the topic: its bounds and its last message."""
    stats = run(Target(nameservers, timeout_s), lambda cluster: stats_of(cluster, name))
    rows = [
        {
            "broker": queue.broker_name,
            "queue": queue.queue_id,
            "min_offset": each.min_offset,
            "max_offset": each.max_offset,
            "messages": each.max_offset - each.min_offset,
            "last_stored_ms": each.last_update_timestamp,
        }
        for table in stats
        for queue, each in sorted(table.offset_table.items())
    ]
    if as_json:
        print_json({"topic": name, "queues": rows})
        return
    columns = ("broker", "queue", "min_offset", "max_offset", "messages", "last_stored_ms")
    headings = ("broker", "queue", "min", "max", "messages", "last stored (ms)")
    print_table(name, headings, [tuple(row[column] for column in columns) for row in rows])


async def stats_of(cluster: Cluster, name: str) -> "list[TopicStatsTable]":
    """The topic's queues, from each of its masters."""
    from broker_trio.client.routes import masters  # noqa: PLC0415
    from broker_trio.model.codes import RequestCode  # noqa: PLC0415
    from broker_trio.wire.bodies.topic_config import decode_topic_stats  # noqa: PLC0415
    from broker_trio.wire.headers.admin import GetTopicStatsInfoRequestHeader  # noqa: PLC0415

    found = []
    for address in masters(await cluster.nameservers.route(name)).values():
        answer = await cluster.calls.ask(
            address,
            RequestCode.GET_TOPIC_STATS_INFO,
            GetTopicStatsInfoRequestHeader(topic=name),
        )
        found.append(decode_topic_stats(answer.body, answer.serialize))
    return found


@topic.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete although there are messages in it.")
@json_option
@cluster_options
def delete(
    *, name: str, yes: bool, as_json: bool, nameservers: tuple[str, ...], timeout_s: float
) -> None:
    """Delete a topic and its messages, on every broker and at every nameserver."""
    target = Target(nameservers, timeout_s)
    tables = run(target, lambda cluster: stats_of(cluster, name))
    messages = sum(
        each.max_offset - each.min_offset
        for table in tables
        for each in table.offset_table.values()
    )
    if messages and not yes:
        raise GuardRefused(
            f"topic {name} holds {messages} messages, which would be gone",
            f"broker-trio topic delete {name} --yes",
        )
    brokers = run(target, lambda cluster: delete_everywhere(cluster, name), changes=True)
    if as_json:
        print_json({"topic": name, "messages": messages, "brokers": brokers})
    else:
        click.echo(f"{name}: deleted on {', '.join(brokers)}, with {messages} messages")


async def delete_everywhere(cluster: Cluster, name: str) -> list[str]:
    """Brokers first, then nameservers; gives the brokers' names. Each step may run again."""
    from broker_trio.client.routes import masters  # noqa: PLC0415
    from broker_trio.model.codes import RequestCode  # noqa: PLC0415
    from broker_trio.wire.headers.admin import DeleteTopicRequestHeader  # noqa: PLC0415

    found = masters(await cluster.nameservers.route(name))
    for address in found.values():
        header = DeleteTopicRequestHeader(topic=name)
        await cluster.calls.ask(address, RequestCode.DELETE_TOPIC_IN_BROKER, header)
    await cluster.nameservers.forget_topic(name)
    return sorted(found)
