"""Reading: the rules of a pull, its limits, filters, cold disks, times and keys."""

import random
from collections.abc import Callable

import msgspec
import pytest
import trio
from trio.testing import MockClock

from broker_trio.model.hashes import tags_code
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.read_plan import Limits, plan_reads
from broker_trio.store.reader import GetResult, GetStatus, Reader
from broker_trio.store.stats import StoreStats
from broker_trio.store.units import PRE_BLANK, UNIT
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import check_record, decode_record, record_parts

CONFIG = StoreConfig(
    commit_log_segment_bytes=64 << 10,
    consume_queue_segment_units=1_000,
    index_slots=64,
    index_items=1_000,
    reserve_bytes=4 << 10,
)
HOST = bytes((127, 0, 0, 1, 0, 0, 42, 159))
HOST_V6 = bytes(16) + bytes((0, 0, 42, 159))
START_MS = 1_700_000_000_000
FOREVER = 1 << 62
Status = GetStatus


class Rig:
    """A log with queues, index and reader on a simulated disk; every append is dispatched."""

    def __init__(self, config: StoreConfig = CONFIG) -> None:
        self.disk = SimDisk(random.Random(1))
        self.log = CommitLog(self.disk, config, StoreStats())
        self.log.open_at(0, None)
        self.queues = ConsumeQueues(self.disk, config)
        self.index = Index(self.disk, config)
        self.stats = StoreStats()
        self.reader = Reader(
            self.log, self.queues, self.index, config, stats=self.stats, trusted_bytes=0
        )
        self.bodies: list[bytes] = []

    def append(
        self,
        body: bytes = b"hello",
        topic: str = "T",
        *,
        tags: str = "",
        stored_ms: int = START_MS,
        properties: bytes = b"",
        sys_flag: int = 0,
    ) -> int:
        """One record; its physical offset."""
        offset = self.queues.next_offset(topic, 0)
        self.queues.advance(topic, 0, 1)
        host = HOST_V6 if sys_flag & 0x10 else HOST

        def parts(physical_offset: int) -> tuple[bytes, bytes, bytes]:
            return record_parts(
                topic, 0, offset, physical_offset, 0, sys_flag, START_MS, host, stored_ms, HOST,
                0, 0, body, properties,
            )  # fmt: skip

        size = sum(map(len, parts(0)))
        at = self.log.place(size)
        self.log.stage(parts(at), size)
        code = tags_code(tags) if tags else 0
        entry = Entry(topic, 0, offset, at, size, code, stored_ms, sys_flag, properties)
        self.queues.put_all([entry])
        self.index.put_all([entry])
        return at

    def get(self, offset: int, count_max: int = 32, **more: object) -> GetResult:
        return self.reader.get_nowait("T", 0, offset, count_max=count_max, **more)  # type: ignore[arg-type]

    def drop_segment(self) -> None:
        """Retention takes the oldest segment; min offsets are not corrected yet."""
        self.log.write_out()
        self.queues.write_out()
        self.log.flushed_to(self.log.written_offset, None)
        self.log.drop_first()


def bodies(result: GetResult) -> list[bytes]:
    """What a consumer would get."""
    found = []
    for record in result.records:
        size = int.from_bytes(record[84:88], "big")
        found.append(record[88 : 88 + size])
    assert result.count == len(found)
    assert result.bytes == sum(map(len, result.records))
    return found


@pytest.fixture
def rig() -> Rig:
    return Rig()


def summary(result: GetResult) -> tuple[GetStatus, int, int, int]:
    return result.status, result.next_begin_offset, result.min_offset, result.max_offset


# -- by queue offset ------------------------------------------------------------------------------


