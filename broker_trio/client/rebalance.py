"""Who of a group consumes which queue: pure functions that every member computes for itself.

    members  [c1, c2, c3]                        average      c1: 0 1   c2: 2 3   c3: 4
    queues   [0, 1, 2, 3, 4]   ── strategy ──▶   circle       c1: 0 3   c2: 1 4   c3: 2
                                                 rendezvous   each queue's highest hash wins

Nobody hands queues out: the members agree because they sort the same lists and count alike. So all
members of a group must use the same strategy. `average` is what RocketMQ's clients use when they
are told nothing, which lets them share a group with ours; `rendezvous` is ours alone and moves the
fewest queues when a member comes or goes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from broker_trio.model.route import MessageQueue

Strategy = Callable[[str, Sequence[MessageQueue], Sequence[str]], list[MessageQueue]]
"""(own client id, all queues sorted, all members sorted) to the queues that are one's own."""


def average(me: str, queues: Sequence[MessageQueue], members: Sequence[str]) -> list[MessageQueue]:
    """Neighbouring queues together; the first members take one more where it does not come out."""
    place = members.index(me)
    size, more = divmod(len(queues), len(members))
    begin = place * size + min(place, more)
    return list(queues[begin : begin + size + (place < more)])


def circle(me: str, queues: Sequence[MessageQueue], members: Sequence[str]) -> list[MessageQueue]:
    """One queue each in turn, round and round."""
    return list(queues[members.index(me) :: len(members)])


def rendezvous(
    me: str, queues: Sequence[MessageQueue], members: Sequence[str]
) -> list[MessageQueue]:
    """Each queue goes to the member with the highest hash for it: others keep what they have."""
    return [queue for queue in queues if max(members, key=lambda who: _weight(who, queue)) == me]


def _weight(member: str, queue: MessageQueue) -> tuple[int, str]:
    text = f"{queue.topic}\0{queue.broker_name}\0{queue.queue_id}\0{member}"
    mixed = crc32(text.encode()) * 0x9E3779B97F4A7C15  # neighbouring names have neighbouring CRCs
    return (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 >> 32 & 0xFFFFFFFF, member


def fixed(queues_of: Mapping[str, Iterable[MessageQueue]]) -> Strategy:
    """A strategy by configuration: client id to its queues. What does not exist is left out."""
    mine = {member: frozenset(queues) for member, queues in queues_of.items()}

    def strategy(
        me: str, queues: Sequence[MessageQueue], _members: Sequence[str]
    ) -> list[MessageQueue]:
        wanted = mine.get(me, frozenset())
        return [queue for queue in queues if queue in wanted]

    return strategy


def share_of(
    strategy: Strategy, me: str, queues: Iterable[MessageQueue], members: Iterable[str]
) -> list[MessageQueue]:
    """My queues of one topic; none while the brokers do not list me."""
    everybody = sorted(set(members))
    if me not in everybody:
        return []
    return strategy(me, sorted(set(queues)), everybody)


class Change(NamedTuple):
    """From one assignment to the next, sorted."""

    added: list[MessageQueue]
    dropped: list[MessageQueue]


def change(held: Iterable[MessageQueue], wanted: Iterable[MessageQueue]) -> Change:
    """What to take up and what to give up."""
    before, after = set(held), set(wanted)
    return Change(sorted(after - before), sorted(before - after))
