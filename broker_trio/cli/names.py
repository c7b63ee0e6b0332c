"""Names as arguments: checked before anybody is asked, completed from the cluster.

    broker-trio topic describe or⇥   ──▶ the nameserver's topics that begin with it

Completion asks the nameservers of the option or of the environment for half a second, and offers
nothing where nobody answers: a shell must not hang, and must not print an error.
"""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from broker_trio.cli.access import (
    DEFAULT_NAMESERVER,
    ENVIRONMENT,
    Addresses,
    Cluster,
    Target,
    run,
)
from broker_trio.cli.failures import Failure

if TYPE_CHECKING:
    from broker_trio.client.admin.admin import Admin

COMPLETE_S: Final = 0.5
OFFERED_MAX: Final = 200

Names = Callable[["Admin"], Awaitable[list[str]]]


def offered(ctx: click.Context, names: Names, incomplete: str) -> list[CompletionItem]:
    """What the cluster has that begins with what was typed."""
    told = ctx.params.get("nameservers") or ctx.lookup_default("nameservers") or ""
    told = told or os.environ.get(ENVIRONMENT) or DEFAULT_NAMESERVER
    target = Target(Addresses().convert(told, None, ctx), COMPLETE_S)

    async def work(cluster: Cluster) -> list[str]:
        return await names(cluster.admin)

    try:
        with ctx.scope(cleanup=False):
            found = run(target, work)
    except Failure:
        return []
    fits = [name for name in found if name.startswith(incomplete)]
    return [CompletionItem(name) for name in fits[:OFFERED_MAX]]


class CheckedName(click.ParamType[str]):
    """A name that could exist; a subclass tells of what, and what the cluster has of it."""

    def check(self, name: str) -> None:
        """Raises `ValueError` for a name that could not exist."""
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "" and isinstance(param, click.Option):  # its default: any
            return ""
        try:
            self.check(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class TopicName(CheckedName):
    """A topic's name that could exist."""

    name = "topic"

    def check(self, name: str) -> None:
        from broker_trio.model.names import check_topic  # noqa: PLC0415

        check_topic(name)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        system = incomplete.startswith("%")
        return offered(ctx, lambda admin: admin.topics.names(system=system), incomplete)


class GroupName(CheckedName):
    """A consumer group's name that could exist."""

    name = "group"

    def check(self, name: str) -> None:
        from broker_trio.model.names import check_group  # noqa: PLC0415

        check_group(name)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return offered(ctx, lambda admin: admin.groups.names(), incomplete)


class BrokerName(click.ParamType[str]):
    """A broker's name, or host:port of one."""

    name = "broker"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        async def names(admin: "Admin") -> list[str]:
            return sorted({replica.broker_name for replica in await admin.brokers.replicas()})

        return offered(ctx, names, incomplete)
