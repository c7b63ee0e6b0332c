"""How the broker's tables reach the disk and come back."""

import errno
import itertools
import json
import random

import pytest
import trio

from broker_trio.broker.metadata import MetadataFile, Persister
from broker_trio.model.errors import RemoteProtocolError, StoreCorrupt, StoreFailed
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_disk import SimDisk

PATH = "config/t.json"


def decode(data):
    try:
        return json.loads(data)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error


class Table:
    """A value with its file."""

    def __init__(self, disk, *, interval_s=0.0):
        self.value = None
        self.file = MetadataFile(disk, PATH, interval_s=interval_s)

    def load(self, *, log_is_empty=False, required=False):
        self.value = self.file.load(
            decode,
            lambda: json.dumps(self.value).encode(),
            log_is_empty=log_is_empty,
            required=required,
        )
        return self

    def set(self, value):
        self.value = value
        self.file.touch()


def sim_disk(**files):
    disk = SimDisk(random.Random(1))
    for name, data in files.items():
        disk.open(f"config/t.json{'.bak' if name == 'bak' else ''}", create=True).write_at(0, data)
    return disk


async def test_what_was_persisted_comes_back(autojump_clock):
    """A second process finds the last value, and the one before it in .bak."""
    disk = sim_disk()
    table = Table(disk).load(log_is_empty=True)
    for value in (1, 2):
        table.set(value)
        await table.file.persist_if_dirty()
    assert Table(disk).load().value == 2
    assert disk.read(PATH + ".bak") == b"1"
    assert not table.file.dirty


async def test_power_loss_anywhere_leaves_old_or_new(autojump_clock):
    """Whatever operation the power goes at, one of the two values is found again."""
    found = set()
    for operation in itertools.count(1):
        disk = SimDisk(random.Random(operation))
        table = Table(disk).load(log_is_empty=True)
        table.set("old")
        await table.file.persist_if_dirty()
        table.set("new")
        disk.faults.power_off_at(operation)
        try:
            await table.file.persist_if_dirty()
        except Dead:
            disk.restart()
            found.add(Table(disk).load().value)
        else:
            break
    assert found == {"old", "new"}


def test_a_damaged_file_gives_way_to_its_copy():
    """Main unreadable: the copy's value, and the copy is not overwritten by the damage."""
    disk = sim_disk(main=b"{torn", bak=b"7")
    assert Table(disk).load().value == 7


async def test_damage_is_never_copied_over_the_good_copy(autojump_clock):
    """The first write after a start from .bak keeps .bak as it was."""
    disk = sim_disk(main=b"{torn", bak=b"7")
    table = Table(disk).load()
    table.set(8)
    await table.file.persist_if_dirty()
    assert (disk.read(PATH), disk.read(PATH + ".bak")) == (b"8", b"7")


@pytest.mark.parametrize("main", [b"", b"\0\0\0", b"{torn"])
def test_a_log_with_messages_and_no_readable_table_stops_the_start(main):
    """Nobody starts empty over somebody's data; the error names the file."""
    with pytest.raises(StoreCorrupt, match=r"config/t\.json"):
        Table(sim_disk(main=main, bak=b"{")).load()


def test_a_missing_table_matters_only_where_it_must_have_been_there():
    """Topics exist before the first message, consumer offsets need not."""
    assert Table(sim_disk()).load().value is None
    with pytest.raises(StoreCorrupt, match="missing"):
        Table(sim_disk()).load(required=True)


def test_an_empty_log_starts_empty_whatever_the_file_says():
    """With nothing to lose, a torn file is no reason to refuse."""
    assert Table(sim_disk(main=b"{")).load(log_is_empty=True).value is None


async def test_nothing_is_written_before_load():
    """The accident that replayed every delayed message cannot be programmed."""
    table = Table(sim_disk(main=b"1"))
    table.set(2)
    with pytest.raises(AssertionError, match="before it was loaded"):
        await table.file.persist_if_dirty()


async def test_a_change_during_a_write_is_written_by_the_next(autojump_clock):
    """The file is dirty again right after a write that a change overtook."""
    table = Table(sim_disk()).load(log_is_empty=True)
    table.set(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.file.persist_if_dirty)
        await trio.testing.wait_all_tasks_blocked()
        table.set(2)
    assert table.file.dirty
    await table.file.persist_if_dirty()
    assert Table(table.file._disk).load().value == 2


async def test_a_full_disk_is_no_failure_and_any_other_error_is(autojump_clock):
    """ENOSPC leaves the table dirty; EIO ends the process."""
    disk = sim_disk()
    table = Table(disk).load(log_is_empty=True)
    table.set(1)
    disk.faults.fail("write", number=errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        await table.file.persist_if_dirty()
    assert table.file.dirty
    disk.faults.fail("flush", number=errno.EIO)
    with pytest.raises(StoreFailed):
        await table.file.persist_if_dirty()


async def test_the_persister_keeps_each_table_within_its_interval(autojump_clock):
    """Offsets are on disk within their 5 s, in one write, and only when they changed."""
    disk = sim_disk()
    table = Table(disk, interval_s=5.0).load(log_is_empty=True)
    persister = Persister([table.file])
    async with trio.open_nursery() as nursery:
        await nursery.start(persister.run)
        await trio.sleep(60)
        assert table.file.writes == 0
        for value in range(100):
            table.set(value)
            await trio.sleep(0.01)
        assert table.file.writes == 0
        await trio.sleep(5)
        assert (table.file.writes, table.file.dirty) == (1, False)
        await trio.sleep(60)
        assert table.file.writes == 1
        nursery.cancel_scope.cancel()


async def test_the_persister_tries_again_after_a_full_disk(autojump_clock):
    """Space comes back, the change gets to the disk without another change."""
    disk = sim_disk()
    table = Table(disk).load(log_is_empty=True)
    disk.faults.fail("write", number=errno.ENOSPC)
    async with trio.open_nursery() as nursery:
        await nursery.start(Persister([table.file]).run)
        table.set(1)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert (table.file.refused_for_space, table.file.dirty) == (1, False)
