"""`broker-trio cluster`: brokers and nameservers, what they say, how they are set."""

from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, asks, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.holdings import holdings
from broker_trio.cli.names import BrokerName
from broker_trio.cli.output import (
    Column,
    Styled,
    bytes_text,
    fact_lines,
    make_table,
    one_line,
    print_facts,
    print_json,
    print_table,
)
from broker_trio.cli.times import now_ms, span_text
from broker_trio.cli.watch import Moved, Watch, show, watch_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from broker_trio.client.admin.brokers import Replica
    from broker_trio.client.admin.hosts import NameserverTable

DISK_WARN, DISK_FAIL = 0.75, 0.9


@click.group()
def cluster() -> None:
    """List brokers and nameservers, look at one, set it, drain it."""


cluster.add_command(holdings)


@cluster.command("list")
@watch_options
@asks
def list_brokers(
    *, every_s: float | None, times: int | None, target: Target, as_json: bool
) -> None:
    """List the brokers and their rates.

    Rates are of the last ten seconds, and with --watch from look to look.
    """
    watch = Watch(brokers_of, lambda rows: {"brokers": rows}, brokers_table, put_numbers)
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


async def brokers_of(cluster: Cluster) -> list[dict[str, Any]]:
    """One row a replica; one that does not answer says so in `error`, and ends nothing."""
    from broker_trio.client.admin.asking import ask_each  # noqa: PLC0415

    replicas = await cluster.admin.brokers.replicas()
    asked = await ask_each(
        {replica: replica.address for replica in replicas}, cluster.admin.statistics.runtime
    )
    return [
        replica_row(replica, asked.answers.get(replica), asked.problems.get(replica))
        for replica in replicas
    ]


def replica_row(
    replica: "Replica", info: dict[str, str] | None, problem: Exception | None
) -> dict[str, Any]:
    """One replica as JSON; what it does not tell is left out."""
    from broker_trio.client.admin.statistics import Summary  # noqa: PLC0415

    row: dict[str, Any] = {
        "cluster": replica.cluster,
        "broker": replica.broker_name,
        "id": replica.broker_id,
        "role": replica.role,
        "address": replica.address,
    }
    if info is None:
        return {**row, "version": "no answer", "error": str(problem)}
    summary = Summary.of(info)
    told = {
        "version": summary.version,
        "in_per_s": summary.puts_per_s,
        "out_per_s": summary.gets_per_s,
        "stored": summary.puts_today,
        "disk_used_ratio": summary.disk_used_ratio,
        "boot_ms": summary.boot_ms,
    }
    return row | {name: value for name, value in told.items() if value is not None}


