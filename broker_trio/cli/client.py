"""`broker-trio client`: who is online, and what a consumer says of itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, asks, next_command, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.names import GroupName
from broker_trio.cli.output import Column, Styled, make_table, print_facts, print_json, print_table
from broker_trio.cli.times import age_text, now_ms
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.client.admin.connections import ConsumerGroup, Member
    from broker_trio.wire.bodies.running import RunningInfo


@click.group()
def client() -> None:
    """List producers and consumers; ask a consumer how it is."""


def member_tree(member: "Member") -> dict[str, Any]:
    """One client in one group as JSON."""
    return {
        "group": member.group,
        "kind": member.kind,
        "client_id": member.client_id,
        "address": member.address,
        "language": member.language,
        "version": member.version,
        "brokers": list(member.brokers),
    }


def members_table(members: "list[Member]", _moved: Moved) -> "RenderableType":
    """Clients for people."""
    rows = [
        (
            member.group,
            member.kind,
            member.client_id,
            member.address,
            member.language,
            ", ".join(member.brokers),
        )
        for member in members
    ]
    columns = ("group", Column("kind", "whole"), "client id", "address", "language", "brokers")
    return make_table("", columns, rows, empty="nobody is online")


@client.command("list")
@watch_options
@asks
def list_clients(
    *, every_s: float | None, times: int | None, target: Target, as_json: bool
) -> None:
    """List who is online, and where."""
    watch = Watch(
        members_of,
        lambda members: {"clients": [member_tree(member) for member in members]},
        members_table,
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


async def members_of(cluster: Cluster) -> "list[Member]":
    """Everybody who is online, by group."""
    from broker_trio.client.admin.asking import ask_each  # noqa: PLC0415

    connections = cluster.admin.connections
    groups = await cluster.admin.groups.names(system=True)
    asked = await ask_each({name: name for name in groups}, connections.consumers)
    consumers = [member for found in asked.some().values() if found for member in found.members]
    return sorted([*await connections.producers(), *consumers])


@client.command()
@click.argument("group", required=False)
@asks
def producers(*, group: str | None, target: Target, as_json: bool) -> None:
    """List the producers of GROUP, or all."""
    members = run(target, lambda cluster: cluster.admin.connections.producers(group or ""))
    if as_json:
        print_json({"clients": [member_tree(member) for member in members]})
        return
    if not members:
        click.echo(f"no producer of {group} is online" if group else "no producer is online")
        return
    from broker_trio.cli.output import console  # noqa: PLC0415

    console().print(members_table(members, Moved()))


@client.command()
@click.argument("group", type=GroupName())
@asks
def consumers(*, group: str, target: Target, as_json: bool) -> None:
    """List the members of GROUP and what they subscribe to."""
    found = run(target, lambda cluster: online_of(cluster, group, target))
    if as_json:
        print_json(group_tree(found))
        return
    from broker_trio.cli.output import console  # noqa: PLC0415

    print_facts(
        [
            ("group", group),
            ("model", found.message_model),
            ("kind", found.consume_type),
            ("starts from", found.consume_from),
        ]
    )
    rows = [
        (topic, data.expression_type, data.sub_string)
        for topic, data in found.subscriptions.items()
    ]
    print_table("", ("topic", "filter", "expression"), rows, empty="subscribes to nothing")
    console().print(members_table(found.members, Moved()))


async def online_of(cluster: Cluster, group: str, target: Target) -> "ConsumerGroup":
    """The group while it is online. Raises `NoSuchGroup`, and `Failure` where nobody is there."""
    found = await cluster.admin.connections.consumers(group)
    if found is None:
        await cluster.admin.groups.configs(group)
        raise Failure(
            f"nobody of consumer group {group} is online",
            next_command(f"broker-trio group lag {group}", target),
        )
    return found


def group_tree(found: "ConsumerGroup") -> dict[str, Any]:
    """A group that is online as JSON."""
    return {
        "group": found.group,
        "message_model": found.message_model,
        "consume_type": found.consume_type,
        "consume_from": found.consume_from,
        "subscriptions": [
            {"topic": topic, "type": data.expression_type, "expression": data.sub_string}
            for topic, data in found.subscriptions.items()
        ],
        "clients": [member_tree(member) for member in found.members],
    }


@client.command()
@click.argument("group", type=GroupName())
@click.argument("client_id", required=False)
@click.option("--stacks", is_flag=True, help="The client's threads or tasks, too.")
@asks
def info(*, group: str, client_id: str | None, stacks: bool, target: Target, as_json: bool) -> None:
    """Ask a consumer of GROUP how it is.

    Its queues, what it has fetched and not acknowledged, its rates.

    Without CLIENT_ID the group's only member.
    """

    async def work(cluster: Cluster) -> "tuple[str, RunningInfo | None]":
        found = await online_of(cluster, group, target)
        ids = [member.client_id for member in found.members]
        if client_id is None and len(ids) > 1:
            raise Failure(
                f"group {group} has {len(ids)} members; name one: {', '.join(ids)}",
                next_command(f"broker-trio client info {group} {ids[0]}", target),
            )
        wanted = client_id or ids[0]
        if wanted not in ids:
            raise Failure(f"{wanted} is not online in group {group}; online: {', '.join(ids)}")
        connections = cluster.admin.connections
        return wanted, await connections.running_info(group, wanted, stacks=stacks)

    wanted, found = run(target, work)
    if found is None:
        raise Failure(f"{wanted} has just gone")
    if as_json:
        print_json(info_tree(wanted, found))
    else:
        print_info(wanted, found)


def info_tree(client_id: str, found: "RunningInfo") -> dict[str, Any]:
    """What a client says, as JSON."""
    return {
        "client_id": client_id,
        "properties": found.properties,
        "queues": [
            {
                "topic": queue.topic,
                "broker": queue.broker_name,
                "queue": queue.queue_id,
                "committed": each.commit_offset,
                "cached": each.cached_msg_count,
                "cached_mib": each.cached_msg_size_in_mi_b,
                "locked": each.locked,
                "last_pull_ms": each.last_pull_timestamp,
                "last_consume_ms": each.last_consume_timestamp,
            }
            for queue, each in sorted(found.mq_table.items())
        ],
        "topics": {
            topic: {
                "pull_ms": each.pull_rt,
                "pulled_per_s": each.pull_tps,
                "consume_ms": each.consume_rt,
                "ok_per_s": each.consume_ok_tps,
                "failed_per_s": each.consume_failed_tps,
            }
            for topic, each in sorted(found.status_table.items())
        },
        "stacks": found.jstack,
    }


def print_info(client_id: str, found: "RunningInfo") -> None:
    """What a client says, for people."""
    now = now_ms()
    print_facts([("client id", client_id), *sorted(found.properties.items())])
    rows = [
        (
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            each.commit_offset,
            each.cached_msg_count,
            "locked" if each.locked else "",
            Styled(age_text(each.last_pull_timestamp, now), "dim"),
            Styled(age_text(each.last_consume_timestamp, now), "dim"),
        )
        for queue, each in sorted(found.mq_table.items())
    ]
    columns = ("topic", "broker", "queue", "committed", "fetched", "lock", "pulled", "consumed")
    print_table("", columns, rows, empty="works on no queue")
    print_rates(found.status_table)
    if found.jstack:
        click.echo(found.jstack)


def print_rates(table: Mapping[str, Any]) -> None:
    """How consuming goes, topic by topic."""
    rows = [
        (topic, each.pull_tps, each.consume_ok_tps, each.consume_failed_tps, each.consume_rt)
        for topic, each in sorted(table.items())
    ]
    if rows:
        columns = ("topic", "pulled/s", "ok/s", "failed/s", "ms each")
        print_table("", columns, rows)