def test_unknown_and_empty_queue(rig: Rig) -> None:
    """No queue and a queue without messages send the consumer to 0."""
    assert summary(rig.get(7)) == (Status.NO_MATCHED_LOGIC_QUEUE, 0, 0, 0)
    rig.queues.put_all([Entry("T", 0, 0, 0, 100, 0, 0, 0, b"")])
    rig.queues.truncate(0)
    assert summary(rig.get(7)) == (Status.NO_MESSAGE_IN_QUEUE, 0, 0, 0)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0, (Status.OFFSET_TOO_SMALL, 3, 3, 10)),
        (2, (Status.OFFSET_TOO_SMALL, 3, 3, 10)),
        (3, (Status.FOUND, 10, 3, 10)),
        (9, (Status.FOUND, 10, 3, 10)),
        (10, (Status.OFFSET_OVERFLOW_ONE, 10, 3, 10)),
        (11, (Status.OFFSET_OVERFLOW_BADLY, 10, 3, 10)),
    ],
)
async def test_bounds(
    rig: Rig, offset: int, expected: tuple[object, ...], autojump_clock: MockClock
) -> None:
    """Below, inside, at and above a queue's bounds, hot and cold alike (storage.md §12.1)."""
    positions = [rig.append() for _ in range(10)]
    rig.queues.correct_min(positions[3])
    assert summary(rig.get(offset)) == expected
    assert summary(await rig.reader.get("T", 0, offset, count_max=32)) == expected


def test_reads_what_is_only_staged(rig: Rig) -> None:
    """A message can be read before it, or its unit, is written anywhere."""
    rig.append(b"a")
    rig.append(b"b", topic="other")
    at = rig.append(b"c")
    result = rig.get(0)
    assert bodies(result) == [b"a", b"c"]
    assert result.last_physical_offset == at


def test_contiguous_records_are_one_read(rig: Rig) -> None:
    """Records that lie one behind the other come by one read of the log, cut exactly."""
    sent = [b"%d" % k * (k + 1) for k in range(20)]
    for body in sent:
        rig.append(body)
    calls = counted(rig)
    result = rig.get(5)
    assert bodies(result) == sent[5:]
    assert len(calls) == 1
    for record in result.records:
        at = int.from_bytes(record[28:36], "big")
        assert check_record(record, 0, at)[3] == at  # type: ignore[index]


def counted(rig: Rig) -> list[int]:
    """Positions of the reads that the reader asks the log for from now on."""
    calls: list[int] = []
    read: Callable[[int, int], bytes] = rig.log.read_nowait

    class Counting:
        min_offset, max_offset = rig.log.min_offset, rig.log.max_offset

        def read_nowait(self, physical_offset: int, size: int) -> bytes:
            calls.append(physical_offset)
            return read(physical_offset, size)

    rig.reader._log = Counting()  # type: ignore[assignment]
    return calls


@pytest.mark.parametrize(
    ("count_max", "bytes_max", "count"),
    [(1, None, 1), (0, None, 1), (50, None, 32), (50, 1_000, 5), (50, 1, 1), (3, 1 << 40, 3)],
)
def test_hot_limits(rig: Rig, count_max: int, bytes_max: int | None, count: int) -> None:
    """Count and bytes are the smaller of what is asked for and 32 records, 256 KiB."""
    for _ in range(40):
        rig.append(bytes(100))  # 193 bytes each
    result = rig.get(0, count_max, bytes_max=bytes_max)
    assert (result.count, result.next_begin_offset) == (count, count)


def test_bytes_limit_never_stops_the_first(rig: Rig) -> None:
    """A record larger than every limit still comes, alone."""
    config = msgspec.structs.replace(CONFIG, pull_bytes_hot_max=500)
    rig = Rig(config)
    for size in (2_000, 10, 10):
        rig.append(bytes(size))
    assert bodies(rig.get(0)) == [bytes(2_000)]
    assert len(bodies(rig.get(1))) == 2


async def test_cold_limits(rig: Rig, autojump_clock: MockClock) -> None:
    """What is not in memory is not read on the loop, and comes eight at a time."""
    for _ in range(40):
        rig.append()
    rig.log.write_out()
    rig.queues.write_out()
    rig.disk.cold = 1.0
    with pytest.raises(trio.WouldBlock):
        rig.get(0)
    result = await rig.reader.get("T", 0, 0, count_max=32)
    assert (result.count, result.next_begin_offset) == (8, 8)


async def test_hot_then_cold(rig: Rig, autojump_clock: MockClock) -> None:
    """Where later records are cold the hot ones are the answer, and the next get goes on there."""
    for k in range(12):
        rig.append(b"%d" % k, topic="T" if k % 2 else "other")
    reads = 0
    read = rig.log.read_nowait

    class ThirdIsCold:
        min_offset, max_offset = 0, rig.log.max_offset

        def read_nowait(self, physical_offset: int, size: int) -> bytes:
            nonlocal reads
            reads += 1
            if reads > 2:
                raise trio.WouldBlock
            return read(physical_offset, size)

    rig.reader._log = ThirdIsCold()  # type: ignore[assignment]
    result = rig.get(0)
    assert (result.status, result.count, result.next_begin_offset) == (Status.FOUND, 2, 2)


