"""How commands reach a cluster: the options they share, the loop, and what errors become.

broker-trio topic list -n host:9876;host:9876 --timeout 5
                        │
                        ▼
         trio.run ──▶ Cluster(calls, nameservers) ──▶ the command's coroutine
                        │
   BrokerRefused 1 · NoRoute 1 · Unreachable 4 · NoAnswer 4 (questions) or 5 (orders)
"""

import functools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import click

from broker_trio.cli.failures import Failure, NobodyReached, OutcomeUnknown
from broker_trio.cli.output import json_option

if TYPE_CHECKING:
    from broker_trio.client.admin.admin import Admin
    from broker_trio.client.calls import Calls
    from broker_trio.client.connect import Client
    from broker_trio.client.routes import Nameservers
    from broker_trio.model.errors import BrokerTrioError
    from broker_trio.remoting.client import Connect

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_NAMESERVER: Final = "127.0.0.1:9876"
ENVIRONMENT: Final = "BROKER_TRIO_NAMESERVER"
ADVICE: Final = {
    17: "broker-trio topic list",
    26: "broker-trio group list",
    206: "broker-trio client list",
}
"""What to look at after a refusal with this code: no topic, no group, nobody online."""


@dataclass(frozen=True, slots=True)
class Target:
    """The options of `cluster_options`."""

    nameservers: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a command's coroutine works with."""

    calls: "Calls"
    nameservers: "Nameservers"

    @property
    def admin(self) -> "Admin":
        """Everything that an administrator asks."""
        from broker_trio.client.admin.admin import Admin  # noqa: PLC0415

        return Admin(self.calls, self.nameservers)

    @staticmethod
    def wall_ms() -> int:
        return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How addresses are reached, as Click's context object; plain TCP where there is none."""

    connect: "Connect"


class Addresses(click.ParamType[tuple[str, ...]]):
    """`host:port;host:port`, as RocketMQ's tools write it; commas do as well."""

    name = "addresses"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        found = tuple(
            part.strip() for part in str(value).replace(",", ";").split(";") if part.strip()
        )
        for address in found:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit() or not 1 <= int(port) <= 65_535:
                self.fail(f"{address!r} is not host:port", param, ctx)
        if not found:
            self.fail("no address given", param, ctx)
        return found


def cluster_options(command: F) -> F:
    """Where the cluster is, and how long one question may take."""
    nameserver = click.option(
        "-n",
        "--nameserver",
        "nameservers",
        type=Addresses(),
        default=DEFAULT_NAMESERVER,
        envvar=ENVIRONMENT,
        show_default=True,
        show_envvar=True,
        help="host:port, several with ;",
    )
    timeout = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0.01, 600),
        default=5.0,
        show_default=True,
        help="Seconds that one question may take.",
    )
    return nameserver(timeout(command))


def asks(command: F) -> F:
    """--json and `cluster_options`, handed to the command as `as_json` and `target`."""

    @functools.wraps(command)
    def call(
        *args: object, nameservers: tuple[str, ...], timeout_s: float, **values: object
    ) -> object:
        return command(*args, target=Target(nameservers, timeout_s), **values)

    return cast("F", json_option(cluster_options(call)))


