"""`pair status`: everybody's word in one table, and the one thing to do now."""

from typing import Any

import click

from broker_trio.broker.replication.classic_promotion import plan_classic
from broker_trio.broker.replication.instruction import instruction
from broker_trio.broker.replication.view import View, label
from broker_trio.cli.access import Target, nameserver_option, run
from broker_trio.cli.failures import NobodyReached
from broker_trio.cli.output import print_json, print_table
from broker_trio.cli.pair.reach import look
from broker_trio.model.pair import Status


def print_status(target: Target, name: str, replicas: tuple[str, ...], *, as_json: bool) -> None:
    """Look and print. Raises `NobodyReached` where neither replica nor nameserver answers."""
    view = run(target, lambda cluster: look(cluster, target.nameservers, name, replicas))
    if view.classic and not view.replicas:
        print_classic(target, view, as_json=as_json)
        return
    if not view.replicas and not view.witnesses:
        why = "; ".join(f"{address}: {text}" for address, text in sorted(view.silent.items()))
        raise NobodyReached(f"nobody knows the pair {name}: {why or 'no such broker name'}")
    todo = instruction(view)
    command = todo.command + nameserver_option(target) if todo.command else ""
    if as_json:
        print_json(
            {
                "broker_name": name,
                "replicas": view.replicas,
                "witnesses": view.witnesses,
                "silent": view.silent,
                "instruction": {"verb": todo.verb, "text": todo.text, "command": command},
            }
        )
        return
    columns = ("replica", "address", "state", "epoch", "copies", "lease", "end", "on disk", "")
    print_table("", columns, [_row(address, one) for address, one in view.replicas.items()])
    lags = _lag_rows(view)
    if lags:
        print_table("", ("behind", "told by", "bytes", "messages", "seconds", ""), lags)
    print_table("", ("nameserver", "record", "copies"), _witness_rows(view))
    for address, text in sorted(view.silent.items()):
        click.echo(f"silent: {address}: {text}")
    click.echo(f"\n{todo.verb}: {todo.text}")
    if command:
        click.echo(f" next: {command}")


def print_classic(target: Target, view: View, *, as_json: bool) -> None:
    """Slaves of an Apache master: how far they are, and what is to do next."""
    plans = {address: plan_classic(view, one, None) for address, one in view.classic.items()}
    if as_json:
        print_json(
            {
                "broker_name": view.broker_name,
                "classic": dict(view.classic),
                "plans": plans,
                "silent": view.silent,
            }
        )
        return
    columns = ("slave", "address", "state", "end", "on disk", "Apache's end", "tables", "")
    print_table("", columns, [_classic_row(address, one) for address, one in view.classic.items()])
    for plan in plans.values():
        if plan.already:
            click.echo(f"\nnothing: {plan.target} is the master; classic.follow counts no more")
        elif plan.refused:
            for guard in plan.guards:
                click.echo(f"{'ok     ' if guard.ok else 'not yet'}  {guard.name}: {guard.fact}")
            click.echo(f" next: {plan.next}")
        else:
            click.echo(f"\npromote: {plan.loss}")
            click.echo(f" next: broker-trio promote {plan.target}{nameserver_option(target)}")


def _classic_row(address: str, status: Status) -> tuple[Any, ...]:
    following = status.classic
    assert following is not None, "only slaves of Apache masters have rows here"
    age = f"{following.tables_ms / 1_000:.1f} s ago" if following.tables_ms >= 0 else "never"
    where = (status.log_end, status.durable_end, following.master_end, age, following.problem)
    return (label(status), address, status.state, *where)


def _row(address: str, status: Status) -> tuple[Any, ...]:
    kept = status.kept
    assert kept is not None, "only replicas have rows here"
    epoch = str(kept.settled.epoch)
    if kept.promised != kept.settled.epoch:
        epoch += f", promised {kept.promised}"
    copies = f"{kept.settled.min} of {len(kept.settled.members)}"
    lease = f"{status.lease_ms / 1_000:.1f} s" if status.lease_ms else "–"
    where = (status.log_end, status.durable_end, status.warning)
    return (status.replica_id, address, status.state, epoch, copies, lease, *where)


def _lag_rows(view: View) -> list[tuple[Any, ...]]:
    """Each slave as it says itself, and as its master says."""
    rows: list[tuple[Any, ...]] = []
    for status in view.replicas.values():
        own = () if status.lag is None else (status.lag,)
        for lag in (*own, *status.slaves):
            where = "in sync" if lag.in_sync else ""
            seconds = f"{lag.ms / 1_000:.1f}"
            rows.append(
                (lag.replica_id, status.replica_id, lag.bytes, lag.messages, seconds, where)
            )
    return sorted(rows)


def _witness_rows(view: View) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for address, status in view.witnesses.items():
        record = status.record
        if status.forgot:
            rows.append((address, "forgot", ""))
        elif record is None:
            rows.append((address, "none", ""))
        else:
            rows.append((address, str(record.epoch), f"{record.min} of {len(record.members)}"))
    return rows
