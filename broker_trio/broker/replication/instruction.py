"""What an operator should do with a pair now, from what everybody says of it. Pure.

ok        both copies are there                     promote   somebody may own, nobody does
wait      it mends itself, or somebody must come    finish    a command ended half way
degrade   the slave is gone, writes are refused     restore   one copy counts, start the other
adopt     too many nameservers forgot               loss      only with accepted loss
rejoin    a fence is all that is in the way
"""

from typing import NamedTuple

from broker_trio.broker.replication.view import (
    View,
    against_promoting,
    kept_of,
    label,
    not_fenced,
    rank,
    witnesses_reached,
)
from broker_trio.model.pair import Status, majority, meets_floor


class Instruction(NamedTuple):
    """What to do now: ok, wait, finish, promote, restore, degrade, adopt, rejoin, loss; and why."""

    verb: str
    text: str
    command: str = ""


def instruction(view: View) -> Instruction:
    """What an operator should do now, from what everybody says."""
    if not view.replicas:
        why = "; ".join(f"{address}: {text}" for address, text in view.silent.items())
        return Instruction("wait", f"no replica answers: {why or 'none is known'}")
    owner = view.owner
    if owner is not None:
        return _with_owner(view, owner)
    for status in view.replicas.values():
        if status.state == "owner, no lease":
            return _without_lease(view, status)
        if kept_of(status).proposed is not None:
            return _unfinished(view, status)
    return _without_owner(view)


def _with_owner(view: View, owner: Status) -> Instruction:
    kept = kept_of(owner)
    settled = kept.settled
    for status in view.replicas.values():
        if status is not owner and kept_of(status).promised > kept.promised:
            text = f"{label(status)} promised epoch {kept_of(status).promised}: a command ended "
            text += f"half way; to end it for good let {label(owner)} make a record above it"
            return Instruction("finish", text, f"broker-trio promote {label(owner)}")
    if len(settled.members) == 2:
        return _with_two(view, owner)
    if owner.follower:
        text = f"one copy counts; {owner.follower[:8]} follows and is restored once it is level"
        return Instruction("wait", text, f"broker-trio restore {label(owner)}")
    return Instruction("restore", "one copy counts and no slave follows: start the other broker")


def _with_two(view: View, owner: Status) -> Instruction:
    """There is a master, and the copy of another member counts, or should."""
    settled = kept_of(owner).settled
    member = settled.other(kept_of(owner).store_id)
    if owner.follower and owner.follower != member:
        text = f"{owner.follower[:8]} follows {label(owner)}, but the copy that counts is "
        text += f"{member[:8]}: a new or replaced disk; it counts once the old one does not"
        return Instruction("degrade", text, f"broker-trio degrade {label(owner)}")
    for status in view.replicas.values():
        is_member = kept_of(status).store_id == member
        if owner.follower and is_member and status.state not in {"slave", "fenced"}:
            text = f"{label(status)} follows and does not count yet: {status.state}"
            return Instruction("wait", text)
    if owner.follower and (owner.level or settled.min == 1):
        text = f"{label(owner)} is the master, both copies are there"
        for status in view.replicas.values():
            if kept_of(status).fenced:
                text += f"; {label(status)} is fenced and cannot take over"
                return Instruction("ok", text, f"broker-trio pair rejoin {label(status)}")
        return Instruction("ok", text)
    text = f"{label(owner)} has no level slave"
    if settled.min == 1:
        return Instruction("wait", f"{text}; it goes on with one copy")
    command = f"broker-trio degrade {label(owner)}"
    return Instruction("degrade", f"{text} and answers 11 until one is there", command)


def _without_lease(view: View, status: Status) -> Instruction:
    fact = witnesses_reached(view).fact
    settled = kept_of(status).settled
    for witness in view.witnesses.values():
        held = witness.record
        if held is not None and held.epoch > settled.epoch and not meets_floor(held, settled):
            text = f"a nameserver keeps epoch {held.epoch}, which may not be taken: "
            text += f"let {label(status)} make a record above it"
            return Instruction("finish", text, f"broker-trio promote {label(status)}")
    if too_many_forgot(view):
        return _adopt(view)
    return Instruction("wait", f"{label(status)} is the master without a lease: {fact}")


def too_many_forgot(view: View) -> bool:
    """Whether those that know can be no majority, whoever else comes back."""
    forgot = sum(one.forgot for one in view.witnesses.values())
    return forgot > view.witness_count - majority(view.witness_count)


def _adopt(view: View) -> Instruction:
    text = f"too many nameservers have no records, or are new: {witnesses_reached(view).fact}"
    return Instruction("adopt", text, "broker-trio pair adopt")


def _unfinished(view: View, status: Status) -> Instruction:
    kept = kept_of(status)
    proposed = kept.proposed
    assert proposed is not None
    if kept.settled.owner == kept.store_id and not proposed.forced:
        verb = "degrade" if len(proposed.members) == 1 else "promote"
        verb = "restore" if len(proposed.members) > len(kept.settled.members) else verb
    else:
        verb = "promote"
    refusing = [
        address
        for address, witness in view.witnesses.items()
        if witness.record is not None
        and witness.record.epoch != proposed.epoch
        and (witness.record.epoch > proposed.epoch or not meets_floor(proposed, witness.record))
    ]
    if len(refusing) > view.witness_count - majority(view.witness_count):
        return _without_owner(view)
    text = f"{label(status)} proposed epoch {proposed.epoch}, which is not in force: run it again"
    risk = " --accept-loss" if proposed.forced else ""
    return Instruction("finish", text, f"broker-trio {verb} {label(status)}{risk}")


def _without_owner(view: View) -> Instruction:
    for status in view.replicas.values():
        if not against_promoting(view, status):
            command = f"broker-trio promote {label(status)}"
            return Instruction("promote", f"{label(status)} holds everything acknowledged", command)
    for status in view.replicas.values():
        if against_promoting(view, status) == [not_fenced(status).name]:
            text = f"{label(status)} holds everything acknowledged, and is fenced"
            return Instruction("rejoin", text, f"broker-trio pair rejoin {label(status)}")
    if too_many_forgot(view):
        return _adopt(view)
    if not witnesses_reached(view).ok:
        return Instruction("wait", f"nobody may own: {witnesses_reached(view).fact}")
    if view.silent:
        missing = ", ".join(sorted(view.silent))
        text = f"who answers may lack acknowledged messages; bring back {missing}"
        return Instruction("wait", text)
    best = max(view.replicas.values(), key=rank)
    command = f"broker-trio promote {label(best)} --accept-loss"
    return Instruction("loss", "no store is sure to hold everything acknowledged", command)
