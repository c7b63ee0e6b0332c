"""Whether a slave of an Apache master may become the master: the plan of `promote` for it. Pure.

There are no records and no epochs in Apache's classic replication, so nobody can refuse a second
master but the operator. Hence the guards: the old one must be silent, and all that it ever told of
its log must be here. What it wrote in its very last moment nobody knows, unless its log had stood
still before: therefore writes are ended first, by its own permission, and then it is stopped.
"""

from typing import Final

from broker_trio.broker.replication.commands import Plan, Step
from broker_trio.broker.replication.view import Guard, View, label, size
from broker_trio.model.pair import Following, Risk, Status
from broker_trio.wire.bodies.pair import Order

STILL_MS: Final = 1_500  # a log whose end did not move for so long is not written to


def guards(status: Status, following: Following) -> list[Guard]:
    """What must hold, with the fact behind each."""
    age = following.answered_ms / 1_000
    when = f"{age:.1f} s ago" if age >= 0 else "never"
    lacks = max(0, following.master_end - status.log_end)
    return [
        Guard(
            "the old master is gone",
            not following.answers,
            f"{following.master} {'answers' if following.answers else 'is silent'}, "
            f"its last answer came {when}",
        ),
        Guard(
            "all that it told of its log is here",
            following.answered_ms >= 0 and not lacks,
            f"it lacks {size(lacks)}" if lacks else f"its log ended at {following.master_end}",
        ),
        Guard(
            "its topics, groups and offsets are here",
            following.tables_ms >= 0,
            f"taken {following.tables_ms / 1_000:.1f} s ago"
            if following.tables_ms >= 0
            else "they never were taken",
        ),
    ]


def loss(status: Status, following: Following) -> str:
    """What a promotion may lose, in the words that are printed before it asks."""
    lacks = following.master_end - status.log_end
    if lacks > 0:
        return f"{size(lacks)} that the master is known to have had"
    if following.answered_ms >= 0 and following.still_ms >= STILL_MS:
        return "nothing: the master's log had stood still when it answered last"
    return (
        f"what the master wrote behind {status.log_end} in its last moment; nobody knows how much"
    )


def plan_classic(view: View, target: Status, risk: Risk | None) -> Plan:
    """The Apache master is gone: `target`, which followed it, becomes the master."""
    following = target.classic
    assert following is not None
    checks = [] if risk is not None else guards(target, following)
    order = Order(broker_name=view.broker_name, verb="promote", risk=risk)
    text = f"{label(target)} follows no more, takes writes and registers as the master"
    notes = []
    if risk is not None:
        notes.append(f"logged: {risk.operator} accepted it: {risk.reason}")
    for topic, count in sorted(following.unserved.items()):
        notes.append(f"{topic} holds {count} messages; those still pending are not delivered here")
    idle = following.promoted or not all(guard.ok for guard in checks)
    return Plan(
        command="promote",
        broker_name=view.broker_name,
        target=label(target),
        guards=checks,
        steps=[] if idle else [Step(text, target.address, order, "owner")],
        loss=loss(target, following),
        notes=notes,
        already=following.promoted,
        next=_next(target, following),
    )


def _next(target: Status, following: Following) -> str:
    """After a refusal."""
    if following.answers:
        return (
            f"mqadmin updateBrokerConfig -b {following.master} -k brokerPermission -v 4, wait "
            f"until it is level (broker-trio pair status {target.broker_name}), stop it, then again"
        )
    return "start the master once more until it is level; the last resort: --accept-loss"