def test_tag_filter(rig: Rig) -> None:
    """Only wanted tags come; the offset moves behind everything that was looked at."""
    for k in range(30):
        rig.append(b"%d" % k, tags="ABC"[k % 3])
    wanted = frozenset({tags_code("B")})
    result = rig.get(0, 4, codes=wanted)
    assert bodies(result) == [b"1", b"4", b"7", b"10"]
    assert result.next_begin_offset == 11
    nothing = rig.get(0, 4, codes=frozenset({tags_code("none")}))
    assert summary(nothing) == (Status.NO_MATCHED_MESSAGE, 30, 0, 30)


def test_scan_limit() -> None:
    """A pull looks at no more units than it may, whatever matches."""
    rig = Rig(msgspec.structs.replace(CONFIG, pull_scan_units_max=10))
    for k in range(30):
        rig.append(tags="B" if k >= 15 else "A")
    wanted = frozenset({tags_code("B")})
    assert summary(rig.get(0, 4, codes=wanted))[:2] == (Status.NO_MATCHED_MESSAGE, 10)
    some = rig.get(10, 9, codes=wanted)
    assert (some.count, some.next_begin_offset) == (5, 20)
    assert rig.get(0, 25, codes=wanted).next_begin_offset == 25


def test_only_low_bits_of_a_code_count() -> None:
    """A unit whose code is wider than 32 bits is compared by its low ones, as signed."""
    code = tags_code("polygenelubricants")
    assert code == -(1 << 31)
    units = UNIT.pack(0, 100, (7 << 32) | 0x80000000) + UNIT.pack(100, 100, (7 << 32) | 5)
    plan = plan_reads(units, 0, Limits(9, 9_999), frozenset({code}), 0)
    assert [run.physical_offset for run in plan.runs] == [0]


def test_one_file_at_a_time() -> None:
    """A pull ends at the end of a consume-queue file."""
    rig = Rig(msgspec.structs.replace(CONFIG, consume_queue_segment_units=8))
    for _ in range(12):
        rig.append()
    rig.queues.write_out()
    assert rig.get(5).next_begin_offset == 8


def test_deleted_records_are_skipped(rig: Rig) -> None:
    """Units of records that the log dropped are passed over without reading."""
    while rig.log.max_offset < CONFIG.commit_log_segment_bytes + 2_000:
        rig.append(bytes(1_000), tags="A")
    rig.drop_segment()
    first = rig.get(0)
    assert (first.status, first.next_begin_offset) == (Status.MESSAGE_WAS_REMOVING, 32)
    result = rig.get(40)
    assert result.status is Status.FOUND
    assert int.from_bytes(result.records[0][28:36], "big") == rig.log.min_offset


def test_unreadable_unit(rig: Rig) -> None:
    """A hole in the queue sends the consumer to the next file, and is not held against it."""
    for _ in range(5):
        rig.append()
    rig.queues.write_out()
    path = f"consumequeue/T/0/{0:020d}"
    rig.disk.open(path).write_at(20, bytes(20))
    assert summary(rig.get(1)) == (Status.OFFSET_FOUND_NULL, 1_000, 0, 5)
    assert rig.get(0).next_begin_offset == 1


def test_pre_blank_is_no_record() -> None:
    """A pre-blank is never taken for two gigabytes at the log's begin."""
    plan = plan_reads(PRE_BLANK + UNIT.pack(0, 100, 0), 0, Limits(9, 9_999), None, 0)
    assert [run.sizes for run in plan.runs] == [[100]]


def test_bad_record_is_passed(rig: Rig) -> None:
    """Where the log does not have what the unit says nothing is delivered, and the offset moves."""
    rig.append()
    at = rig.append(topic="other")
    rig.queues.put_all([Entry("T", 0, 1, at + 1, 50, 0, START_MS, 0, b"")])
    result = rig.get(1)
    assert (result.status, result.next_begin_offset) == (Status.MESSAGE_WAS_REMOVING, 2)
    assert rig.stats.corrupt_records == 1