def put_numbers(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What moves: messages stored, by replica."""
    return {row["address"]: row["stored"] for row in rows if "stored" in row}


def brokers_table(rows: list[dict[str, Any]], moved: Moved) -> "RenderableType":
    """The list for people; the cluster's name where there are several."""
    now, several = now_ms(), len({row["cluster"] for row in rows}) > 1
    shown: list[tuple[object, ...]] = []
    for row in rows:
        role = row["role"] if row["id"] == 0 else f"{row['role']} {row['id']}"
        begin: tuple[object, ...] = (row["broker"], role, row["address"])
        begin = (row["cluster"], *begin) if several else begin
        if "error" in row:
            shown.append((*begin, Styled("no answer", "fail"), None, None, Styled("", "dim"), ""))
            continue
        rate, boot = moved.per_s(row["address"]), row.get("boot_ms", 0)
        shown.append(
            (
                *begin,
                row["version"],
                row.get("in_per_s") if rate is None else rate,
                row.get("out_per_s"),
                disk_cell(row.get("disk_used_ratio")),
                span_text((now - boot) / 1_000) if boot else "",
            )
        )
    columns: tuple[str | Column, ...] = (
        Column("broker", "whole"),
        Column("role", "whole"),
        Column("address", "whole"),
        "version",
        "in/s",
        "out/s",
        Column("disk", "whole"),
        "up",
    )
    columns = ("cluster", *columns) if several else columns
    return make_table("", columns, shown, empty="no broker is registered")


def disk_cell(ratio: float | None) -> Styled:
    """`41 %`, in the colour of what a broker does at that much."""
    if ratio is None:
        return Styled("", "dim")
    style = "fail" if ratio >= DISK_FAIL else "warn" if ratio >= DISK_WARN else "ok"
    return Styled(f"{ratio * 100:.0f} %", style)


@cluster.command()
@asks
def nameservers(*, target: Target, as_json: bool) -> None:
    """Compare the nameservers.

    How many brokers and topics each shows, and what it lacks.
    """
    rows = run(target, nameservers_of)
    if as_json:
        print_json({"nameservers": rows})
        return
    shown = [
        (row["nameserver"], Styled("no answer", "fail"), None, row["error"])
        if "error" in row
        else (
            row["nameserver"],
            row["brokers"],
            topics_text(row["topics"], row["system_topics"]),
            Styled("; ".join(row["missing"]), "warn") if row["missing"] else Styled("same", "ok"),
        )
        for row in rows
    ]
    print_table("", (Column("nameserver", "whole"), "brokers", "topics", "compared"), shown)
    if all("error" in row for row in rows):
        raise Failure("no nameserver answered", "broker-trio doctor")


def topics_text(topics: int, system: int) -> str:
    """`3 +9 system`: those that users made, and those that every cluster has."""
    return f"{topics - system} +{system} system" if system else str(topics)


def system_of(table: "NameserverTable") -> list[str]:
    """The topics of a nameserver that no user made."""
    from broker_trio.model.names import is_dlq, is_retry, is_system_topic  # noqa: PLC0415

    brokers = {name for name, _, _ in table.replicas}
    return [
        topic
        for topic in table.topics
        if is_system_topic(topic) or is_retry(topic) or is_dlq(topic) or topic in brokers
        or topic.endswith("_REPLY_TOPIC")
    ]  # fmt: skip


async def nameservers_of(cluster: Cluster) -> list[dict[str, Any]]:
    """One row a nameserver; `missing` is what the others show and it does not."""
    from broker_trio.client.admin.asking import ask_each  # noqa: PLC0415

    hosts = cluster.admin.hosts
    asked = await ask_each({address: address for address in hosts.nameservers}, hosts.table)
    replicas = frozenset[tuple[str, int, str]]().union(
        *(t.replicas for t in asked.answers.values())
    )
    topics = frozenset[str]().union(*(table.topics for table in asked.answers.values()))
    rows: list[dict[str, Any]] = []
    for address in hosts.nameservers:
        table = asked.answers.get(address)
        if table is None:
            rows.append({"nameserver": address, "error": str(asked.problems[address])})
            continue
        missing = [f"no {name}-{i} at {at}" for name, i, at in sorted(replicas - table.replicas)]
        missing += [f"no topic {name}" for name in sorted(topics - table.topics)]
        rows.append(
            {
                "nameserver": address,
                "brokers": len(table.replicas),
                "topics": len(table.topics),
                "system_topics": len(system_of(table)),
                "missing": missing,
            }
        )
    return rows


@cluster.command()
@click.argument("broker", type=BrokerName())
@click.option("--all", "every", is_flag=True, help="All that it tells, as it tells it.")
@watch_options
@asks
def info(
    *,
    broker: str,
    every: bool,
    every_s: float | None,
    times: int | None,
    target: Target,
    as_json: bool,
) -> None:
    """Print the runtime information of BROKER.

    BROKER is a name, or host:port. In short; all of it with --all or --json.
    """

    def text(found: dict[str, str], _moved: Moved) -> "RenderableType":
        from rich.text import Text  # noqa: PLC0415

        lines = fact_lines(in_short(found))
        if every:
            lines = [one_line(f"{key} = {value}") for key, value in sorted(found.items())]
        return Text("\n".join(lines), no_wrap=True, overflow="ignore")

    watch = Watch(
        lambda cluster: cluster.admin.statistics.runtime(broker),
        lambda found: dict(sorted(found.items())),
        text,
    )
    show(target, watch, as_json=as_json, every_s=every_s, times=times)


def in_short(found: dict[str, str]) -> list[tuple[str, str]]:
    """What people look for in runtime information; what a broker does not tell is left out."""
    from broker_trio.client.admin.statistics import Summary  # noqa: PLC0415

    told, now = Summary.of(found), now_ms()
    begin, end = found.get("commitLogMinOffset", ""), found.get("commitLogMaxOffset", "")
    held = int(end) - int(begin) if begin.isdecimal() and end.isdecimal() else None
    behind = None if told.behind_bytes is None else bytes_text(told.behind_bytes)
    rows: list[tuple[str, object]] = [
        ("version", told.version or None),
        ("up", span_text((now - told.boot_ms) / 1_000) if told.boot_ms else None),
        ("takes messages", {"true": "yes", "false": "no"}.get(found.get("brokerActive", ""))),
        ("in/s", told.puts_per_s),
        ("out/s", told.gets_per_s),
        ("stored today", told.puts_today),
        ("read today", told.gets_today),
        ("commit log", None if held is None else f"{bytes_text(held)}, {begin} to {end}"),
        ("disk used", disk_cell(told.disk_used_ratio).text or None),
        ("behind the log", behind),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


@cluster.command()
@click.argument("broker", type=BrokerName())
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@asks
def config(*, broker: str, changes: tuple[str, ...], target: Target, as_json: bool) -> None:
    """Print or change settings of BROKER.

    A change lasts until its next start.
    """
    pairs = dict(parted(change) for change in changes)
    if pairs:
        run(
            target,
            lambda cluster: cluster.admin.statistics.change_settings(broker, pairs),
            changes=True,
        )
    found = run(target, lambda cluster: cluster.admin.statistics.settings(broker))
    if pairs:
        found = {name: value for name, value in found.items() if name in pairs}
    print_settings(found, as_json=as_json)


def parted(change: str) -> tuple[str, str]:
    name, equals, value = change.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{change!r} is not NAME=VALUE", param_hint="--set")
    return name, value


def print_settings(found: dict[str, str], *, as_json: bool) -> None:
    """Names and values, by name."""
    if as_json:
        print_json(dict(sorted(found.items())))
        return
    for key, value in sorted(found.items()):
        click.echo(f"{key} = {value}")


@cluster.command()
@click.argument("broker", type=BrokerName())
@asks
def drain(*, broker: str, target: Target, as_json: bool) -> None:
    """Let no producer write to BROKER any more.

    At every nameserver; consumers read on.

    It lasts until `undrain`, or until the broker registers a change of its own.
    """
    let_write(target, broker, writable=False, as_json=as_json)


@cluster.command()
@click.argument("broker", type=BrokerName())
@asks
def undrain(*, broker: str, target: Target, as_json: bool) -> None:
    """Let producers write to BROKER again."""
    let_write(target, broker, writable=True, as_json=as_json)


def let_write(target: Target, broker: str, *, writable: bool, as_json: bool) -> None:
    """Both directions; a name that nobody knows is refused before anything is changed."""

    async def work(cluster: Cluster) -> dict[str, int]:
        await cluster.admin.brokers.masters(broker=broker)
        return await cluster.admin.statistics.let_write(broker, writable=writable)

    found = run(target, work, changes=True)
    if as_json:
        print_json({"broker": broker, "writable": writable, "topics": found})
        return
    what = "takes messages again" if writable else "takes no new messages"
    rows = [(f"{address}:", f"{count} topics changed") for address, count in found.items()]
    click.echo(f"{broker} {what}")
    print_facts(rows)
