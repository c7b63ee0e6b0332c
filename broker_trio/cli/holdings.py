"""`broker-trio cluster holdings`: what would be lost with a broker, and whether it is drained."""

from typing import TYPE_CHECKING

import click

from broker_trio.cli.access import Cluster, Target, asks, run
from broker_trio.cli.names import BrokerName
from broker_trio.cli.output import Column, Styled, print_json, print_table

if TYPE_CHECKING:
    from broker_trio.client.admin.holdings import Holdings


@click.command()
@click.argument("broker", type=BrokerName())
@asks
def holdings(*, broker: str, target: Target, as_json: bool) -> None:
    """Print what only BROKER still has.

    Unread messages by group, messages that no group reads, dead letters, delayed messages; and
    whether each nameserver lets producers write there. All empty: the pair can be taken away.
    """

    async def work(cluster: Cluster) -> "Holdings":
        from broker_trio.client.admin.holdings import AllHoldings  # noqa: PLC0415

        return await AllHoldings(cluster.calls, cluster.nameservers).of(broker)

    found = run(target, work)
    if as_json:
        print_json(found)
        return
    rows: list[tuple[object, ...]] = [
        (what, each.group or "nobody", each.topic, Styled(str(each.messages), "warn"))
        for what, parts in (
            ("unread", found.unread),
            ("no group reads", found.unowned),
            ("dead letters", found.dead_letters),
        )
        for each in parts
    ]
    rows += [("delayed", "", "", Styled(str(found.delayed), "warn"))] if found.delayed else []
    columns = ("what", "group", Column("topic", "whole"), "messages")
    print_table(broker, columns, rows, empty="nothing that would be lost")
    if found.only_here:
        click.echo(f"no other broker has: {', '.join(found.only_here)}")
    for address, writable in found.writable.items():
        told = {True: "producers write", False: "drained", None: "no answer"}[writable]
        click.echo(f"{address}: {told}")
