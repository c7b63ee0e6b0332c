"""`broker-trio cluster`: which brokers there are, and what one of them says of itself."""

from typing import Any

import click

from broker_trio.cli.access import Cluster, Target, cluster_options, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.output import json_option, print_json, print_table


@click.group()
def cluster() -> None:
    """List brokers, and look at one."""


@cluster.command("list")
@json_option
@cluster_options
def list_brokers(*, as_json: bool, nameservers: tuple[str, ...], timeout_s: float) -> None:
    """List every broker that is registered, with its rates of the last ten seconds."""
    rows = run(Target(nameservers, timeout_s), brokers_of)
    if as_json:
        print_json({"brokers": rows})
        return
    columns = ("cluster", "broker", "id", "address", "version", "in_per_s", "out_per_s", "stored")
    print_table(
        "",
        ("cluster", "broker", "id", "address", "version", "in/s", "out/s", "stored"),
        [tuple(row.get(column, "") for column in columns) for row in rows],
    )


async def brokers_of(cluster: Cluster) -> list[dict[str, Any]]:
    """One row a replica; one that does not answer says so in `error`, and ends nothing."""
    from broker_trio.client.errors import ClientError  # noqa: PLC0415
    from broker_trio.remoting.client import Unreachable  # noqa: PLC0415

    info = await cluster.nameservers.cluster_info()
    rows = []
    for name, data in sorted(info.broker_addr_table.items()):
        for broker_id, address in sorted(data.broker_addrs.items()):
            row: dict[str, Any] = {
                "cluster": data.cluster,
                "broker": name,
                "id": broker_id,
                "address": address,
            }
            try:
                row |= summary(await runtime_info(cluster, address))
            except (ClientError, Unreachable) as error:
                row |= {"version": "no answer", "error": str(error)}
            rows.append(row)
    return rows


async def runtime_info(cluster: Cluster, address: str) -> dict[str, str]:
    """What a broker says of itself: names and texts as RocketMQ's tools know them."""
    from broker_trio.model.codes import RequestCode  # noqa: PLC0415
    from broker_trio.wire.bodies.route import decode_kv_table  # noqa: PLC0415

    answer = await cluster.calls.ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
    return decode_kv_table(answer.body, answer.serialize)


def summary(info: dict[str, str]) -> dict[str, Any]:
    """The members of the list, out of runtime info; what a broker does not tell is left out."""
    found: dict[str, Any] = {"version": info.get("brokerVersionDesc", "")}
    for column, key in (("in_per_s", "putTps"), ("out_per_s", "getTransferredTps")):
        rate = first_number(info.get(key, ""))
        if rate is not None:
            found[column] = rate
    stored = info.get("msgPutTotalTodayNow", "")
    if stored.isdigit():
        found["stored"] = int(stored)
    return found


def first_number(text: str) -> float | None:
    """The first of the three rates that runtime info joins with spaces: the last ten seconds."""
    words = text.split()
    try:
        return round(float(words[0]), 1) if words else None
    except ValueError:
        return None


@cluster.command()
@click.argument("broker")
@json_option
@cluster_options
def info(*, broker: str, as_json: bool, nameservers: tuple[str, ...], timeout_s: float) -> None:
    """Print the runtime info of BROKER, a broker name or host:port."""

    async def work(cluster: Cluster) -> dict[str, str]:
        return await runtime_info(cluster, await address_of(cluster, broker))

    found = run(Target(nameservers, timeout_s), work)
    if as_json:
        print_json(dict(sorted(found.items())))
        return
    for key, value in sorted(found.items()):
        click.echo(f"{key} = {value}")


async def address_of(cluster: Cluster, broker: str) -> str:
    """An address as it is, a broker name's master else. Raises `Failure` for an unknown name."""
    if ":" in broker:
        return broker
    table = (await cluster.nameservers.cluster_info()).broker_addr_table
    data = table.get(broker)
    if data is None or not data.broker_addrs:
        known = ", ".join(sorted(table)) or "none"
        raise Failure(f"no broker named {broker}; known: {known}", "broker-trio cluster list")
    return data.broker_addrs[min(data.broker_addrs)]
