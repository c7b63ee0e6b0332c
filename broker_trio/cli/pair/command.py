"""`promote`, `switchover`, `degrade`, `restore`, `fence` and `pair`: failover by hand.

A replica is called NAME/ID (`broker-a/2`) or by its address; with an address `--name` says the
broker name. Every command prints its plan first and can be run again at any time.
"""

import functools
import getpass
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from broker_trio.cli.access import Addresses, Target, cluster_options
from broker_trio.cli.output import json_option

if TYPE_CHECKING:
    from broker_trio.broker.replication.view import View
    from broker_trio.cli.pair.carry_out import How
    from broker_trio.model.pair import Risk

F = TypeVar("F", bound=Callable[..., Any])


def acts(command: F) -> F:
    """The options of every command that changes something, handed over as `how`."""

    @functools.wraps(command)
    def call(
        *args: object,
        nameservers: tuple[str, ...],
        timeout_s: float,
        as_json: bool,
        dry_run: bool,
        yes: bool,
        wait_s: float,
        replicas: tuple[str, ...] | None,
        **values: object,
    ) -> object:
        from broker_trio.cli.pair.carry_out import How  # noqa: PLC0415

        target = Target(nameservers, timeout_s)
        how = How(target, as_json, dry_run, yes, wait_s, replicas or ())
        return command(*args, how=how, **values)

    options = [
        click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option(
            "--wait",
            "wait_s",
            type=click.FloatRange(0.1, 600),
            default=30.0,
            show_default=True,
            help="Seconds until a record must be in force.",
        ),
        click.option(
            "--replica",
            "replicas",
            type=Addresses(),
            help="host:port of replicas that are not registered.",
        ),
        json_option,
    ]
    wrapped: Any = cluster_options(call)
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast("F", wrapped)


name_option = click.option(
    "--name", "broker_name", default="", help="The broker name, where an address is given."
)


def name_of(replica: str, broker_name: str) -> str:
    """The broker name in NAME/ID, or the option's. Raises `click.UsageError`."""
    name, slash, number = replica.rpartition("/")
    if slash and number.isdigit():
        return name
    if not broker_name:
        raise click.UsageError(f"{replica!r} is no NAME/ID: add --name BROKER_NAME to an address")
    return broker_name


