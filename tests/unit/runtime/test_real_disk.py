"""What only the real disk has: cold pages, file systems without RWF_NOWAIT, locks of others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from broker_trio.runtime.disk import RealDisk
from broker_trio.runtime.real_file import HOT_WINDOW_BYTES


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RealDisk]:
    disk = RealDisk(str(tmp_path))
    yield disk
    disk.close()


@pytest.fixture
def without_nowait(tmp_path: Path) -> RealDisk:
    return RealDisk(str(tmp_path), nowait=False)


def drop_from_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def test_cold_reads_block_only_a_thread(disk: RealDisk, tmp_path: Path) -> None:
    """A page that is not cached is WouldBlock on the loop and is read by the awaited call."""
    if not disk.nowait_supported:
        pytest.skip("this file system cannot tell cold pages")
    file = disk.open("log", create=True)
    data = os.urandom(1 << 20)
    file.write_at(0, data)
    assert file.read_at_nowait(0, 1 << 20) == data
    drop_from_cache(tmp_path / "log")
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(0, 1 << 20)
    assert await file.read_at(0, 1 << 20) == data
    assert file.read_at_nowait(0, 1 << 20) == data


async def test_a_cold_tail_is_not_the_end_of_the_file(disk: RealDisk, tmp_path: Path) -> None:
    """Where only the head of a range is cached the answer is WouldBlock, never a short read."""
    if not disk.nowait_supported:
        pytest.skip("this file system cannot tell cold pages")
    file = disk.open("log", create=True)
    file.write_at(0, bytes(8 << 20))
    drop_from_cache(tmp_path / "log")
    assert len(file.read_at_blocking(0, 1)) == 1  # brings in the first pages only
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(0, 8 << 20)


def test_the_probe_leaves_nothing_behind(disk: RealDisk) -> None:
    """Asking the file system for RWF_NOWAIT leaves an empty folder empty."""
    assert disk.list("") == []


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no tmpfs here")
def test_tmpfs_is_found_out_at_start() -> None:
    """On tmpfs, which refuses the flag, the disk says so and its appends are still read hot."""
    root = f"/dev/shm/broker-trio-test-{os.getpid()}"
    disk = RealDisk(root)
    try:
        assert not disk.nowait_supported
        file = disk.open("log", create=True)
        file.write_at(0, b"abc")
        assert file.read_at_nowait(0, 9) == b"abc"
    finally:
        disk.unlink("log")
        os.rmdir(root)


def test_own_appends_are_hot_without_nowait(without_nowait: RealDisk) -> None:
    """Consecutive appends are read on the loop, together and at the end; older bytes are not."""
    without_nowait.open("log", create=True).write_at(0, b"before")
    file = without_nowait.open("log")
    file.write_at(6, b"one,")
    file.write_parts_at(10, [b"two", b"!"])
    assert file.read_at_nowait(6, 8) == b"one,two!"
    assert file.read_at_nowait(10, 99) == b"two!"
    assert file.read_at_nowait(14, 1) == b""
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(5, 2)


def test_the_hot_window_is_bounded(without_nowait: RealDisk) -> None:
    """What was appended longer ago than the window holds goes to a thread."""
    file = without_nowait.open("log", create=True)
    chunk = bytes(1 << 20)
    for at in range(0, HOT_WINDOW_BYTES + len(chunk), len(chunk)):
        file.write_at(at, chunk)
    assert len(file.read_at_nowait(len(chunk), 9)) == 9
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(len(chunk) - 1, 9)


def test_writes_elsewhere_move_the_window(without_nowait: RealDisk) -> None:
    """A write that does not append begins a new window; truncation ends it."""
    file = without_nowait.open("log", create=True)
    file.write_at(0, b"0123456789")
    file.write_at(4, b"xy")
    assert file.read_at_nowait(4, 2) == b"xy"
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(3, 3)
    file.truncate(5)
    file.truncate(8)
    with pytest.raises(trio.WouldBlock):
        file.read_at_nowait(4, 2)


def test_folders_of_unknown_past_are_synced_up_to_the_root(tmp_path: Path) -> None:
    """Folders made by an earlier process are made durable once by this one, then no more."""
    RealDisk(str(tmp_path)).open("a/b/c/x", create=True)
    disk = RealDisk(str(tmp_path))
    assert list(disk._folders_to_sync("a/b/c")) == ["a/b/c", "a/b", "a", ""]
    trio.run(disk.sync_folder, "a/b")
    assert list(disk._folders_to_sync("a/b/c")) == ["a/b/c", "a/b"]
    trio.run(disk.sync_folder, "a/b/c")
    assert list(disk._folders_to_sync("a/b/c")) == ["a/b/c"]
    disk.open("a/new/x", create=True)
    assert list(disk._folders_to_sync("a/new")) == ["a/new", "a"]


def test_other_processes_see_the_lock(disk: RealDisk, tmp_path: Path) -> None:
    """A program that locks byte 0 the POSIX way, as a Java broker does, is kept out."""
    disk.lock()
    program = (
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'r+') as file:\n"
        "    try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)\n"
        "    except OSError: print('kept out')\n"
    )
    command = [sys.executable, "-S", "-E", "-c", program, str(tmp_path / "lock")]
    assert subprocess.check_output(command, text=True) == "kept out\n"
    disk.close()
    assert subprocess.check_output(command, text=True) == ""


def test_errors_name_the_file(disk: RealDisk, tmp_path: Path) -> None:
    """An error from a system call on a descriptor carries the path that people know."""
    file = disk.open("a/log", create=True)
    file.close()
    with pytest.raises(OSError, match=str(tmp_path / "a/log")):
        file.write_at(0, b"x")


def test_the_root_is_made_with_its_parents(tmp_path: Path) -> None:
    """A new root appears, closed to others than owner and group."""
    disk = RealDisk(str(tmp_path / "x" / "y"))
    assert disk.root == str(tmp_path / "x" / "y")
    assert (tmp_path / "x" / "y").stat().st_mode & 0o007 == 0


def test_a_disk_is_as_full_as_df_says(disk: RealDisk, tmp_path: Path) -> None:
    """Blocks reserved for others count neither as used nor as free; 1 % of slack: it moves."""
    ours, known = disk.usage(), shutil.disk_usage(tmp_path)
    assert abs(1 - ours.free / ours.total - known.used / (known.used + known.free)) < 0.01
