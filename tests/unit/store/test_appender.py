"""Appending: what is assigned, in which order, and that a refusal leaves no trace."""

import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.model.errors import Refused
from broker_trio.store.appender import Appender, Draft
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import TINY, StoreConfig
from broker_trio.store.dispatcher import Dispatcher
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.scan import Progress, scan
from broker_trio.store.stats import StoreStats
from broker_trio.testing.sim_clock import START_MS, ManualClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import decode_record
from tests.sim.store_workload import HOST, draft

HOST_V6 = bytes(range(16)) + b"\x00\x00\x2a\x9f"


class Rig:
    """A log with its tables, opened empty, without a loop."""

    def __init__(self, config: StoreConfig = TINY, host: bytes = HOST) -> None:
        self.disk = SimDisk(random.Random(1))
        self.clock, self.stats = ManualClock(), StoreStats()
        self.log = CommitLog(self.disk, config, self.stats)
        self.queues, self.index = ConsumeQueues(self.disk, config), Index(self.disk, config)
        self.dispatcher = Dispatcher(self.log, self.queues, self.index, self.stats)
        self.appender = Appender(
            self.clock, self.log, self.queues, self.dispatcher, self.stats, host
        )
        self.log.open_at(0, None)

    async def recovered(self) -> list[Entry]:
        """The entries as recovery would make them, from the bytes."""
        self.log.write_out()
        entries: list[Entry] = []
        await scan(
            self.log.segments, 0, doubt_from=0, on_entries=entries.extend, progress=Progress()
        )
        return entries


def test_the_record_says_what_was_sent_and_where_it_is() -> None:
    """Offsets, times and hosts are in the stored record as `Appended` reports them."""
    rig = Rig()
    rig.appender.append(draft("a" * 32))
    rig.clock.advance(1)
    one = draft("b" * 32, body=b"body")
    at = rig.appender.append(one)
    message = decode_record(rig.log.read_nowait(at.physical_offset, at.size), verify_crc=True)
    assert (message.physical_offset, message.queue_offset) == (at.physical_offset, 1)
    assert at.queue_offset == 1
    assert message.store_timestamp_ms == at.store_timestamp_ms == START_MS + 1000
    assert (message.body, message.flag, message.size) == (b"body", 7, at.size)
    assert (message.store_host, message.born_host) == ("127.0.0.1:10911", "127.0.0.1:10911")
    assert at.next_physical_offset == at.physical_offset + at.size == rig.log.max_offset


def test_store_time_never_goes_back() -> None:
    """A wall clock that steps back does not reorder the log in time."""
    rig = Rig()
    first = rig.appender.append(draft("a" * 32))
    rig.clock.step(-5000)
    second = rig.appender.append(draft("b" * 32))
    batch = rig.appender.append_batch(draft("c" * 32), [(0, b"x", b"", 0)] * 2)
    times = {one.store_timestamp_ms for one in (first, second, *batch)}
    assert times == {START_MS}
    rig.clock.step(6000)
    assert rig.appender.append(draft("d" * 32)).store_timestamp_ms == START_MS + 1000


def test_a_refused_append_leaves_no_trace() -> None:
    """No offset, no byte, no entry: the next append takes the place of the refused one."""
    rig = Rig()
    rig.appender.append(draft("a" * 32))
    before = (rig.log.max_offset, len(rig.dispatcher.pending), rig.stats.appended_count)
    rig.disk.capacity_bytes = 0
    for attempt in (
        lambda: rig.appender.append(draft("b" * 32, body=bytes(1500))),
        lambda: rig.appender.append_batch(draft("c"), [(0, bytes(600), b"", 0)] * 3),
        lambda: rig.appender.append(draft("b" * 32, body=bytes(5000))),
    ):
        with pytest.raises(Refused):
            attempt()
    assert before == (rig.log.max_offset, len(rig.dispatcher.pending), rig.stats.appended_count)
    rig.disk.capacity_bytes = 1 << 20
    at = rig.appender.append(draft("b" * 32))
    assert (at.physical_offset, at.queue_offset) == (before[0], 1)


