"""Reading a topic back, in virtual time against queues made by hand."""

import random
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from broker_trio.model.errors import BrokerTrioError, RemoteProtocolError
from broker_trio.ops.ledger.evidence import Evidence, Reader
from broker_trio.ops.ledger.file import load, open_ledger
from broker_trio.ops.ledger.payload import body_of, key_of
from broker_trio.ops.ledger.read import Batch, LedgerReader, Stored
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk

from .ledgers import W1


class Queues:
    """A topic of one broker: what lies at each offset, and how it misbehaves."""

    def __init__(self, *lengths: int) -> None:
        self.stored = {
            queue: {offset: numbered(queue * 100 + offset, offset) for offset in range(length)}
            for queue, length in enumerate(lengths)
        }
        self.low = dict.fromkeys(self.stored, 0)
        self.high = {queue: len(found) for queue, found in self.stored.items()}
        self.undecodable: set[tuple[int, int]] = set()
        self.silent_until = 0.0
        self.stuck: set[tuple[int, int]] = set()
        self.pulls = 0

    async def queues(self) -> Sequence[tuple[str, int]]:
        return [("broker-a", queue) for queue in self.stored]

    async def bounds(self, broker: str, queue: int) -> tuple[int, int]:
        await self._answer()
        return self.low[queue], self.high[queue]

    async def pull(self, broker: str, queue: int, offset: int, count: int) -> Batch:
        await self._answer()
        self.pulls += 1
        reach = range(offset, min(offset + count, self.high[queue]))
        if any((queue, at) in self.undecodable for at in reach):
            raise RemoteProtocolError("a record that is none")
        if (queue, offset) in self.stuck:
            return Batch([], offset)
        found = [self.stored[queue][at] for at in reach if at in self.stored[queue]]
        return Batch(found, reach.stop)

    async def _answer(self) -> None:
        await trio.sleep(0.001)
        if trio.current_time() < self.silent_until:
            raise BrokerTrioError("broker-a: connection refused")


def numbered(n: int, offset: int) -> Stored:
    return Stored(offset, body_of(W1, n, 100), [key_of(W1, n)], 7)


async def read(queues: Queues, *, patience_s: float = 30.0) -> Reader:
    disk = SimDisk(random.Random(1))
    file = await open_ledger(disk, "r.cbor")
    reader = LedgerReader(file, queues, SimClock(), "r1", "orders", patience_s=patience_s)
    await reader.run()
    file.close()
    evidence = Evidence()
    load(disk, "r.cbor", evidence)
    found = evidence.readers["r1"]
    assert found.ended is not None
    assert reader.progress.queues_done == reader.progress.queues == len(queues.stored)
    assert reader.progress.found == len(found.found)
    return found


async def test_every_message_of_every_queue_is_found(autojump_clock: MockClock) -> None:
    """With its place; empty queues are on record too."""
    found = await read(Queues(70, 0, 3))
    places = {(one.queue, one.offset): one.n for one in found.found}
    assert places == {
        (queue, offset): queue * 100 + offset
        for queue, length in ((0, 70), (1, 0), (2, 3))
        for offset in range(length)
    }
    assert {key[1]: (q.low, q.high, q.complete) for key, q in found.queues.items()} == {
        0: (0, 70, True), 1: (0, 0, True), 2: (0, 3, True),
    }  # fmt: skip


async def test_messages_of_others_are_counted(autojump_clock: MockClock) -> None:
    """A topic may be in use."""
    queues = Queues(5)
    queues.stored[0][2] = Stored(2, b"an order", [], 7)
    found = await read(queues)
    assert (len(found.found), found.queues["broker-a", 0].foreign) == (4, 1)


async def test_messages_that_come_later_are_not_waited_for(autojump_clock: MockClock) -> None:
    """The end is where it was when the queue was begun."""
    queues = Queues(40)
    queues.high[0] = 10
    assert len((await read(queues)).found) == 10


async def test_a_queue_that_begins_late_is_read_from_there(autojump_clock: MockClock) -> None:
    """Retention took the others."""
    queues = Queues(40)
    queues.low[0] = 30
    found = await read(queues)
    assert [one.offset for one in found.found] == list(range(30, 40))
    assert found.queues["broker-a", 0].low == 30


async def test_an_undecodable_record_is_damage_and_its_neighbours_are_read(
    autojump_clock: MockClock,
) -> None:
    """Asked for one by one, the bad one shows; so does a body that changed."""
    queues = Queues(50)
    queues.undecodable = {(0, 33)}
    body = queues.stored[0][7].body
    queues.stored[0][7] = queues.stored[0][7]._replace(body=body[:-1] + b"!")
    found = await read(queues)
    assert sorted(one.offset for one in found.damaged) == [7, 33]
    assert len(found.found) == 48
    assert found.queues["broker-a", 0].complete
    assert found.queues["broker-a", 0].holes == 0


async def test_offsets_without_a_message_are_holes(autojump_clock: MockClock) -> None:
    """Both where the broker passes over them and where it gives nothing at all."""
    queues = Queues(50)
    del queues.stored[0][20]
    queues.stuck = {(0, 32)}
    found = await read(queues)
    assert {one.offset for one in found.found} == set(range(50)) - {20, 32}
    assert (found.queues["broker-a", 0].holes, found.queues["broker-a", 0].complete) == (2, True)


async def test_a_broker_that_is_back_soon_is_waited_for(autojump_clock: MockClock) -> None:
    """Patience is counted from the last answer."""
    queues = Queues(50, 50)
    queues.silent_until = trio.current_time() + 20
    assert len((await read(queues)).found) == 100


async def test_a_broker_that_stays_away_leaves_its_queues_open(autojump_clock: MockClock) -> None:
    """They are on record as not complete, with the cause."""
    queues = Queues(50)
    queues.silent_until = float("inf")
    begun = trio.current_time()
    found = await read(queues, patience_s=10.0)
    queue = found.queues["broker-a", 0]
    assert (queue.complete, queue.why) == (False, "broker-a: connection refused")
    assert trio.current_time() - begun == pytest.approx(10.0, abs=0.1)
