"""All queues of a store: assignment, dispatch, durability, start, deletion."""

import random

import pytest
import trio
from trio.testing import MockClock

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store.config import TINY
from broker_trio.store.entry import Entry
from broker_trio.store.queue_marks import QUEUE_MARKS_PATH
from broker_trio.store.queues import MARKS_EVERY, ConsumeQueues
from broker_trio.store.units import Unit
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_disk import SimDisk

SIZE = 100


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


class Log:
    """The records of a log as dispatch sees them: one after the other, SIZE bytes each."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.next: dict[tuple[str, int], int] = {}

    def append(self, topic: str, queue_id: int = 0, *, sys_flag: int = 0) -> Entry:
        key = topic, queue_id
        offset = self.next.get(key, 0)
        if not sys_flag & 4:
            self.next[key] = offset + 1
        at = SIZE * len(self.entries)
        entry = Entry(topic, queue_id, offset, at, SIZE, offset, 1_000 + at, sys_flag, b"")
        self.entries.append(entry)
        return entry

    def many(self, count: int, topics: str = "ABC") -> list[Entry]:
        return [self.append(topics[k % len(topics)]) for k in range(count)]

    @property
    def end(self) -> int:
        return SIZE * len(self.entries)

    def from_(self, physical_offset: int) -> list[Entry]:
        return [entry for entry in self.entries if entry.physical_offset >= physical_offset]

    def check(self, topic: str, queue_id: int, queue_offset: int, unit: Unit) -> bool:
        k = unit.physical_offset // SIZE
        return k < len(self.entries) and self.entries[k][:3] == (topic, queue_id, queue_offset)


def content(queues: ConsumeQueues, topic: str, queue_id: int = 0) -> list[int]:
    """Physical offsets of the messages that can be read."""
    queue = queues.get(topic, queue_id)
    assert queue is not None
    units = [queue.unit_at(k) for k in range(queue.min_offset, queue.max_offset)]
    return [unit.physical_offset for unit in units if unit is not None]


def files(disk: SimDisk) -> dict[str, bytes]:
    """Every consume-queue file."""
    found = {}
    for topic in disk.list("consumequeue"):
        for queue_id in disk.list(f"consumequeue/{topic}"):
            for name in disk.list(f"consumequeue/{topic}/{queue_id}"):
                path = f"consumequeue/{topic}/{queue_id}/{name}"
                found[path] = disk.read(path)
    return found


def started(disk: SimDisk, log: Log, durable: int, *, clean: bool = False) -> ConsumeQueues:
    """A start as recovery does it."""
    queues = ConsumeQueues(disk, TINY)
    queues.load()
    begin = queues.recover(durable, log.check, clean=clean)
    queues.put_all(log.from_(begin))
    queues.truncate(log.end)
    queues.correct_min(0)
    return queues


def test_assigns_ahead_of_dispatch(disk: SimDisk) -> None:
    """Offsets are handed out to what is appended, before any of it is dispatched."""
    queues = ConsumeQueues(disk, TINY)
    assert [queues.next_offset("T", 1)] == [0]
    queues.advance("T", 1, 3)
    assert queues.next_offset("T", 1) == 3
    assert queues.max_offset("T", 1) == 0
    assert queues.next_offset("T", 2) == 0


def test_unknown_queue(disk: SimDisk) -> None:
    """What nobody wrote to is no queue, and has the offsets 0."""
    queues = ConsumeQueues(disk, TINY)
    assert queues.get("T", 0) is None
    assert (queues.min_offset("T", 0), queues.max_offset("T", 0)) == (0, 0)


@pytest.mark.parametrize(("sys_flag", "enters"), [(0, True), (4, False), (8, True), (12, False)])
def test_hidden_messages_enter_no_queue(disk: SimDisk, sys_flag: int, enters: bool) -> None:
    """PREPARED and ROLLBACK records are in the log only; COMMIT is an ordinary message."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all([log.append("T", sys_flag=sys_flag)])
    assert queues.max_offset("T", 0) == enters
    assert queues.dispatched_offset == SIZE


