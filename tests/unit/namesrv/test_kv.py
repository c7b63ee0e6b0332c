"""Key-value settings: durable before visible, and bounded."""

import errno
import json

import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreCorrupt, StoreFailed
from broker_trio.namesrv import kv
from broker_trio.namesrv.kv import FILE, KeyValues
from namesrv.fakes import MemoryDisk


def loaded(disk: MemoryDisk) -> KeyValues:
    values = KeyValues(disk)  # type: ignore[arg-type]
    values.load()
    return values


async def test_values_come_back_after_a_restart() -> None:
    """What was put is read again by the next process, in Apache's shape."""
    disk = MemoryDisk()
    await loaded(disk).put("ORDER_TOPIC_CONFIG", "T", "broker-a:4")
    assert json.loads(disk.files[FILE]) == {
        "configTable": {"ORDER_TOPIC_CONFIG": {"T": "broker-a:4"}}
    }
    assert loaded(disk).get("ORDER_TOPIC_CONFIG", "T") == "broker-a:4"


@pytest.mark.parametrize("text", ["{}", '{"configTable":null}', '{"configTable":{},"x":1}'])
def test_file_without_a_table_is_empty(text: str) -> None:
    """A file of Apache's that has no table, or more members, loads as what it has."""
    assert loaded(MemoryDisk(files={FILE: text.encode()})).namespaces() == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"configTable":{"n":7}}', b"\xff", b"[" * 5000]
)
def test_damaged_file_stops_the_start(text: bytes) -> None:
    """A file that cannot be understood is a person's decision, never an empty table."""
    with pytest.raises(StoreCorrupt, match=FILE):
        loaded(MemoryDisk(files={FILE: text}))


async def test_emptied_namespace_stays() -> None:
    """After its last key is deleted a namespace is there and empty, which is another answer."""
    values = loaded(MemoryDisk())
    await values.put("n", "k", "v")
    await values.delete("n", "k")
    assert (values.namespace("n"), values.namespace("m")) == ({}, None)


async def test_deleting_what_is_not_there_writes_nothing() -> None:
    """An absent key costs no write."""
    disk = MemoryDisk()
    await loaded(disk).delete("n", "k")
    assert disk.replaced == 0


async def test_full_disk_refuses_and_changes_nothing() -> None:
    """No space is a refusal that names the path; reads go on, and it recovers."""
    disk = MemoryDisk()
    values = loaded(disk)
    await values.put("n", "k", "old")
    disk.failing = OSError(errno.ENOSPC, "no space")
    with pytest.raises(Refused, match="no space for data"):
        await values.put("n", "k", "new")
    assert values.get("n", "k") == "old"
    disk.failing = None
    await values.put("n", "k", "new")
    assert values.get("n", "k") == "new"


async def test_broken_disk_ends_the_process() -> None:
    """Any other failure of a write is StoreFailed, and what was not written is not visible."""
    disk = MemoryDisk(failing=OSError(errno.EIO, "bad block"))
    values = loaded(disk)
    with pytest.raises(StoreFailed, match="bad block"):
        await values.put("n", "k", "v")
    assert values.get("n", "k") is None


@pytest.mark.parametrize(
    ("namespace", "key", "value", "named"),
    [
        ("n" * 1_025, "k", "v", "namespace"),
        ("n", "k" * 1_025, "v", "key"),
        ("n", "k", "v" * 65_537, "value"),
    ],
)
async def test_lengths_are_limited(namespace: str, key: str, value: str, named: str) -> None:
    """Each part has a limit of its own, named in the refusal."""
    with pytest.raises(Refused, match=f"{named} has"):
        await loaded(MemoryDisk()).put(namespace, key, value)


def test_counts_are_limited() -> None:
    """More namespaces or keys than allowed are refused with the limit's number."""
    kv.check_size({str(n): {} for n in range(kv.NAMESPACES_MAX)})
    with pytest.raises(Refused, match=f"limit {kv.NAMESPACES_MAX}"):
        kv.check_size({str(n): {} for n in range(kv.NAMESPACES_MAX + 1)})
    with pytest.raises(Refused, match=f"limit {kv.KEYS_MAX}"):
        kv.check_size({"n": {str(n): "" for n in range(kv.KEYS_MAX + 1)}})


class SlowDisk(MemoryDisk):
    """A replace takes a virtual second."""

    async def replace(self, path: str, data: bytes) -> None:
        await trio.sleep(1)
        await super().replace(path, data)


async def test_changes_at_the_same_time_are_all_kept(autojump_clock: object) -> None:
    """Changes wait for each other: no file is written from a table that misses another one."""
    disk = SlowDisk()
    values = loaded(disk)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(values.put, "n", str(number), "v")
    assert len(loaded(disk).namespace("n") or {}) == 5


async def test_cancelled_change_is_whole(autojump_clock: object) -> None:
    """A change whose asker leaves during the write is on disk and visible, never only one."""
    disk = SlowDisk()
    values = loaded(disk)
    with trio.move_on_after(0.5):
        await values.put("n", "k", "v")
    assert values.get("n", "k") == loaded(disk).get("n", "k") == "v"


async def test_waiting_changes_are_limited(autojump_clock: object) -> None:
    """Beyond the limit a change is refused as busy instead of queueing for the disk."""
    values = loaded(SlowDisk())
    refused = []

    async def put(number: int) -> None:
        try:
            await values.put("n", str(number), "v")
        except Refused as refusal:
            refused.append(refusal.code)

    async with trio.open_nursery() as nursery:
        for number in range(kv.WAITING_MAX + 3):
            nursery.start_soon(put, number)
    assert refused == [ResponseCode.SYSTEM_BUSY] * 2