def risk_of(operator: str, reason: str) -> "Risk":
    """Who accepts a loss, why, and when."""
    from broker_trio.model.pair import TEXT_CHARS_MAX, Risk  # noqa: PLC0415

    who = operator or getpass.getuser()
    return Risk(who[:TEXT_CHARS_MAX], reason[:TEXT_CHARS_MAX], time.time_ns() // 1_000_000)


@click.command()
@click.argument("replica")
@click.option("--one-copy", is_flag=True, help="Then acknowledge alone until a slave is restored.")
@click.option("--accept-loss", is_flag=True, help="Own although acknowledged messages may be lost.")
@click.option("--fenced", default="", metavar="HOST", help="HOST is off and stays off: no lease.")
@click.option("--operator", default="", help="Who accepts the risk; you where it is left out.")
@click.option("--reason", default="", help="Why the risk is accepted; it is kept in the record.")
@name_option
@acts
def promote(
    replica: str,
    *,
    one_copy: bool,
    accept_loss: bool,
    fenced: str,
    operator: str,
    reason: str,
    broker_name: str,
    how: "How",
) -> None:
    """Make REPLICA the master: the old one is gone."""
    from broker_trio.broker.replication import commands  # noqa: PLC0415
    from broker_trio.broker.replication.classic_promotion import plan_classic  # noqa: PLC0415
    from broker_trio.cli.pair.carry_out import carry_out, find  # noqa: PLC0415

    if accept_loss and fenced:
        raise click.UsageError("--accept-loss and --fenced exclude each other")
    if (accept_loss or fenced) and not reason:
        raise click.UsageError("a risk needs its --reason, which is kept in the record")

    def build(view: "View") -> commands.Plan:
        target = find(view, replica)
        risk = risk_of(operator, reason) if accept_loss or fenced else None
        if target.classic is not None:
            return plan_classic(view, target, risk)
        if risk is not None:
            return commands.plan_force(view, target, risk, fenced_host=fenced)
        return commands.plan_promote(view, target, one_copy=one_copy)

    carry_out(how, name_of(replica, broker_name), build)


@click.command()
@click.argument("master")
@click.argument("slave")
@name_option
@acts
def switchover(master: str, slave: str, *, broker_name: str, how: "How") -> None:
    """Hand MASTER's ownership to SLAVE: both are well, and nothing is lost."""
    from broker_trio.broker.replication.commands import plan_switchover  # noqa: PLC0415
    from broker_trio.cli.pair.carry_out import carry_out, find  # noqa: PLC0415

    name = name_of(slave, broker_name or name_of(master, broker_name))
    carry_out(how, name, lambda view: plan_switchover(view, find(view, master), find(view, slave)))


@click.command()
@click.argument("replica")
@name_option
@acts
def degrade(replica: str, *, broker_name: str, how: "How") -> None:
    """Let the master REPLICA acknowledge with its copy alone: the slave is gone."""
    from broker_trio.broker.replication.commands import plan_degrade  # noqa: PLC0415
    from broker_trio.cli.pair.carry_out import carry_out, find  # noqa: PLC0415

    name = name_of(replica, broker_name)
    carry_out(how, name, lambda view: plan_degrade(view, find(view, replica)))


@click.command()
@click.argument("replica")
@name_option
@acts
def restore(replica: str, *, broker_name: str, how: "How") -> None:
    """Let the master REPLICA count its slave's copy again; it does so by itself after a while."""
    from broker_trio.broker.replication.commands import plan_restore  # noqa: PLC0415
    from broker_trio.cli.pair.carry_out import carry_out, find  # noqa: PLC0415

    name = name_of(replica, broker_name)
    carry_out(how, name, lambda view: plan_restore(view, find(view, replica)))


def _fence(replica: str, broker_name: str, how: "How", *, fenced: bool) -> None:
    from broker_trio.broker.replication.commands import plan_fence  # noqa: PLC0415
    from broker_trio.cli.pair.carry_out import carry_out, find  # noqa: PLC0415

    name = name_of(replica, broker_name)
    carry_out(how, name, lambda view: plan_fence(view, find(view, replica), fenced=fenced))


@click.command()
@click.argument("replica")
@name_option
@acts
def fence(replica: str, *, broker_name: str, how: "How") -> None:
    """Let REPLICA own nothing until it rejoins. Always safe."""
    _fence(replica, broker_name, how, fenced=True)


@click.group()
def pair() -> None:
    """Look at pairs; end a fence; tell nameservers that forgot."""


@pair.command()
@click.argument("replica")
@name_option
@acts
def rejoin(replica: str, *, broker_name: str, how: "How") -> None:
    """End a fence: REPLICA may own again."""
    _fence(replica, broker_name, how, fenced=False)


@pair.command()
@click.argument("broker_name")
@click.option("--replica", "replicas", type=Addresses(), help="host:port, where not registered.")
@json_option
@cluster_options
def status(
    broker_name: str,
    *,
    replicas: tuple[str, ...] | None,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Show the pair BROKER_NAME, and say what to do with it now."""
    from broker_trio.cli.pair.status import print_status  # noqa: PLC0415

    print_status(Target(nameservers, timeout_s), broker_name, replicas or (), as_json=as_json)


@pair.command()
@click.option("--reason", default="", help="Accept that a silent replica may have known more.")
@acts
def adopt(*, reason: str, how: "How") -> None:
    """Tell nameservers without records what the others know.

    For a new cluster, or after a loss.
    """
    from broker_trio.cli.pair.adopt import adopt_all  # noqa: PLC0415

    adopt_all(how, reason)
