"""Looks at both replicas of a pair many times a second, as nobody outside the simulator could.

    at every look   one replica at most may acknowledge alone, and not    (I9, one writer)
                    in an epoch below another owner's in force
                    what needs two copies is not shown where the other    (I6 of the rules)
                    member is away and a stranger follows
                    the confirm offset is held by whoever counts         (I10)
                    a settled member's log is a beginning of its owner's (I8)
                    no group's offset moves back under one owner         (I7)
                    no group stands behind the end of a queue            (I7, rule 16)
                    two replicas never settled different records of one epoch
    written down    every record that came into force, for the checkers of the end

A look reads plain attributes of the real programs and changes nothing.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, final

import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.parts import Parts
from broker_trio.broker.replication.replica import Replica
from broker_trio.model.pair import NO_EPOCH, Epoch, Record
from broker_trio.testing.checkers.verdict import Violation

LOOK_S: Final = 0.05
PEEK_BYTES: Final = 512  # of both logs, in front of the shorter one's end

Reign = tuple[str, Epoch]
Place = tuple[str, str, int]


class InForce(NamedTuple):
    """A record, and when its owner was first seen to have it settled."""

    record: Record
    at: float


class _Seen(NamedTuple):
    """A replica at one look."""

    name: str
    parts: Parts
    replica: Replica


@final
class Watch:
    """`records`: by epoch, in the order in which they came into force."""

    def __init__(
        self,
        apps: Callable[[], dict[str, BrokerApp]],
        peek: Callable[[str, str, int, int], bytes],
        *,
        two_disks: bool,
    ) -> None:
        """`peek`: bytes of a host's file, by name, path, position and size."""
        self.records: dict[Epoch, InForce] = {}
        self.looks = 0
        self.on_look: list[Callable[[], None]] = []
        self.accepted_at = float("-inf")  # when a loss was accepted last
        self._apps, self._peek, self._two_disks = apps, peek, two_disks
        self._reign: Reign | None = None
        self._stood: dict[Place, int] = {}
        self._shown: tuple[Epoch, int] | None = None  # when a stranger came in the member's place

    async def run(self) -> None:
        """Until cancelled. Raises `Violation`."""
        while True:
            self.look()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """One look. Raises `Violation`."""
        self.looks += 1
        seen = []
        for name, app in self._apps().items():
            assert app.parts is not None
            assert app.parts.pairing is not None
            seen.append(_Seen(name, app.parts, app.parts.pairing.records.replica))
        now = trio.current_time()
        for one in seen:
            self._write_down(one.replica, now)
        self._check_alone(seen, now)
        for one in seen:
            if one.replica.machine.may_write(now) is None:
                self._check_owner(one, seen)
        for look in self.on_look:
            look()

    def _write_down(self, replica: Replica, now: float) -> None:
        settled, proposed = replica.machine.kept.settled, replica.machine.kept.proposed
        if proposed is not None and proposed.forced:
            self.accepted_at = max(now, self.accepted_at)
        if settled.epoch == NO_EPOCH:
            return
        known = self.records.setdefault(settled.epoch, InForce(settled, now))
        if known.record != settled:
            raise Violation("I9", f"epoch {settled.epoch} means {known.record} and {settled}")

    def _check_alone(self, seen: list[_Seen], now: float) -> None:
        alone = [one for one in seen if one.replica.machine.may_answer_alone(now)]
        if len(alone) > 1:
            epochs = [f"{one.name} in {one.replica.settled}" for one in alone]
            raise Violation("I9", f"two replicas may acknowledge alone: {' and '.join(epochs)}")
        newest = max(self.records, default=NO_EPOCH)
        for one in alone:
            if one.replica.settled < newest and newest.owner != one.replica.store_id:
                text = f"{one.name} may acknowledge alone in {one.replica.settled}, "
                raise Violation("I9", f"{text}and {newest} is in force")

    def _check_owner(self, owner: _Seen, seen: list[_Seen]) -> None:
        settled = owner.replica.machine.state.settled
        for other in seen:
            is_counted = settled.min == 2 and other.replica.store_id == settled.other(
                owner.replica.store_id
            )
            if is_counted and other.replica.settled == settled.epoch:
                self._check_held(owner, other)
            if other is not owner and other.replica.settled == settled.epoch:
                self._check_prefix(owner, other)
        reign = (owner.name, settled.epoch)
        if reign != self._reign:
            self._reign, self._stood = reign, {}
        self._check_offsets(owner)
        self._check_strangers(owner, seen)

    def _check_strangers(self, owner: _Seen, seen: list[_Seen]) -> None:
        """Rule 6: the copy of a store that is no member confirms nothing."""
        settled, confirm = owner.replica.machine.state.settled, owner.parts.store.confirm_offset
        member = settled.other(owner.replica.store_id)
        others = {one.replica.store_id for one in seen if one is not owner}
        if settled.min == 1 or not others or member in others:
            self._shown = None
            return
        first = self._shown = self._shown or (settled.epoch, confirm)
        if first[0] == settled.epoch and confirm > first[1]:
            text = f"{owner.name} shows up to {confirm}, {first[1]} when {others} came"
            raise Violation("I1", f"{text}, whose copy does not count")

    def _check_held(self, owner: _Seen, other: _Seen) -> None:
        """What the owner shows is in the other's log, and on its disk if that was promised."""
        confirm = owner.parts.store.confirm_offset
        log = other.parts.store.log
        held = log.flushed_offset if self._two_disks else log.max_offset
        if held < confirm:
            raise Violation("I10", f"{owner.name} shows up to {confirm}, {other.name} has {held}")

    def _check_prefix(self, owner: _Seen, other: _Seen) -> None:
        """Byte for byte; the whole of both logs is compared when the run ends."""
        ours, theirs = owner.parts.store.log, other.parts.store.log
        if theirs.written_offset > ours.max_offset:
            text = f"{other.name} has {theirs.written_offset} bytes of {owner.name}'s"
            raise Violation("I8", f"{text} {ours.max_offset}")
        end = min(ours.written_offset, theirs.written_offset)
        one, two = self._before(owner, end), self._before(other, end)
        shared = min(len(one), len(two))
        if shared and one[-shared:] != two[-shared:]:
            raise Violation("I8", f"{owner.name} and {other.name} differ in front of {end}")

    def _before(self, one: _Seen, end: int) -> bytes:
        """The last bytes of its log in front of a place; none where that is deleted."""
        segment = one.parts.store.log.segments.find(end - 1)
        if segment is None:
            return b""
        begin = max(segment.base, end - PEEK_BYTES)
        return self._peek(one.name, segment.path, begin - segment.base, end - begin)

    def _check_offsets(self, owner: _Seen) -> None:
        queues = owner.parts.store.queues
        for topic, group, offsets in owner.parts.offsets.items():
            for queue_id, offset in offsets.items():
                place = (group, topic, queue_id)
                before = self._stood.get(place, 0)
                if offset < before:
                    raise Violation("I7", f"{owner.name}: {place} went back, {before} to {offset}")
                stored = queues._next.get(topic, {}).get(queue_id, 0)  # asking would note it
                end = max(stored, queues.max_offset(topic, queue_id))
                if offset > end:
                    raise Violation("I7", f"{owner.name}: {place} stands at {offset} of {end}")
                self._stood[place] = offset
