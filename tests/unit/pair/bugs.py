"""Planted bugs: each rule that failover.md §7 names, taken out, and the steps that then break.

A script is what an unlucky cluster does. With the rule in place the same steps either cannot be
done (`blocked at`) or end well; without it they end in `Bad`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker_trio.broker.replication.machine import Machine, Wish
from broker_trio.model import pair
from broker_trio.model.pair import Epoch, Record
from broker_trio.namesrv.witness import Known, Witness


class AnnouncesFirst(Machine):
    """Tells others of a proposal, and promises only afterwards."""

    late: Record | None = None
    promise_at: float | None = None

    def propose(self, wish: Wish, *, log_end: int) -> Record:
        self.late = self._record(wish, log_end)
        return self.late

    def persist(self, now: float) -> None:
        if self.promise_at is None:
            self.promise_at = now + self.timing.wait_s - 0.001
        elif now >= self.promise_at and self.late is not None:
            self._change(proposed=self.late, promised=self.late.epoch)
            self._forget()
            self.active_at, self.late = self.promise_at, None


class AnyNameserver(Machine):
    """Takes one nameserver's word for a majority."""

    def _majority_sent(self) -> float:
        return max(self._witness_sent.values(), default=float("-inf"))


class CountsFromReply(Machine):
    """Counts a lease from the answer's arrival."""

    def witness_confirmed(self, witness: str, epoch: Epoch, sent: float, now: float) -> None:
        super().witness_confirmed(witness, epoch, now, now)


class DoesNotWait(Machine):
    """Writes at once after a lone owner."""

    def _wait_s(self) -> float:
        return 0.0


class BuildsOnProposal(Machine):
    """Names its unsettled proposal as what it goes back to."""

    def _prev(self) -> Epoch:
        proposed = self.state.proposed
        return super()._prev() if proposed is None else proposed.epoch


class GoesOn(Machine):
    """Writes on in its epoch after a restart."""

    def _must_renew(self) -> bool:
        return False


class TellsAllOfHandover(Machine):
    """Tells witnesses of a handover that the old owner did not agree to."""

    def may_tell_witnesses(self) -> bool:
        return self.may_announce()


class StartsEmpty(Witness):
    """Goes on with an empty table where it should ask."""

    def relearn(self, answers: Any, now: float) -> str:
        self.state = Known({})
        return ""


class ForgetsPromise(Machine):
    """Acts on what is not on disk yet: "skip the epoch fsync"."""

    @property
    def unsaved(self) -> None:
        return None


class ForgetsLease(Machine):
    """Writes with or without a lease."""

    @property
    def lease_until(self) -> float:
        return float("inf")


class SettlesAnything(Machine):
    """Settles what it follows, whatever it lacks."""

    def level(self, durable_end: int) -> bool:
        record = self.following
        return super().level(max(durable_end, 0 if record is None else record.start))


class ConfirmsOld(Machine):
    """Confirms what it settled although it promised something higher."""

    def confirms(self, epoch: Epoch) -> bool:
        return self.state.settled.epoch == epoch and self.is_member


def blind_epochs(patch: pytest.MonkeyPatch) -> None:
    """Epochs without their owner: two stores can make the same one."""
    patch.setattr(Epoch, "__eq__", lambda a, b: a[0] == b[0])
    patch.setattr(Epoch, "__ne__", lambda a, b: a[0] != b[0])
    patch.setattr(Epoch, "__lt__", lambda a, b: a[0] < b[0])
    patch.setattr(Epoch, "__le__", lambda a, b: a[0] <= b[0])
    patch.setattr(Epoch, "__gt__", lambda a, b: a[0] > b[0])
    patch.setattr(Epoch, "__ge__", lambda a, b: a[0] >= b[0])


def no_floor(patch: pytest.MonkeyPatch) -> None:
    """Whoever wants to may own, whatever it lacks."""
    patch.setattr(pair, "meets_floor", lambda record, held: True)


def names_not_stores(patch: pytest.MonkeyPatch) -> None:
    """Members by replica, not by store: an empty disk under an old name counts."""

    def is_member(store_id: str, record: Record) -> bool:
        return any(member[0] == store_id[0] for member in record.members)

    patch.setattr(pair, "is_member", is_member)