def test_dispatch_again_changes_nothing(disk: SimDisk) -> None:
    """The same entries twice, in any overlap, give the same queues."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    log.many(30)
    queues.put_all(log.entries[:20])
    queues.write_out()
    queues.put_all(log.entries[5:])
    assert content(queues, "B") == [SIZE * k for k in range(1, 30, 3)]
    assert queues.ignored_count == 15


def test_hole_raises(disk: SimDisk) -> None:
    """A record that is missing between two is never papered over (#354, #467, #7355)."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    log.many(9, "A")
    queues.put_all(log.entries[:4])
    with pytest.raises(StoreCorrupt):
        queues.put_all(log.entries[5:])


def test_write_out_touches_only_what_changed(disk: SimDisk) -> None:
    """One write per queue that got something since the last one."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(12))
    queues.write_out()
    before = files(disk)
    queues.put_all([log.append("B"), log.append("B")])
    queues.write_out()
    after = files(disk)
    assert [path for path in after if before[path] != after[path]] == [f"consumequeue/B/0/{0:020d}"]


def test_few_files_stay_open(disk: SimDisk) -> None:
    """Hundreds of queues are written through a handful of descriptors."""
    queues, log = ConsumeQueues(disk, TINY, open_files_max=5), Log()
    for queue_id in range(200):
        log.append("T", queue_id)
    queues.put_all(log.entries)
    queues.write_out()
    assert queues.open_file_count == 5
    assert content(queues, "T", 7) == [7 * SIZE]


async def test_clean_start_opens_no_file(disk: SimDisk, autojump_clock: MockClock) -> None:
    """After a clean stop the ends of all queues are known from one small file."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(60))
    await queues.flush(marks=True)
    again = started(disk, log, log.end, clean=True)
    assert again.open_file_count == 0
    assert again.next_offset("A", 0) == 20
    assert content(again, "C") == content(queues, "C")


async def test_flush_makes_it_durable(disk: SimDisk, autojump_clock: MockClock) -> None:
    """After a power loss everything below the durable mark is there without the log's help."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(50))
    await queues.flush()
    queues.put_all(log.many(20))
    queues.write_out()
    disk.crash(power=True)
    disk.restart()
    again = ConsumeQueues(disk, TINY)
    again.load()
    assert again.recover(queues.durable_offset, log.check) == queues.durable_offset == 50 * SIZE
    assert content(again, "A") == [SIZE * k for k in range(0, 50, 3)]


@pytest.mark.parametrize("seed", range(12))
async def test_rebuilt_byte_by_byte_after_power_loss(seed: int, autojump_clock: MockClock) -> None:
    """Whatever reached the disk of what was not flushed, the log brings back the same files."""
    disk, log = SimDisk(random.Random(seed)), Log()
    queues = ConsumeQueues(disk, TINY)
    durable = 0
    for _ in range(3):
        queues.put_all(log.many(random.Random(seed).randrange(1, 40)))
        queues.write_out()
        if seed % 3:
            await queues.flush()
            durable = queues.durable_offset
    queues.put_all(log.many(25))
    queues.write_out()
    disk.crash(power=True)
    disk.restart()
    del log.entries[-(seed % 8) :]  # the log lost some of its tail as well
    again = started(disk, log, min(durable, log.end))
    await again.flush()
    fresh = SimDisk(random.Random(0))
    rebuilt = ConsumeQueues(fresh, TINY)
    rebuilt.put_all(log.entries)
    rebuilt.write_out()
    assert files(disk) == files(fresh)


@pytest.mark.parametrize("loss", ["folder", "file", "all", "page"])
async def test_lost_files_come_back(disk: SimDisk, loss: str, autojump_clock: MockClock) -> None:
    """Deleted or cut files are noticed at the start, clean or not, and built again (#495)."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(60))
    await queues.flush(marks=True)
    whole = files(disk)
    lost = [path for path in whole if path.startswith("consumequeue/B/") or loss == "all"]
    for path in lost[1:2] if loss in {"file", "page"} else lost:
        if loss == "page":
            disk.open(path).truncate(40)
        else:
            disk.unlink(path)
    again = started(disk, log, log.end, clean=loss != "all")
    again.write_out()
    assert files(disk) == whole


async def test_deleted_topic_goes_on(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A topic that is deleted and made again continues its offsets, also across a restart."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(30, "AB"))
    assert queues.next_offset("A", 0) == 15
    queues.advance("A", 0, 2)  # appended, not dispatched yet
    await queues.delete_topic("A")
    assert disk.list("consumequeue") == ["B"]
    assert queues.topics() == ["B"]
    assert (queues.min_offset("A", 0), queues.max_offset("A", 0)) == (17, 17)
    await queues.flush(marks=True)
    again = started(disk, log, log.end, clean=True)
    assert again.next_offset("A", 0) == 17
    log.next["A", 0] = 17
    again.put_all([log.append("A")])
    again.write_out()
    assert content(again, "A") == [30 * SIZE]
    assert again.topics() == ["B", "A"]


async def test_deletion_is_durable_before_files_go(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """Cut off at any point a deletion leaves the topic whole, or deleted with its offsets kept."""
    log = Log()
    log.many(30, "AB")
    outcomes = set()
    for operation in range(1, 60):
        disk = SimDisk(random.Random(operation))
        queues = ConsumeQueues(disk, TINY)
        queues.put_all(log.entries)
        await queues.flush()
        disk.faults.power_off_at(operation)
        try:
            await queues.delete_topic("A")
            await queues.flush()
        except Dead:
            disk.restart()
        else:
            break
        again = started(disk, log, queues.durable_offset)
        assert again.next_offset("A", 0) == 15
        outcomes.add(len(content(again, "A")))
    assert outcomes == {0, 15}


async def test_topic_deleted_twice(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A topic that came back is deleted like any other, also before anything of it is written."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    for offset in range(3):
        queues.put_all([log.append("A")])
        assert queues.topics() == ["A"]
        await queues.delete_topic("A")
        assert queues.topics() == []
        assert queues.min_offset("A", 0) == queues.max_offset("A", 0) == offset + 1


async def test_deleted_topics_are_forgotten_with_their_time(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """Once the log has nothing older than the deletion, the name is a new one; not before."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(30, "AB"))
    await queues.delete_topic("A", log.end + SIZE)  # something is appended, not dispatched
    queues.put_all(log.many(30, "B"))
    await queues.delete_expired(log.end // 2)
    assert queues.next_offset("A", 0) == 15
    await queues.flush(marks=True)
    again = started(disk, log, log.end, clean=True)
    await again.delete_expired(30 * SIZE)
    assert again.next_offset("A", 0) == 15
    await again.delete_expired(31 * SIZE)
    assert again.get("A", 0) is None
    assert again.next_offset("A", 0) == 0
    await again.flush()
    assert started(disk, log, log.end, clean=True).get("A", 0) is None
    log.next["A", 0] = 0
    again.advance("A", 0, 1)
    again.put_all([log.append("A")])
    assert content(again, "A") == [60 * SIZE]


def expired(disk: SimDisk, log: Log) -> ConsumeQueues:
    """Queues after a start, of a log that begins behind its first 30 records."""
    queues = ConsumeQueues(disk, TINY)
    queues.load()
    begin = queues.recover(log.end, log.check, log_min=30 * SIZE)
    queues.put_all(log.from_(begin))
    queues.correct_min(30 * SIZE)
    return queues


async def test_forgetting_is_durable_before_the_name_is_used(autojump_clock: MockClock) -> None:
    """Cut off at any point a topic goes on or begins anew, and keeps what it gets then."""
    begins = set()
    for operation in range(1, 60):
        disk, log = SimDisk(random.Random(operation)), Log()
        queues = ConsumeQueues(disk, TINY)
        queues.put_all(log.many(30, "AB"))
        await queues.delete_topic("A")
        disk.faults.power_off_at(operation)
        try:
            await queues.delete_expired(log.end)
        except Dead:
            disk.restart()
            queues = expired(disk, log)
        disk.faults.clear()
        begin = log.next["A", 0] = queues.next_offset("A", 0)
        begins.add(begin)
        queues.put_all([log.append("A")])
        await queues.flush()
        disk.crash(power=True)
        disk.restart()
        again = expired(disk, log)
        assert content(again, "A") == [30 * SIZE]
        assert again.max_offset("A", 0) == begin + 1
    assert begins == {0, 8, 15}  # 8: one of its two files came back, its units are all expired


async def test_a_deleted_topic_that_comes_back_is_not_forgotten(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """Offsets that were given out hold, whether dispatched already or not."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(30, "AB"))
    await queues.delete_topic("A", log.end)
    assert queues.next_offset("A", 0) == 15
    queues.advance("A", 0, 1)
    await queues.delete_expired(log.end)
    assert queues.next_offset("A", 0) == 16
    log.next["A", 0] = 15
    queues.put_all([log.append("A")])
    await queues.delete_expired(log.end - SIZE)
    assert queues.topics() == ["B", "A"]
    assert (queues.min_offset("A", 0), queues.max_offset("A", 0)) == (15, 16)


async def test_old_messages_of_a_deleted_topic_stay_deleted(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """Dispatching the log again does not bring back what was deleted."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(30, "AB"))
    await queues.delete_topic("A")
    queues.put_all(log.entries)
    assert content(queues, "A") == []


async def test_cancelled_flush_is_made_up_for(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A flush that was cancelled moved nothing, and the next one covers what it left."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(60, "ABCDEFGH"))
    with trio.move_on_after(0.000_1):
        await queues.flush()
    assert queues.durable_offset == 0
    await queues.flush()
    assert queues.durable_offset == log.end
    disk.crash(power=True)
    disk.restart()
    assert len(content(started(disk, log, log.end), "H")) == 7


async def test_retention(disk: SimDisk, autojump_clock: MockClock) -> None:
    """Queues follow the log's begin: files without a living record go, min offsets move."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(90))
    await queues.flush()
    assert await queues.delete_expired(50 * SIZE) == 3 * 2
    assert queues.min_offset("A", 0) == 17
    assert await queues.delete_expired(50 * SIZE) == 0
    assert queues.expired_files == 6


async def test_expired_queue_keeps_its_position(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A queue of which nothing is left in the log goes on where it was, files or not."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    queues.put_all(log.many(30, "AB"))
    await queues.flush(marks=True)
    for path in files(disk):
        disk.unlink(path)
    again = ConsumeQueues(disk, TINY)
    again.load()
    assert again.recover(log.end, log.check, clean=True) == 0
    again.correct_min(log.end)  # retention took the whole log meanwhile
    assert again.next_offset("A", 0) == again.min_offset("A", 0) == 15


async def test_marks_are_renewed_now_and_then(disk: SimDisk, autojump_clock: MockClock) -> None:
    """New queues are marked by the next flush, known ones every few flushes."""
    queues, log = ConsumeQueues(disk, TINY), Log()
    seen = set()
    for _ in range(2 * MARKS_EVERY):
        queues.put_all([log.append("A")])
        await queues.flush()
        seen.add(disk.read(QUEUE_MARKS_PATH))
    assert len(seen) == 2


def test_buffers_are_bounded_while_starting(disk: SimDisk) -> None:
    """A start that dispatches a long log writes units out on its way."""
    queues, log = ConsumeQueues(disk, TINY, buffered_units_max=50), Log()
    for _ in range(20):
        queues.put_all(log.many(30))
    buffered = sum(len(queue.buffer) for queue in queues)
    assert buffered <= 80 * 20


def test_foreign_folder_refused(disk: SimDisk) -> None:
    """What is no queue id stops the start, with its path."""
    disk.open(f"consumequeue/T/x1/{0:020d}", create=True)
    with pytest.raises(StoreCorrupt, match="consumequeue/T/x1"):
        ConsumeQueues(disk, TINY).load()