def test_a_batch_is_one_run_in_one_segment() -> None:
    """Consecutive queue offsets and places; a batch that does not fit moves on as a whole."""
    rig = Rig()
    rig.appender.append(draft("a" * 32, body=bytes(2000)))
    items = [(n, bytes(n * 30), b"KEYS\x01k\x02", n) for n in range(10)]
    batch = rig.appender.append_batch(draft("b"), items)
    assert batch[0].physical_offset == 4096
    assert [one.queue_offset for one in batch] == list(range(1, 11))
    for one, following in pairwise(batch):
        assert one.next_physical_offset == following.physical_offset
    rig.log.write_out()
    for (flag, body, properties, _), one in zip(items, batch, strict=True):
        message = decode_record(rig.log.read_nowait(one.physical_offset, one.size), verify_crc=True)
        assert (message.flag, message.body, message.queue_offset) == (flag, body, one.queue_offset)
        assert message.properties == {"KEYS": properties[5:-1].decode()}


def test_transactions_take_no_queue_offset() -> None:
    """PREPARED and ROLLBACK records carry 0 and do not count; COMMIT does."""
    rig = Rig()
    offsets = []
    for sys_flag in (0, 0x4, 0xC, 0x8, 0):
        one = draft("a" * 32)
        one.sys_flag = sys_flag
        offsets.append(rig.appender.append(one).queue_offset)
    assert offsets == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("store_host", [HOST, HOST_V6])
@pytest.mark.parametrize(("born_host", "flag"), [(HOST, 0), (HOST_V6, 0x10)])
def test_hosts_of_both_kinds(store_host: bytes, born_host: bytes, flag: int) -> None:
    """The store sets the bit of its own host; the draft's bit goes with the draft's host."""
    rig = Rig(host=store_host)
    one = draft("a" * 32)
    one.born_host, one.sys_flag = born_host, flag
    at = rig.appender.append(one)
    message = decode_record(rig.log.read_nowait(at.physical_offset, at.size), verify_crc=True)
    assert message.sys_flag == flag | (0x20 if store_host == HOST_V6 else 0)
    assert message.size == at.size == len(rig.log.read_nowait(0, 10_000))


names = st.sampled_from(["T", "%RETRY%g", "SCHEDULE_TOPIC_XXXX", "long" * 40])
drafts = st.builds(
    Draft,
    topic=names,
    queue_id=st.integers(0, 3),
    body=st.binary(max_size=300),
    properties=st.sampled_from(
        [
            b"",
            b"TAGS\x01a\x02",
            b"DELAY\x013\x02TAGS\x01a\x02",
            b"DELAY\x0199\x02",
            b"DELAY\x01x\x02",
        ]
    ),
    flag=st.integers(-(1 << 31), (1 << 31) - 1),
    sys_flag=st.sampled_from([0, 1, 0x4, 0x8, 0xC]),
    born_timestamp_ms=st.integers(0, 1 << 60),
    born_host=st.just(HOST),
    tags_code=st.just(0),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(drafts, min_size=1, max_size=20))
async def test_live_entries_equal_recovered_ones(sent: list[Draft]) -> None:
    """What is dispatched live is, field by field, what recovery decodes from the log."""
    rig = Rig(msgspec.structs.replace(TINY, unflushed_bytes_max=1 << 20))
    for one in sent:
        if b"TAGS" in one.properties:
            one.tags_code = ord("a")
        rig.appender.append(one)
        if one.topic == "T" and not one.sys_flag & 4:
            items = [(1, b"x", b"TAGS\x01a\x02", ord("a")), (2, b"", b"", 0)]
            rig.appender.append_batch(one, items)
        rig.clock.advance(0.001)
    live = list(rig.dispatcher.pending)
    assert live == await rig.recovered()
    assert rig.stats.appended_count == len(live)
    assert rig.stats.appended_bytes == sum(entry.size for entry in live)
