"""What must hold of a store after any crash: sent, acknowledged, dense, and the same everywhere.

    journal   what a workload sent, where it went, which of it was acknowledged
    store     open again, after recovery

Each check raises `AssertionError` with the first thing that is wrong, by name:

    acknowledged  (I1) what was acknowledged is readable, the same bytes at the same offsets
    sent      (I2, I3) every record of the log is one that was sent, the same bytes, at most once
    dense         (I5) unit k of a queue is the record whose queueOffset is k: no gap, none too many
    indexed            every key leads to its record
    bounds             0 <= min <= max for every queue; nothing points behind the log's end

The log is read by its own scanner and the queues by their own reader: a fault in one of them shows
as a difference from the journal, which neither of them made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from broker_trio.store.entry import Appended, Entry
from broker_trio.store.reader import GetStatus
from broker_trio.store.scan import Progress, scan
from broker_trio.store.store import Draft, Store
from broker_trio.wire.properties import parse_properties
from broker_trio.wire.record import decode_record

UNQUEUED = 0x4  # of sysFlag: PREPARED and ROLLBACK enter no queue
ROLLBACK = 0xC


@dataclass(slots=True)
class Sent:
    """One message of a workload; `name` is its UNIQ_KEY and unique."""

    name: str
    draft: Draft
    at: Appended
    acknowledged: bool = False


@final
@dataclass(slots=True)
class Journal:
    """Everything that was sent to one store over all its lives."""

    sent: list[Sent] = field(default_factory=list)

    def add(self, name: str, draft: Draft, at: Appended) -> Callable[[bool], None]:
        """Remember a message; the result is its `done` for `Store.when_durable`."""
        one = Sent(name, draft, at)
        self.sent.append(one)

        def done(durable: bool) -> None:
            one.acknowledged = one.acknowledged or durable

        return done

    @property
    def acknowledged_count(self) -> int:
        return sum(one.acknowledged for one in self.sent)


async def records_of(store: Store) -> list[Entry]:
    """Every record of the log, decoded again from its bytes."""
    entries: list[Entry] = []
    found = await scan(
        store.log.segments,
        store.log.min_offset,
        doubt_from=1 << 62,
        on_entries=entries.extend,
        progress=Progress(),
    )
    end = max(store.log.written_offset, found.begin)
    assert found.end == end or not entries, f"the log reads up to {found.end}, its end is {end}"
    return entries


async def check_all(store: Store, journal: Journal) -> None:
    """Every check of this module."""
    entries = await records_of(store)
    await check_acknowledged(store, journal)
    await check_sent(store, journal, entries)
    check_dense(store, entries)
    await check_indexed(store, entries)
    check_bounds(store)


async def check_acknowledged(store: Store, journal: Journal) -> None:
    """What was acknowledged is there, the same bytes, at the same offsets."""
    for one in journal.sent:
        if not one.acknowledged or one.at.physical_offset < store.log.min_offset:
            continue
        record = await store.reader.record_at(one.at.physical_offset)
        assert record is not None, f"{one.name} was acknowledged at {one.at} and is lost"
        check_content(record, one)
        if one.draft.sys_flag & UNQUEUED:
            continue
        got = await store.reader.get(
            one.draft.topic, one.draft.queue_id, one.at.queue_offset, count_max=1, codes=None
        )
        assert got.status is GetStatus.FOUND, f"{one.name} is not in its queue: {got.status}"
        assert b"".join(got.records)[: len(record)] == record, f"{one.name}: its queue has another"


def check_content(record: bytes, one: Sent) -> None:
    """A stored record says exactly what was sent."""
    message, draft = decode_record(record), one.draft
    assert message.body == draft.body, f"{one.name}: another body"
    assert message.properties == parse_properties(draft.properties), f"{one.name}: properties"
    assert (message.topic, message.queue_id) == (draft.topic, draft.queue_id), one.name
    assert (message.flag, message.sys_flag) == (draft.flag, draft.sys_flag), one.name
    assert message.queue_offset == one.at.queue_offset, f"{one.name}: another queue offset"
    assert message.born_timestamp_ms == draft.born_timestamp_ms, one.name


async def check_sent(store: Store, journal: Journal, entries: list[Entry]) -> None:
    """Nothing in the log that was not sent, and nothing twice."""
    by_place = {(one.at.physical_offset, one.name): one for one in journal.sent}
    for entry in entries:
        name = parse_properties(entry.properties).get("UNIQ_KEY", "")
        one = by_place.pop((entry.physical_offset, name), None)
        assert one is not None, f"nobody sent {name!r} to {entry.physical_offset}, or it came back"
        record = await store.reader.record_at(entry.physical_offset)
        assert record is not None, f"{name} cannot be read"
        check_content(record, one)
    times = [entry.store_timestamp_ms for entry in entries]
    assert times == sorted(times), "store times step back"


def check_dense(store: Store, entries: list[Entry]) -> None:
    """Queues hold exactly the records of the log that belong to them, each at its offset."""
    expected: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        if not entry.sys_flag & UNQUEUED:
            expected.setdefault((entry.topic, entry.queue_id), []).append(entry)
    for key, records in expected.items():
        queue = store.queues.get(*key)
        assert queue is not None, f"queue {key} is missing"
        offsets = [record.queue_offset for record in records]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), f"{key}: {offsets}"
        assert (queue.min_offset, queue.max_offset) == (offsets[0], offsets[-1] + 1), (
            f"{key} is {queue.min_offset}..{queue.max_offset}, the log has {offsets[0]}.."
        )
        for record in records:
            unit = queue.unit_at(record.queue_offset)
            wanted = (record.physical_offset, record.size, record.tags_code)
            assert unit == wanted, f"{key} unit {record.queue_offset}: {unit}, wanted {wanted}"
        assert store.queues.next_offset(*key) == offsets[-1] + 1, f"{key} would leave a gap"
    for queue in store.queues:
        if (queue.topic, queue.queue_id) not in expected:
            assert queue.min_offset == queue.max_offset, f"{queue.folder} has units of no record"


async def check_indexed(store: Store, entries: list[Entry]) -> None:
    """The key of each record finds it."""
    for entry in entries:
        name = parse_properties(entry.properties).get("UNIQ_KEY")
        if name is None or entry.sys_flag & ROLLBACK == ROLLBACK:
            continue
        found = await store.index.query(entry.topic, name, 32, 0, 1 << 60)
        assert entry.physical_offset in found, f"{name} is not in the index"


def check_bounds(store: Store) -> None:
    """No position lies behind the log's end."""
    end = store.log.max_offset
    for queue in store.queues:
        assert 0 <= queue.min_offset <= queue.max_offset, f"{queue.folder}: min and max"
        assert queue.physical_end <= end, f"{queue.folder} points behind the log's end"
    assert store.log.flushed_offset <= store.log.written_offset <= end
    assert store.dispatched_to() <= end