def run(target: Target, work: Callable[[Cluster], Awaitable[T]], *, changes: bool = False) -> T:
    """Run a command's coroutine. `changes`: an answer that never came leaves the outcome unknown.

    Raises the `Failure` whose exit code says what happened.
    """
    import trio  # noqa: PLC0415

    from broker_trio.client.calls import Calls  # noqa: PLC0415
    from broker_trio.client.errors import NoRoute  # noqa: PLC0415
    from broker_trio.client.routes import Nameservers  # noqa: PLC0415
    from broker_trio.remoting.client import RemotingClient  # noqa: PLC0415

    connect = outgoing()

    async def main() -> T:
        async with RemotingClient(connect) as client:
            calls = Calls(client, timeout_s=target.timeout_s)
            cluster = Cluster(calls, Nameservers(calls, target.nameservers))
            try:
                return await work(cluster)
            except NoRoute as error:
                if not error.topic:
                    raise
                raise await no_route(cluster, error.topic, target, changes=changes) from error

    try:
        return trio.run(main, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise failure_of(sole_error(group), target, changes=changes) from group


def outgoing() -> "Connect":
    """How this invocation reaches addresses."""
    from broker_trio.remoting.client import connect_tcp  # noqa: PLC0415

    told = click.get_current_context().find_object(Outgoing)
    return connect_tcp if told is None else told.connect


def client_of(
    target: Target, group: str, *, send_timeout_s: float | None = None, attempts_max: int = 3
) -> "Client":
    """A client of the cluster for a command that sends: at most once, each within its timeout."""
    from broker_trio.client.connect import connect  # noqa: PLC0415

    return connect(
        target.nameservers,
        group=group,
        call_timeout_s=target.timeout_s,
        nameserver_timeout_s=target.timeout_s,
        send_timeout_s=target.timeout_s if send_timeout_s is None else send_timeout_s,
        send_attempts_max=attempts_max,
        resend_unknown=False,
        connect=outgoing(),
    )


async def no_route(cluster: Cluster, topic: str, target: Target, *, changes: bool) -> Failure:
    """Ask every nameserver why the topic has no route, and say it."""
    from broker_trio.client.admin.route_cause import ask_why  # noqa: PLC0415

    want: Literal["read", "write"] = "write" if changes else "read"
    why = await ask_why(cluster.calls, cluster.nameservers, topic, want)
    text = f"no route for topic {topic}: {why.text}"
    if why.cause == "no broker":
        return no_broker(target)
    if why.cause == "no nameserver":
        return NobodyReached(text, next_command(why.advice, target))
    return Failure(text, next_command(why.advice, target))


def no_broker(target: Target) -> NobodyReached:
    """The nameserver is there and has nobody to send anybody to."""
    where = "; ".join(target.nameservers)
    text = f"no broker is registered at {where}"
    return NobodyReached(text, next_command("broker-trio doctor", target))


def next_command(advice: str, target: Target) -> str:
    """The advice, with the option that brings it to the same cluster."""
    return advice + nameserver_option(target) if advice.startswith("broker-trio ") else advice


def sole_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside nested groups: commands do one thing at a time."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def failure_of(error: BaseException, target: Target, *, changes: bool) -> BaseException:
    """What an error of the client is to whoever typed the command; others stay as they are."""
    from broker_trio.client.admin.problems import NoSuchBroker  # noqa: PLC0415
    from broker_trio.client.errors import ClientError, NoAnswer, NoRoute  # noqa: PLC0415
    from broker_trio.model.errors import RemoteProtocolError  # noqa: PLC0415
    from broker_trio.remoting.client import Unreachable  # noqa: PLC0415

    if isinstance(error, NoRoute):
        advice = "broker-trio topic list" if error.topic else "broker-trio cluster list"
        return Failure(str(error), next_command(advice, target))
    if isinstance(error, NoAnswer):
        if changes:
            return OutcomeUnknown(f"{error}; it may have been done", "look before you try again")
        return NobodyReached(str(error), next_command("broker-trio cluster list", target))
    if isinstance(error, Unreachable):
        if ":" not in error.address or error.address in target.nameservers:
            text = f"no nameserver answers: {error.cause}"
            return NobodyReached(text, "broker-trio up, or -n HOST:PORT")
        return NobodyReached(f"unreachable: {error}", next_command("broker-trio doctor", target))
    if isinstance(error, NoSuchBroker) and not error.known:
        return no_broker(target)
    if isinstance(error, ClientError | RemoteProtocolError):
        return Failure(str(error), next_command(advice_of(error), target))
    return error


def advice_of(error: "BrokerTrioError") -> str:
    """The command that shows what there is instead; empty where the text says all."""
    from broker_trio.client.admin.problems import NoSuchBroker, NoSuchGroup  # noqa: PLC0415
    from broker_trio.client.errors import BrokerRefused  # noqa: PLC0415

    if isinstance(error, NoSuchBroker):
        return "broker-trio cluster list"
    if isinstance(error, NoSuchGroup):
        return "broker-trio group list"
    return ADVICE.get(error.code, "") if isinstance(error, BrokerRefused) else ""


def nameserver_option(target: Target) -> str:
    """The option that brings the next command to the same cluster; empty where it goes there."""
    told = os.environ.get(ENVIRONMENT) or DEFAULT_NAMESERVER
    if target.nameservers == Addresses().convert(told, None, None):
        return ""
    joined = ";".join(target.nameservers)
    return f" -n '{joined}'" if ";" in joined else f" -n {joined}"
