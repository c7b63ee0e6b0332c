"""From a plan to its end: shown first, asked for, done step by step, watched until it is in force.

    look ─▶ plan ─▶ print ─┬─ nothing left to do ─▶ 0      ├─ --dry-run ─▶ 0
                           ├─ a guard refuses ─────▶ 3      └─ yes? ─▶ orders ─▶ watched ─▶ 0 or 5

Exit code 5 says that the order was given and is not in force yet: run the same command again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec
import trio

from broker_trio.broker.replication.commands import Plan, Step
from broker_trio.broker.replication.view import View
from broker_trio.cli.access import Cluster, Target, run
from broker_trio.cli.failures import Failure, GuardRefused, NobodyReached, OutcomeUnknown
from broker_trio.cli.output import print_json
from broker_trio.cli.pair.reach import look, order, status_of
from broker_trio.client.errors import BrokerRefused
from broker_trio.model.pair import Status

POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class How:
    """The options that all pair commands share."""

    target: Target
    as_json: bool
    dry_run: bool
    yes: bool
    wait_s: float
    replicas: tuple[str, ...]


def find(view: View, wanted: str) -> Status:
    """The replica called so: NAME/ID or host:port. Raises `NobodyReached`."""
    for address, status in {**view.replicas, **view.classic}.items():
        if wanted in {address, status.address, f"{view.broker_name}/{status.replica_id}"}:
            return status
    why = "; ".join(f"{address}: {text}" for address, text in sorted(view.silent.items()))
    known = ", ".join(f"{view.broker_name}/{s.replica_id}" for s in view.replicas.values())
    text = f"no status of {wanted}; answered: {known or 'nobody'}"
    raise NobodyReached(text + (f"; silent: {why}" if why else ""), "--replica HOST:PORT")


def carry_out(how: How, name: str, build: Callable[[View], Plan]) -> None:
    """Look, plan, print, ask, do. Raises the `Failure` whose exit code says how it ended."""
    view = run(
        how.target, lambda cluster: look(cluster, how.target.nameservers, name, how.replicas)
    )
    plan = build(view)
    if not how.as_json:
        show(plan)
    if plan.already:
        _say(how, plan, "already", f"nothing to do: {plan.target} is so already")
        return
    if plan.refused:
        if how.as_json:
            print_json({"verdict": "refused", "plan": plan})
        failed = "; ".join(f"{guard.name}: {guard.fact}" for guard in plan.guards if not guard.ok)
        raise GuardRefused(f"{plan.command} {plan.target}: {failed}", plan.next)
    if how.dry_run:
        _say(how, plan, "planned", "dry run: nothing was done")
        return
    if not how.yes:
        if how.as_json:
            raise click.UsageError("--json asks nobody: add --yes or --dry-run")
        click.confirm("Do it?", abort=True)
    status = run(how.target, lambda cluster: _do(cluster, how, plan), changes=True)
    _say(how, plan, "done", f"done: {plan.target} is {status.state}", status)


def _say(how: How, plan: Plan, verdict: str, text: str, status: Status | None = None) -> None:
    if how.as_json:
        more: dict[str, Any] = {} if status is None else {"status": status}
        print_json({"verdict": verdict, "plan": plan, **more})
    else:
        click.echo(text)


def show(plan: Plan) -> None:
    """The plan for people: what it checks, does, and may lose."""
    click.echo(f"{plan.command} {plan.target}")
    for guard in plan.guards:
        click.echo(f"  {'ok     ' if guard.ok else 'refused'}  {guard.name}: {guard.fact}")
    for number, step in enumerate(plan.steps, 1):
        click.echo(f"  step {number}   {step.text}")
    for note in plan.notes:
        click.echo(f"  note     {note}")
    if plan.steps:
        click.echo(f"  lost     {plan.loss}")


async def _do(cluster: Cluster, how: How, plan: Plan) -> Status:
    status: Status | None = None
    paused: Step | None = None
    for number, step in enumerate(plan.steps):
        asked = step.order
        if asked.verb == "handover":
            assert status is not None, "a handover begins where its pause ended"
            asked = msgspec.structs.replace(asked, end=status.log_end)
        try:
            status = await order(cluster, step.address, asked)
        except BrokerRefused as error:
            if paused is not None:
                resume = msgspec.structs.replace(paused.order, verb="resume")
                await order(cluster, paused.address, resume)
            text = f"{step.address} refused: {error.remark}"
            kind = Failure if number and paused is None else GuardRefused
            raise kind(text, plan.next) from error
        paused = step if asked.verb == "pause" else None
        status = await _in_force(cluster, how, plan, step, status)
    assert status is not None, "a plan that is carried out has steps"
    return status


async def _in_force(cluster: Cluster, how: How, plan: Plan, step: Step, status: Status) -> Status:
    """Watch the replica until its record is in force. Raises `OutcomeUnknown`."""
    now: Status | str = status
    with trio.move_on_after(how.wait_s):
        while True:
            if isinstance(now, Status) and _is_at_end(step, now):
                return now
            await trio.sleep(POLL_S)
            now = await status_of(cluster, step.address, plan.broker_name)
    what = f"it is {now.state}" if isinstance(now, Status) else now
    text = f"ordered, and not in force after {how.wait_s:g} s: {what}"
    raise OutcomeUnknown(f"{step.address}: {text}", "the same command again; it continues")


def _is_at_end(step: Step, status: Status) -> bool:
    kept = status.kept
    if step.then and status.state != step.then:
        return False
    return not step.members or (kept is not None and len(kept.settled.members) == step.members)