def gives_lease(to: int, epoch: str, *nodes: int) -> list[str]:
    return [f"ns{n} confirms {epoch} to {to}" for n in nodes] + [f"{to} gets confirm"] * len(nodes)


def takes(epoch: str, *nodes: int) -> list[str]:
    return [f"ns{n} takes {epoch}" for n in nodes]


def answers(who: int) -> list[str]:
    return [f"write {who}", f"fsync {who}", f"SEND_OK {who}"]


@dataclass(frozen=True)
class Bug:
    name: str
    mode: str
    script: list[str]
    world: Mapping[str, Any] = field(default_factory=dict)  # what `World` is given for the bug
    patch: Callable[[pytest.MonkeyPatch], None] | None = None


REPLICATED = [
    "slave 1 confirms (1, 0) to 0", "0 gets", "write 0", "chunk 0->1", "chunk at 1", "fsync 0",
    "fsync 1", "1 acks", "ack 1", "SEND_OK 0",
]  # fmt: skip
ALONE_0 = ["degrade 0", *takes("(2, 0)", 0, 1), *gives_lease(0, "(2, 0)", 0, 1), *answers(0)]
PROMOTED = ["claim 1", *takes("(2, 1)", 0, 1), *gives_lease(1, "(2, 1)", 0, 1)]
ALONE_1 = ["degrade 1", *takes("(3, 1)", 0, 1), *gives_lease(1, "(3, 1)", 0, 1), *answers(1)]
ASYNC_PROMOTED = [
    *PROMOTED, "tick*4", *gives_lease(1, "(2, 1)", 0, 1), "write 1", "SEND_OK 1",
]  # fmt: skip

