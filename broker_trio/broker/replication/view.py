"""A pair as its commands see it: everybody's status in one view, and the guards over it. Pure.

A guard is one condition with the fact behind it, for the reader: who takes a record decides by the
rules, even if every guard were skipped.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from broker_trio.model.pair import (
    NO_EPOCH,
    Epoch,
    Kept,
    Record,
    Status,
    StoreId,
    is_member,
    majority,
)

LEADING: Final = ("owner", "owner, paused")


class View(NamedTuple):
    """Everybody's status, by address; `silent` says why others gave none.

    `classic`: slaves of an Apache master, which have no records.
    """

    broker_name: str
    replicas: dict[str, Status]
    witnesses: dict[str, Status]
    silent: dict[str, str]
    witness_count: int
    classic: Mapping[str, Status] = MappingProxyType({})

    @property
    def records(self) -> list[Record]:
        """Every record seen, settled or proposed, at replicas and witnesses."""
        found = [status.record for status in self.witnesses.values() if status.record is not None]
        for kept in self._kept:
            found.append(kept.settled)
            if kept.proposed is not None:
                found.append(kept.proposed)
        return found

    @property
    def _kept(self) -> list[Kept]:
        return [status.kept for status in self.replicas.values() if status.kept is not None]

    @property
    def above(self) -> int:
        """The highest counter that anybody knows."""
        epochs = [record.epoch for record in self.records] + [kept.promised for kept in self._kept]
        return max((epoch.counter for epoch in epochs), default=0)

    def floor_for(self, store_id: StoreId) -> Epoch:
        """The highest floor in force, of settled records and of witnesses, but for its own records:
        whoever holds one of them takes the next one (rule 1). Forced ones hide what they lost."""
        held = [status.record for status in self.witnesses.values() if status.record is not None]
        held += [kept.settled for kept in self._kept]
        floors = (one.floor for one in held if one.forced or one.owner != store_id)
        return max(floors, default=NO_EPOCH)

    @property
    def knowing(self) -> int:
        """Witnesses that answered and did not forget."""
        return sum(not status.forgot for status in self.witnesses.values())

    @property
    def owner(self) -> Status | None:
        """Who owns with a lease now."""
        return next((s for s in self.replicas.values() if s.state in LEADING), None)


class Guard(msgspec.Struct, frozen=True):
    """One condition: whether it holds, and the fact behind it."""

    name: str
    ok: bool
    fact: str


def label(status: Status) -> str:
    """How people call a replica."""
    return f"{status.broker_name}/{status.replica_id}"


def size(count: int) -> str:
    """Bytes for people."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def kept_of(status: Status) -> Kept:
    assert status.kept is not None, "a replica always tells what it keeps"
    return status.kept


def witnesses_reached(view: View) -> Guard:
    """A majority is needed to take a record that may be answered alone."""
    need = majority(view.witness_count)
    fact = f"{view.knowing} of {view.witness_count} nameservers answered, {need} are needed"
    forgot = [address for address, status in view.witnesses.items() if status.forgot]
    if forgot:
        fact += f"; {', '.join(forgot)} forgot"
    return Guard("a majority of the nameservers", view.knowing >= need, fact)


def is_a_member(target: Status) -> Guard:
    """Learners and new stores may lack anything."""
    kept = kept_of(target)
    ok = is_member(kept.store_id, kept.settled)
    fact = f"{label(target)} {'is a' if ok else 'is no'} member of epoch {kept.settled.epoch}"
    return Guard("its copy counted", ok, fact)


def above_the_floor(view: View, target: Status) -> Guard:
    """Below the floor acknowledged messages may be missing."""
    settled, floor = kept_of(target).settled.epoch, view.floor_for(kept_of(target).store_id)
    fact = f"it settled epoch {settled}, the highest floor seen is {floor}"
    return Guard("nothing acknowledged is missing", settled >= floor, fact)


def most_advanced(view: View, target: Status) -> Guard:
    """Of the members that answer, the one that holds most.

    One that settled the target's own proposal follows it already: it has nothing more.
    """
    mine, proposed = rank(target), kept_of(target).proposed
    others = [
        status
        for status in view.replicas.values()
        if is_member(kept_of(status).store_id, kept_of(status).settled)
        and status is not target
        and (proposed is None or kept_of(status).settled.epoch != proposed.epoch)
    ]
    best = max(others, key=rank, default=None)
    ok = best is None or rank(best) <= mine
    fact = f"it ends at {target.log_end} in epoch {mine[0]}"
    if best is not None:
        fact += f", {label(best)} at {best.log_end} in epoch {rank(best)[0]}"
    return Guard("no other member holds more", ok, fact)


def rank(status: Status) -> tuple[Epoch, int]:
    return (kept_of(status).settled.epoch, status.log_end)


def master_is_gone(view: View, target: Status) -> Guard:
    """A master that answers and may write is handed over, not run over."""
    owner = view.owner
    ok = owner is None or owner is target
    fact = "nobody that answers may write" if owner is None else f"{label(owner)} is {owner.state}"
    return Guard("the master is gone", ok, fact)


def not_fenced(target: Status) -> Guard:
    """Fenced replicas own nothing."""
    fenced = kept_of(target).fenced
    return Guard("it is not fenced", not fenced, "fenced" if fenced else "not fenced")


def is_the_master(target: Status, *proposals: str) -> Guard:
    """Owner, or about to be by the same command."""
    ok = target.state in {"owner", "owner, paused", "owner, no lease", *proposals}
    return Guard("it is the master", ok, f"{label(target)} is {target.state}")


def promote_guards(view: View, target: Status) -> list[Guard]:
    """What must hold before it may be asked to own."""
    return [
        not_fenced(target),
        is_a_member(target),
        above_the_floor(view, target),
        most_advanced(view, target),
        master_is_gone(view, target),
        witnesses_reached(view),
    ]


def against_promoting(view: View, target: Status) -> list[str]:
    """What speaks against promoting it, by name."""
    return [guard.name for guard in promote_guards(view, target) if not guard.ok]