@pytest.mark.parametrize("sys_flag", [0, 0x10])
@pytest.mark.parametrize("topic", ["T", "t" * 127])
def test_a_damaged_record_is_never_served(sys_flag: int, topic: str) -> None:
    """One bit of its own fields, topic or body: it is left out, its neighbours are served."""
    for bit in range(0, 8 * 400, 7):
        rig = Rig()
        places = [rig.append(topic=topic, sys_flag=sys_flag) for _ in range(3)]
        size = places[2] - places[1]
        if bit >= 8 * size:
            break
        rig.log.write_out()
        rig.disk.flip_bit(f"commitlog/{0:020d}", 8 * places[1] + bit)
        result = rig.reader.get_nowait(topic, 0, 0, count_max=9)
        assert (result.status, result.next_begin_offset) == (Status.FOUND, 3)
        assert result.bytes == sum(map(len, result.records))
        served = [decode_record(one).queue_offset for one in result.records]
        assert served == ([0, 1, 2] if vouched_by_nobody(bit // 8, sys_flag) else [0, 2])
        assert rig.stats.corrupt_records == 3 - len(served)


def vouched_by_nobody(byte: int, sys_flag: int) -> bool:
    """Flags, times, hosts, counters: the format has no checksum for them."""
    more = 12 if sys_flag else 0
    return 16 <= byte < 20 or 36 <= byte < 84 + more


def test_what_was_written_just_now_is_trusted() -> None:
    """The newest bytes that this process wrote cost no checksum; older ones and others' do."""
    rig = Rig()
    at = rig.append()
    rig.log.write_out()
    rig.disk.flip_bit(f"commitlog/{0:020d}", 8 * (at + 90))
    reader = Reader(rig.log, rig.queues, rig.index, CONFIG)
    assert reader.get_nowait("T", 0, 0, count_max=9).count == 1
    reader.written_from = at + 1
    assert reader.get_nowait("T", 0, 0, count_max=9).status is Status.MESSAGE_WAS_REMOVING


# -- by position ----------------------------------------------------------------------------------


async def test_record_at(rig: Rig, autojump_clock: MockClock) -> None:
    """Only where a record begins, whole and with the right checksum, there is one."""
    at = rig.append(b"hello")
    end = rig.append(b"x" * 50)
    record = await rig.reader.record_at(at)
    assert record is not None
    assert record[88:93] == b"hello"
    for wrong in (at + 1, end + 1, -5, 1 << 50):
        assert await rig.reader.record_at(wrong) is None
    rig.log.write_out()
    path = f"commitlog/{0:020d}"
    rig.disk.open(path).write_at(at + 90, b"X")
    assert await rig.reader.record_at(at) is None


# -- by time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp_ms", "lower", "upper"),
    [(5, 0, 0), (10, 0, 0), (15, 1, 0), (20, 1, 3), (25, 4, 3), (40, 5, 5), (41, 6, 5)],
)
async def test_offset_by_time(
    rig: Rig, timestamp_ms: int, lower: int, upper: int, autojump_clock: MockClock
) -> None:
    """Before, at, between and after store times, of which some are equal (storage.md §2.3)."""
    for stored_ms in (10, 20, 20, 20, 30, 40):
        rig.append(stored_ms=stored_ms)
    by_time = rig.reader.offset_by_time
    assert await by_time("T", 0, timestamp_ms, upper=False) == lower
    assert await by_time("T", 0, timestamp_ms, upper=True) == upper


async def test_offset_by_time_of_nothing(rig: Rig, autojump_clock: MockClock) -> None:
    """An unknown queue gives 0; one whose messages all expired gives its place."""
    assert await rig.reader.offset_by_time("T", 0, 5, upper=False) == 0
    for _ in range(3):
        rig.append(stored_ms=10)
    rig.queues.correct_min(rig.log.max_offset)
    for upper in (False, True):
        assert await rig.reader.offset_by_time("T", 0, 5, upper=upper) == 3


async def test_deleted_records_are_earlier(rig: Rig, autojump_clock: MockClock) -> None:
    """What the log dropped counts as older than any time; results stay within the bounds."""
    count = 0
    while rig.log.max_offset < CONFIG.commit_log_segment_bytes + 4_000:
        rig.append(bytes(1_000), stored_ms=START_MS + count)
        count += 1
    first = next(
        k
        for k in range(count)
        if rig.queues.get("T", 0).unit_at(k).physical_offset >= 65_536  # type: ignore[union-attr]
    )
    rig.drop_segment()
    assert await rig.reader.offset_by_time("T", 0, 0, upper=False) == first
    assert await rig.reader.offset_by_time("T", 0, 0, upper=True) == first - 1
    rig.queues.correct_min(rig.log.min_offset)
    assert await rig.reader.offset_by_time("T", 0, 0, upper=True) == first
    assert await rig.reader.store_time_at("T", 0, first) == START_MS + first
    assert await rig.reader.store_time_at("T", 0, first - 1) == -1


async def test_store_time_of_ipv6_and_cold(rig: Rig, autojump_clock: MockClock) -> None:
    """An IPv6 host before the time moves it by twelve bytes; a cold disk is waited for."""
    rig.append(stored_ms=11)
    rig.append(stored_ms=22, sys_flag=0x10)
    rig.log.write_out()
    rig.queues.write_out()
    rig.disk.cold = 1.0
    assert [await rig.reader.store_time_at("T", 0, k) for k in (0, 1, 2)] == [11, 22, -1]


# -- by key ---------------------------------------------------------------------------------------


def keyed(uniq: str, keys: str = "") -> bytes:
    return f"UNIQ_KEY\x01{uniq}\x02KEYS\x01{keys}\x02".encode()


async def test_query_by_key(rig: Rig, autojump_clock: MockClock) -> None:
    """By UNIQ_KEY and by each word of KEYS, oldest first, of that topic and time only."""
    for k in range(10):
        rig.append(b"%d" % k, stored_ms=START_MS + k, properties=keyed(f"U{k}", f"a b{k % 2}"))
        rig.append(b"x", "other", stored_ms=START_MS + k, properties=keyed(f"U{k}", "a"))
    query = rig.reader.query_by_key
    assert [record[88:89] for record in await query("T", "U3", 64, 0, FOREVER)] == [b"3"]
    odd = await query("T", "b1", 64, 0, FOREVER)
    assert [record[88:89] for record in odd] == [b"1", b"3", b"5", b"7", b"9"]
    timed = await query("T", "a", 64, START_MS + 2, START_MS + 4)
    assert [record[88:89] for record in timed] == [b"2", b"3", b"4"]
    newest = await query("T", "a", 2, 0, FOREVER)
    assert [record[88:89] for record in newest] == [b"8", b"9"]
    assert await query("T", "a b1", 64, 0, FOREVER) == []


async def test_colliding_keys_are_dropped(rig: Rig, autojump_clock: MockClock) -> None:
    """Keys with one hash are told apart by comparing them, and none is missed behind others."""
    rig.append(b"1", properties=keyed("U", "Aa"))
    for _ in range(6):
        rig.append(b"2", properties=keyed("V", "BB"))  # Java: "Aa" and "BB" hash alike
    found = await rig.reader.query_by_key("T", "Aa", 2, 0, FOREVER)
    assert [record[88:89] for record in found] == [b"1"]


async def test_query_skips_deleted_records(rig: Rig, autojump_clock: MockClock) -> None:
    """An offset that the log dropped is left out without failing the query."""
    while rig.log.max_offset < CONFIG.commit_log_segment_bytes + 2_000:
        rig.append(bytes(8_000), properties=keyed("U", "a"))
    rig.drop_segment()
    found = await rig.reader.query_by_key("T", "a", 64, 0, FOREVER)
    assert [int.from_bytes(record[28:36], "big") for record in found] == [rig.log.min_offset]


async def test_query_is_bounded_in_bytes(rig: Rig, autojump_clock: MockClock) -> None:
    """An answer has a limit of bytes; the newest records are in it."""
    last = [rig.append(bytes(3_000), properties=keyed("U", "a")) for _ in range(4)][-2:]
    reader = Reader(rig.log, rig.queues, rig.index, CONFIG, query_bytes_max=8_000)
    found = await reader.query_by_key("T", "a", 64, 0, FOREVER)
    assert [int.from_bytes(record[28:36], "big") for record in found] == last