BUGS = [
    Bug("floor", "sync", [*ALONE_0, *PROMOTED, *ALONE_1], patch=no_floor),
    Bug(
        "store id",
        "sync",
        [*REPLICATED, "blank disk 1", "1 attaches", "1 settles", *PROMOTED, *ALONE_1],
        patch=names_not_stores,
    ),
    Bug(
        "owner in the epoch",
        "async",
        [
            "crash 0", "restart 0", "claim 0", "claim 1", *takes("(2, 0)", 0, 1, 2),
            *gives_lease(1, "(2, 1)", 0, 1), *gives_lease(0, "(2, 0)", 0, 1), "tick*4",
            *gives_lease(1, "(2, 1)", 0, 1), *gives_lease(0, "(2, 0)", 0, 1),
        ],
        patch=blind_epochs,
    ),
    Bug(
        "proposal before announcement",
        "async",
        [
            "claim 1", *takes("(2, 1)", 0, 1, 2), "1 late persist", "tick*4",
            "slave 1 confirms (1, 0) to 0", "0 gets", "1 late persist",
            *gives_lease(1, "(2, 1)", 0, 1),
        ],
        {"machine": AnnouncesFirst},
    ),
    Bug(
        "lease majority",
        "async",
        [
            "claim 1", *takes("(2, 1)", 1, 2), *gives_lease(1, "(2, 1)", 1, 2), "tick*4",
            *gives_lease(1, "(2, 1)", 1, 2), *gives_lease(0, "(1, 0)", 0),
        ],
        {"machine": AnyNameserver},
    ),
    Bug(
        "send time",
        "async",
        [
            "ns0 confirms (1, 0) to 0", "ns1 confirms (1, 0) to 0", "claim 1",
            *takes("(2, 1)", 1, 2), "ns1 confirms (2, 1) to 1", "1 gets",
            "ns2 confirms (2, 1) to 1", "1 gets", "tick*4", "ns1 confirms (2, 1) to 1", "1 gets",
            "ns2 confirms (2, 1)", "1 gets", "0 gets", "0 gets",
        ],
        {"machine": CountsFromReply},
    ),
    Bug(
        "lease wait",
        "async",
        [*gives_lease(0, "(1, 0)", 0, 1), *PROMOTED],
        {"machine": DoesNotWait},
    ),
    Bug(
        "prev settled only",
        "sync",
        [
            *ALONE_0, "claim 1", "claim 1", *takes("(4, 1)", 0, 1),
            *gives_lease(1, "(4, 1)", 0, 1), "degrade 1", *takes("(5, 1)", 0, 1),
            *gives_lease(1, "(5, 1)", 0, 1), *answers(1),
        ],
        {"machine": BuildsOnProposal},
    ),
    Bug(
        "new epoch after restart",
        "sync",
        [
            "slave 1 confirms (1, 0) to 0", "0 gets", "write 0", "chunk 0->1", "chunk at 1",
            "power 0", "restart 0", "slave 1 confirms (1, 0) to 0", "0 gets", "write 0",
            "chunk 0->1",
        ],
        {"machine": GoesOn},
    ),
    Bug(
        "new store id after a lost tail",
        "mem",
        [
            "slave 1 confirms (1, 0) to 0", "0 gets", "write 0", "chunk 0->1", "chunk at 1",
            "1 acks", "ack 1", "SEND_OK 0", "power 1", "restart 1", *PROMOTED, *ALONE_1,
        ],
        {"early": False},
    ),
    Bug(
        "handover before announcement",
        "async",
        [
            "slave 1 confirms (1, 0) to 0", "0 gets", "pause 0", "switchover to 1", "pause 0",
            "write 0", "SEND_OK 0", *takes("(2, 1)", 0, 1), *gives_lease(1, "(2, 1)", 0, 1),
            "tick*4", *gives_lease(1, "(2, 1)", 0, 1), "write 1", "SEND_OK 1",
        ],
        {"machine": TellsAllOfHandover},
    ),
    Bug(
        "witness wait",
        "sync",
        [
            "degrade 0", "ns0 takes (2, 0)", "ns0 confirms (2, 0)", "ns0 disk lost",
            "ns0 relearns", "ns1 takes (2, 0)", "ns1 confirms (2, 0)", "0 gets", "0 gets",
            *answers(0), "claim 1", *takes("(2, 1)", 0, 2), *gives_lease(1, "(2, 1)", 0, 2),
            "degrade 1", *takes("(3, 1)", 0, 2), *gives_lease(1, "(3, 1)", 0, 2), *answers(1),
        ],
        {"relearn_wait": 0.0},
    ),
    Bug(
        "witness re-learning",
        "async",
        [
            *ASYNC_PROMOTED, "ns0 disk lost", "tick*4", "ns0 relearns", "ns0 takes (1, 0)",
            *gives_lease(0, "(1, 0)", 0, 2), "write 0", "SEND_OK 0",
        ],
        {"witness": StartsEmpty},
    ),
    Bug(
        "epoch on disk first",
        "async",
        [
            *ASYNC_PROMOTED, "crash 1", "restart 1", "slave 1 confirms (1, 0) to 0", "0 gets",
            "write 0", "SEND_OK 0",
        ],
        {"machine": ForgetsPromise},
    ),
    Bug(
        "a lease at all",
        "async",
        ["claim 1", *takes("(2, 1)", 0, 1), "tick*4", *gives_lease(1, "(2, 1)", 0, 1)],
        {"machine": ForgetsLease},
    ),
    Bug(
        "settle by what is held",
        "sync",
        [
            *ALONE_0, "1 detaches", "1 attaches", "chunk 0->1", "chunk at 1", "restore 0",
            *takes("(3, 0)", 0, 1), "1 detaches", "1 attaches", "1 settles", "power 1", "restart 1",
            "claim 1", *takes("(4, 1)", 0, 1), *gives_lease(1, "(4, 1)", 0, 1), "degrade 1",
            *takes("(5, 1)", 0, 1), *gives_lease(1, "(5, 1)", 0, 1), *answers(1),
        ],
        {"machine": SettlesAnything},
    ),
    Bug(
        "nothing higher promised",
        "async",
        [
            *PROMOTED, "tick*3", "slave 1 confirms (1, 0) to 0", "0 gets",
            *gives_lease(1, "(2, 1)", 0, 1), "tick",
        ],
        {"machine": ConfirmsOld},
    ),
]  # fmt: skip
