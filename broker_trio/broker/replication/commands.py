"""What a pair command would do, and whether it may: plans out of statuses. Pure.

    statuses of every replica and witness ──▶ View ──▶ plan_… ──▶ Plan: guards, steps, what is lost

A command holds no state: its steps ask a replica for its next record, above every counter seen, so
that running it again is always right. A refused plan has no steps and changes nothing.
"""

import msgspec

from broker_trio.broker.replication.view import (
    LEADING,
    Guard,
    View,
    above_the_floor,
    against_promoting,
    is_a_member,
    is_the_master,
    kept_of,
    label,
    not_fenced,
    promote_guards,
    rank,
    size,
    witnesses_reached,
)
from broker_trio.model.pair import Kept, Risk, Status, majority
from broker_trio.wire.bodies.pair import Order, Verb


class Step(msgspec.Struct, frozen=True):
    """One order to one replica; `then` is the state that ends it."""

    text: str
    address: str
    order: Order
    then: str = ""
    members: int = 0  # of the settled record at the end; 0 = any


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a command would do. `already`: nothing is left to do. `next`: after a refusal."""

    command: str
    broker_name: str
    target: str
    guards: list[Guard]
    steps: list[Step] = []
    loss: str = "nothing"
    notes: list[str] = []
    already: bool = False
    next: str = ""

    @property
    def refused(self) -> bool:
        return not self.already and not all(guard.ok for guard in self.guards)


def plan_promote(view: View, target: Status, *, one_copy: bool = False) -> Plan:
    """The master is gone: `target` is to own with the same members and `min`."""
    kept = kept_of(target)
    settled, name = kept.settled, view.broker_name
    guards = promote_guards(view, target)
    owns = settled.owner == kept.store_id and kept.promised == settled.epoch
    stuck = any(kept_of(one).promised > kept.promised for one in view.replicas.values())
    steps = []
    if stuck or not (owns and target.state in LEADING):
        text = f"{label(target)} makes a record above {view.above} and tells everybody"
        steps.append(_step(view, target, "promote", text, "owner"))
    if one_copy and settled.min == 2:
        text = f"{label(target)} acknowledges with its copy alone until a slave is restored"
        steps.append(_step(view, target, "degrade", text, "owner", members=1))
    notes = []
    if settled.min == 2 and not one_copy:
        notes.append("it answers SLAVE_NOT_AVAILABLE (11) until a slave attached: --one-copy")
    if one_copy:
        notes.append("while one copy counts, no other replica can be promoted until restored")
    if settled.min == 1 and steps:
        notes.append("the first write comes one lease after a majority of the nameservers agreed")
    return _plan(
        "promote", view, target, guards, steps,
        loss=_loss(view, target), notes=notes, already=not steps,
        next_=_after_refused_promote(view, target, name),
    )  # fmt: skip


def _after_refused_promote(view: View, target: Status, name: str) -> str:
    owner = view.owner
    if owner is not None and owner is not target:
        return f"broker-trio switchover {label(owner)} {label(target)}"
    if not witnesses_reached(view).ok:
        return "bring a nameserver back; or with the other host surely off: --fenced HOST"
    for status in view.replicas.values():
        if status is not target and not against_promoting(view, status):
            return f"broker-trio promote {label(status)}"
    return f"broker-trio pair status {name}; the last resort: --accept-loss"


def _loss(view: View, target: Status) -> str:
    """What a promotion may lose, in the words that are printed before it asks."""
    settled, store_id = kept_of(target).settled, kept_of(target).store_id
    if settled.owner == store_id:
        return "nothing"
    if settled.min == 2:
        return "nothing that was acknowledged with two copies"
    higher = _higher(view, target)
    if higher:
        return f"what was not copied: {higher}"
    return (
        f"what the master wrote beyond {target.log_end} and did not copy; "
        "it does not answer, so nobody knows how much"
    )


def _higher(view: View, target: Status) -> str:
    """Which stores hold more, and by how much."""
    found = []
    for status in view.replicas.values():
        if status is not target and rank(status) > rank(target):
            more = max(status.log_end - target.log_end, 0)
            epoch = kept_of(status).settled.epoch
            found.append(f"{label(status)} has {size(more)} more, in epoch {epoch}")
    return "; ".join(found)


def plan_force(view: View, target: Status, risk: Risk, *, fenced_host: str = "") -> Plan:
    """`--accept-loss`, or `--fenced HOST` without nameservers: a record that names its risk."""
    guards = [not_fenced(target)]
    notes = [f"recorded: {risk.operator} accepted it: {risk.reason}"]
    if fenced_host:
        guards += [is_a_member(target), above_the_floor(view, target)]
        fact = f"{view.knowing} of {view.witness_count} nameservers answered"
        few = view.knowing < majority(view.witness_count)
        guards.append(Guard("no majority can be had", few, fact))
        notes.append(f"if {fenced_host} is on after all, two masters write: split brain")
    else:
        guards.append(witnesses_reached(view))
        notes.append("the first write comes one lease after a majority of the nameservers agreed")
    text = f"{label(target)} makes a forced record with its copy alone"
    order = Order(
        broker_name=view.broker_name, verb="force", above=view.above, risk=risk,
        unleased=bool(fenced_host),
    )  # fmt: skip
    steps = [Step(text, target.address, order, "owner", 1)]
    higher = _higher(view, target)
    loss = f"everything that {label(target)} lacks" + (f": {higher}" if higher else "")
    kept = kept_of(target)
    stuck = any(kept_of(one).promised > kept.promised for one in view.replicas.values())
    already = not stuck and target.state in LEADING and len(kept.settled.members) == 1
    return _plan("promote", view, target, guards, steps, loss=loss, notes=notes, already=already)


def plan_degrade(view: View, target: Status) -> Plan:
    """The slave is gone: the master acknowledges alone, and says so in a record."""
    kept = kept_of(target)
    proposes = _proposes(kept, members=1)
    guards = [not_fenced(target), is_the_master(target, *proposes), witnesses_reached(view)]
    already = target.state in LEADING and len(kept.settled.members) == 1 and kept.settled.min == 1
    text = f"{label(target)} acknowledges with its copy alone until a slave is restored"
    steps = [_step(view, target, "degrade", text, "owner", members=1)]
    notes = ["if it dies before a slave is restored, the other can only own with accepted loss"]
    if target.follower and target.level:
        notes.append("a slave follows and is level: it will be restored by itself")
    return _plan("degrade", view, target, guards, steps, notes=notes, already=already)


def plan_restore(view: View, target: Status) -> Plan:
    """A slave is level again: its copy counts from now on. Masters do this by themselves."""
    kept = kept_of(target)
    proposes = _proposes(kept, members=2)
    follows = bool(target.follower)
    guards = [
        not_fenced(target),
        is_the_master(target, *proposes),
        Guard(
            "a slave follows and is level",
            follows and target.level,
            f"{target.follower[:8] or 'nobody'} follows" + (", level" if target.level else ""),
        ),
        witnesses_reached(view),
    ]
    already = target.state in LEADING and len(kept.settled.members) == 2
    order = Order(
        broker_name=view.broker_name, verb="restore", above=view.above, follower=target.follower
    )
    text = f"{label(target)} counts the copy of {target.follower[:8]} again"
    steps = [Step(text, target.address, order, "owner", 2)]
    return _plan("restore", view, target, guards, steps, already=already)


def _proposes(kept: Kept, *, members: int) -> tuple[str, ...]:
    """Whether it is in the middle of the same command: then it may be finished."""
    proposed = kept.proposed
    mine = proposed is not None and kept.settled.owner == kept.store_id
    if proposed is not None and mine and len(proposed.members) == members:
        return ("proposing",)
    return ()


def plan_switchover(view: View, source: Status, target: Status) -> Plan:
    """Both are well: the master pauses, the slave takes over at exactly its end."""
    from_, to = kept_of(source), kept_of(target)
    unfinished = to.proposed if to.proposed is not None and to.proposed.handover else None
    follows = target.state == "slave" and to.settled.epoch == from_.settled.epoch
    resumes = unfinished is not None and unfinished.start == source.log_end
    lag = max(source.log_end - target.durable_end, 0)
    state = f"{label(target)} is {target.state} in epoch {to.settled.epoch}"
    guards = [
        not_fenced(target),
        Guard(
            "the master may write", source.state in LEADING, f"{label(source)} is {source.state}"
        ),
        is_a_member(target),
        Guard("the slave follows it, or a handover is to be finished", follows or resumes, state),
        Guard("the slave is level", source.level or resumes, f"it lacks {size(lag)}"),
    ]
    already = target.state in LEADING and to.settled.owner == to.store_id
    pause = f"{label(source)} refuses writes for at most 10 s"
    take = f"{label(target)} takes over at the end of {label(source)}, which then follows it"
    steps = [
        Step(pause, source.address, Order(broker_name=view.broker_name, verb="pause")),
        _step(view, target, "handover", take, "owner"),
    ]
    next_ = f"broker-trio pair status {view.broker_name}"
    if unfinished is not None and not resumes:
        next_ = f"broker-trio promote {label(source)}, then switchover again"
    return _plan("switchover", view, target, guards, steps, already=already, next_=next_)


def plan_fence(view: View, target: Status, *, fenced: bool) -> Plan:
    """Own nothing, or again: removes abilities only, so it has no guard."""
    rejoin = f"broker-trio pair rejoin {label(target)}"
    notes = [f"until {rejoin}, over restarts too"] if fenced else []
    if fenced and target is view.owner:
        notes.append(
            f"it is the master: nobody writes {view.broker_name} until another is promoted"
        )
    verb: Verb = "fence" if fenced else "rejoin"
    text = f"{label(target)} owns nothing until it rejoins" if fenced else "it may own again"
    order = Order(broker_name=view.broker_name, verb=verb)
    steps = [Step(text, target.address, order, "fenced" if fenced else "")]
    already = kept_of(target).fenced is fenced
    return _plan(verb, view, target, [], steps, notes=notes, already=already)


def _step(
    view: View, target: Status, verb: Verb, text: str, then: str, *, members: int = 0
) -> Step:
    order = Order(broker_name=view.broker_name, verb=verb, above=view.above)
    return Step(text, target.address, order, then, members)


def _plan(
    command: str,
    view: View,
    target: Status,
    guards: list[Guard],
    steps: list[Step],
    *,
    loss: str = "nothing",
    notes: list[str] | None = None,
    already: bool = False,
    next_: str = "",
) -> Plan:
    """A plan that has no steps where a guard refuses or nothing is left to do."""
    idle = already or not all(guard.ok for guard in guards)
    if guards and kept_of(target).fenced:
        next_ = f"broker-trio pair rejoin {label(target)}"
    return Plan(
        command=command,
        broker_name=view.broker_name,
        target=label(target),
        guards=guards,
        steps=[] if idle else steps,
        loss=loss,
        notes=notes or [],
        already=already,
        next=next_ or f"broker-trio pair status {view.broker_name}",
    )
