"""Snapshots, checkpoint, abort and watermarks: small files that are whole, or not there."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.store import snapshot
from broker_trio.store.checkpoint import (
    Checkpoint,
    encode_checkpoint,
    load_checkpoint,
    mark_closed,
    mark_open,
    save_checkpoint,
    stopped_cleanly,
)
from broker_trio.store.watermarks import (
    WATERMARKS_PATH,
    Anchor,
    Watermarks,
    load_watermarks,
    save_watermarks,
)
from broker_trio.testing.sim_disk import SimDisk

MARKS = Watermarks(
    log_flushed=300,
    queues_durable=200,
    indexed_durable=100,
    anchor=Anchor(250, 50, 7, 1_700_000_000_000),
    checkpoint_ms=1_700_000_000_000,
)


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


async def test_marks_come_back(disk: SimDisk, autojump_clock: object) -> None:
    """What was saved is loaded, field by field, and survives a power loss."""
    assert load_watermarks(disk) is None
    await save_watermarks(disk, MARKS)
    disk.crash(power=True)
    disk.restart()
    assert load_watermarks(disk) == MARKS


async def test_a_flipped_bit_voids_the_file(disk: SimDisk, autojump_clock: object) -> None:
    """Damage reads as absence: no bit of the file can change a mark unnoticed."""
    data = snapshot.encode(MARKS)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert snapshot.decode(bytes(damaged), Watermarks) in {None, MARKS}
    await save_watermarks(disk, MARKS)
    disk.flip_bit(WATERMARKS_PATH, 8 * (len(data) - 1))
    assert load_watermarks(disk) is None


@given(st.binary(max_size=64))
def test_any_bytes_decode_to_a_value_or_nothing(data: bytes) -> None:
    """Foreign bytes never raise."""
    assert snapshot.decode(data, Watermarks) is None


def test_equal_values_give_equal_bytes() -> None:
    """A file says the same whatever order its maps were filled in."""

    class Table(msgspec.Struct):
        rows: dict[str, int]

    assert snapshot.encode(Table({"a": 1, "b": 2})) == snapshot.encode(Table({"b": 2, "a": 1}))


def test_lowest_and_cut() -> None:
    """Recovery begins at the lowest mark; a cut lowers all marks and drops a later anchor."""
    assert MARKS.lowest == 100
    cut = MARKS.cut(150)
    assert (cut.log_flushed, cut.queues_durable, cut.indexed_durable) == (150, 150, 100)
    assert (cut.truncated_at, cut.anchor) == (150, None)
    assert MARKS.cut(300).anchor == MARKS.anchor


async def test_checkpoint_is_apaches(disk: SimDisk, autojump_clock: object) -> None:
    """4096 bytes, five big-endian i64; it comes back, and a senseless one does not."""
    data = encode_checkpoint(Checkpoint(1, 2, 3, 4, 5))
    assert len(data) == 4096
    assert data[:40].hex() == "".join(f"{n:016x}" for n in (1, 2, 3, 4, 5))
    assert load_checkpoint(disk) is None
    await save_checkpoint(disk, Checkpoint(70_000, 80_000, 0))
    assert load_checkpoint(disk) == Checkpoint(70_000, 80_000, 0)
    assert Checkpoint(70_000, 80_000, 0).scan_from_ms == 7_000
    await disk.replace("checkpoint", b"\xff" * 4096)
    assert load_checkpoint(disk) is None
    await disk.replace("checkpoint", b"")
    assert load_checkpoint(disk) is None


async def test_abort_is_there_while_open(disk: SimDisk, autojump_clock: object) -> None:
    """The file marks an unclean stop, holds the process id, and its removal is durable."""
    assert stopped_cleanly(disk)
    await mark_open(disk, 4711)
    assert not stopped_cleanly(disk)
    assert disk.read("abort") == b"4711"
    await mark_closed(disk)
    disk.crash(power=True)
    disk.restart()
    assert stopped_cleanly(disk)
