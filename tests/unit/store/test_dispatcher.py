"""Dispatch: only what is confirmed, in order, once, and never past a record that did not go in."""

import errno

import pytest

from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.store.entry import Entry
from tests.sim.store_workload import draft
from tests.unit.store.test_appender import Rig


def appended(rig: Rig, count: int) -> list[int]:
    """Physical ends of so many small messages."""
    ends = [rig.appender.append(draft(f"m{n:031d}")).next_physical_offset for n in range(count)]
    rig.log.write_out()
    return ends


def test_only_whole_confirmed_records_are_seen() -> None:
    """A record is visible once its last byte is confirmed, and not a byte earlier."""
    rig = Rig()
    ends = appended(rig, 5)
    rig.dispatcher.dispatch(ends[1] + 1)
    assert (rig.queues.max_offset("T", 0), rig.dispatcher.dispatched_offset) == (2, ends[1])
    rig.dispatcher.dispatch(ends[2] - 1)
    assert rig.queues.max_offset("T", 0) == 2
    rig.dispatcher.dispatch(ends[4])
    assert (rig.queues.max_offset("T", 0), len(rig.dispatcher.pending)) == (5, 0)
    assert rig.stats.dispatched_count == 5


def test_arrivals_are_told_once_a_batch() -> None:
    """Listeners get each dispatched entry once, in log order, when readers can see it."""
    rig = Rig()
    told: list[list[int]] = []

    def listen(entries: list[Entry]) -> None:
        assert rig.queues.max_offset("T", 0) == entries[-1].queue_offset + 1
        told.append([entry.queue_offset for entry in entries])

    rig.dispatcher.arrivals.append(listen)
    ends = appended(rig, 4)
    for end in (ends[0], ends[0], ends[3], ends[3]):
        rig.dispatcher.dispatch(end)
    assert told == [[0], [1, 2, 3]]


class Full:
    """Consume queues that fail with an error number, so many times."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times = number, times
        self.put: list[Entry] = []

    def put_all(self, entries: list[Entry]) -> None:
        if self.times:
            self.times -= 1
            raise OSError(self.number, "told to", "consumequeue/T/0")
        self.put += entries


def test_a_full_disk_stalls_and_goes_on() -> None:
    """Without space nothing is passed over: appends are refused until the same entries went in."""
    rig = Rig()
    full = Full(errno.ENOSPC, 2)
    rig.dispatcher._queues = full  # type: ignore[assignment]
    ends = appended(rig, 3)
    for _ in range(2):
        rig.dispatcher.dispatch(ends[2])
        assert len(rig.dispatcher.pending) == 3
        with pytest.raises(Refused, match="cannot extend consumequeue/T/0"):
            rig.log.check_writable(1)
    rig.dispatcher.dispatch(ends[2])
    assert [entry.queue_offset for entry in full.put] == [0, 1, 2]
    rig.dispatcher.resume()
    rig.log.check_writable(1)
    assert rig.dispatcher.dispatched_offset == ends[2]


def test_any_other_error_is_final() -> None:
    """EIO on a derived file ends the store, and the entries are still pending."""
    rig = Rig()
    rig.dispatcher._queues = Full(errno.EIO, 1)  # type: ignore[assignment]
    ends = appended(rig, 2)
    with pytest.raises(StoreFailed):
        rig.dispatcher.dispatch(ends[1])
    assert len(rig.dispatcher.pending) == 2
    with pytest.raises(StoreFailed):
        rig.log.check_writable(1)
