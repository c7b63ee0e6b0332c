"""What every Disk must do, whoever implements it: run by `tests/contract` over all of them.

A suite subclasses `DiskContract` with a `disk` fixture. The cases use the seam only, so they say
nothing about crashes, which only the simulator has, or about speed. `read_anyhow` is how programs
read: hot if possible, else awaited. Each case opens with the claim that it proves.
"""

import errno

import pytest
import trio
import trio.testing

from broker_trio.runtime.seams import Buffer, Disk, File


async def read_anyhow(file: File, position: int, size: int) -> bytes:
    """The hot read, and the cold one where that would block."""
    try:
        return file.read_at_nowait(position, size)
    except trio.WouldBlock:
        return await file.read_at(position, size)


class DiskContract:
    """Subclass it, with a fixture `disk` that gives an empty Disk."""

    async def test_all_reads_agree(self, disk: Disk) -> None:
        """Three ways to read give the same bytes, short only at the end of the file."""
        file = disk.open("log", create=True)
        file.write_at(0, b"abcdef")
        cases = ((0, 6, b"abcdef"), (4, 9, b"ef"), (6, 1, b""), (9, 3, b""))
        for position, size, expected in cases:
            assert await read_anyhow(file, position, size) == expected
            assert await file.read_at(position, size) == expected
            assert file.read_at_blocking(position, size) == expected

    async def test_a_claimed_size_costs_nothing(self, disk: Disk) -> None:
        """Asking for far more than there is gives what is there and allocates no more than that."""
        file = disk.open("log", create=True)
        file.write_at(0, b"abc")
        huge = 1 << 45
        assert await read_anyhow(file, 1, huge) == b"bc"
        assert await file.read_at(1, huge) == b"bc"
        assert file.read_at_blocking(1, huge) == b"bc"

    async def test_a_gap_reads_as_zeros(self, disk: Disk) -> None:
        """A write beyond the end leaves zeros between, and overwriting changes only its range."""
        file = disk.open("log", create=True)
        file.write_at(3, b"xyz")
        file.write_at(4, memoryview(b"-"))
        assert await read_anyhow(file, 0, 6) == b"\0\0\0x-z"

    async def test_parts_are_written_as_one(self, disk: Disk) -> None:
        """More parts than one system call takes, of every buffer type, arrive joined, in order."""
        parts: list[Buffer] = [b"%d," % n for n in range(3000)]
        parts += [bytearray(b"end"), memoryview(b"!"), b""]
        file = disk.open("log", create=True)
        file.write_parts_at(5, parts)
        file.write_parts_at(0, [])
        assert await read_anyhow(file, 5, 1 << 16) == b"".join(parts)

    async def test_truncate_both_ways(self, disk: Disk) -> None:
        """Truncating sets the size; what was cut off reads as zeros when the file grows again."""
        file = disk.open("log", create=True)
        file.write_at(0, b"abcdef")
        file.truncate(2)
        assert file.size() == 2
        file.truncate(4)
        assert file.size() == 4
        assert await read_anyhow(file, 0, 9) == b"ab\0\0"

    async def test_reserve_keeps_content(self, disk: Disk) -> None:
        """Reserving makes room without changing a byte, and never shrinks."""
        file = disk.open("log", create=True)
        file.write_at(0, b"abc")
        file.reserve(0, 2)
        assert file.size() == 3
        file.reserve(3, 4096)
        assert file.size() == 4099
        assert await read_anyhow(file, 0, 5) == b"abc\0\0"

    async def test_reserve_without_room_is_enospc(self, disk: Disk) -> None:
        """Asking for more than the disk has is `ENOSPC`, and neither file nor disk changed.

        The size is beyond what a file may have: an implementation that tries instead of asking
        fails by EFBIG here, and does not fill the machine that runs the test.
        """
        file = disk.open("log", create=True)
        file.write_at(0, b"abc")
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- errno below
            file.reserve(0, 1 << 60)
        assert caught.value.errno == errno.ENOSPC
        assert file.size() == 3
        assert await read_anyhow(file, 0, 3) == b"abc"

    async def test_flush_returns(self, disk: Disk) -> None:
        """A flush of a written file and of a clean one both succeed, several at once."""
        file = disk.open("log", create=True)
        file.write_at(0, b"abc")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(file.flush)
        await file.flush()

    async def test_closed_files_say_so(self, disk: Disk) -> None:
        """Every call on a closed file is `OSError(EBADF)`; closing twice is allowed."""
        file = disk.open("log", create=True)
        file.close()
        file.close()
        for call in (
            file.size,
            lambda: file.write_at(0, b"x"),
            lambda: file.write_parts_at(0, [b"x"]),
            lambda: file.read_at_nowait(0, 1),
            lambda: file.truncate(1),
            lambda: file.reserve(0, 1),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011 -- errno below
                call()
            assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError, match="Bad file descriptor"):
            await file.flush()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await file.read_at(0, 1)

    def test_open_creates_only_when_told(self, disk: Disk) -> None:
        """A missing file is an error, unless created, with its folders; creating keeps content."""
        with pytest.raises(FileNotFoundError):
            disk.open("a/b/log")
        assert not disk.exists("a")
        disk.open("a/b/log", create=True).write_at(0, b"abc")
        assert disk.open("a/b/log", create=True).size() == 3
        assert disk.open("a/b/log").path == "a/b/log"
        assert disk.exists("a/b/log")
        assert disk.exists("a/b")

    def test_folders_are_not_files(self, disk: Disk) -> None:
        """Opening, reading or measuring a folder, or a file below a file, fails by its kind."""
        disk.open("a/log", create=True)
        for call in (disk.open, disk.read, disk.stat):
            with pytest.raises(IsADirectoryError):
                call("a")
        with pytest.raises(NotADirectoryError):
            disk.open("a/log/x", create=True)
        with pytest.raises(NotADirectoryError):
            disk.list("a/log")
        assert not disk.exists("a/log/x")

    def test_list_is_sorted_and_shallow(self, disk: Disk) -> None:
        """A folder's listing has its files and folders, sorted, and nothing deeper or elsewhere."""
        for path in ("q/2", "q/10", "q/t/0", "r"):
            disk.open(path, create=True)
        assert disk.list("q") == ["10", "2", "t"]
        assert disk.list("") == ["q", "r"]
        assert disk.list("none") == []

    @pytest.mark.parametrize("path", ["", "/x", "a//b", "a/", "./a", "a/../b", "..", "a\0b"])
    async def test_paths_stay_inside(self, disk: Disk, path: str) -> None:
        """A name that is not plain and relative is a ValueError wherever it is given."""
        disk.open("x", create=True)
        for call in (
            lambda: disk.open(path, create=True),
            lambda: disk.exists(path),
            lambda: disk.stat(path),
            lambda: disk.read(path),
            lambda: disk.rename("x", path),
            lambda: disk.rename(path, "y"),
            lambda: disk.unlink(path),
        ):
            with pytest.raises(ValueError, match="path"):
                call()
        with pytest.raises(ValueError, match="path"):
            await disk.replace(path, b"")
        assert disk.list("") == ["x"]

    async def test_long_names_are_refused(self, disk: Disk) -> None:
        """A component of 255 bytes works; one more is `OSError(ENAMETOOLONG)`."""
        await disk.replace("n" * 251, b"")  # replace writes beside it, with four more bytes
        disk.open("n" * 255, create=True)
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- errno below
            disk.open("n" * 256, create=True)
        assert caught.value.errno == errno.ENAMETOOLONG

    async def test_replace_is_whole(self, disk: Disk) -> None:
        """Replacing makes folders and the file, takes over all of its content, leaves no other."""
        await disk.replace("config/topics.json", b"a long first version")
        await disk.replace("config/topics.json", bytearray(b"second"))
        assert disk.read("config/topics.json") == b"second"
        assert disk.list("config") == ["topics.json"]

    async def test_replace_keeps_call_order(self, disk: Disk) -> None:
        """Of replaces started one after the other the last one's data stays."""
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(disk.replace, "x", b"%d" % n)
                await trio.testing.wait_all_tasks_blocked()
        assert disk.read("x") == b"4"

    async def test_cancelled_replace_is_old_or_new(self, disk: Disk) -> None:
        """A replace that is cancelled leaves the old content or the new, and the next one works."""
        await disk.replace("x", b"old")
        with trio.CancelScope() as scope:
            scope.cancel()
            await disk.replace("x", b"new")
        assert disk.read("x") in {b"old", b"new"}
        await disk.replace("x", b"newer")
        assert disk.read("x") == b"newer"

    async def test_rename_replaces_its_target(self, disk: Disk) -> None:
        """Renaming moves a file over another one, across folders; open files follow."""
        file = disk.open("a/x", create=True)
        file.write_at(0, b"moved")
        disk.open("b/y", create=True)
        disk.rename("a/x", "b/y")
        assert disk.read("b/y") == b"moved"
        assert not disk.exists("a/x")
        file.write_at(5, b"!")
        assert disk.read("b/y") == b"moved!"
        await disk.sync_folder("a")
        await disk.sync_folder("b")
        with pytest.raises(FileNotFoundError):
            disk.rename("a/x", "b/z")

    def test_folders_are_renamed_whole(self, disk: Disk) -> None:
        """Renaming a folder takes along what is in it, and refuses a folder that is not empty."""
        for path in ("a/x/1", "a/y", "b/z"):
            disk.open(path, create=True)
        with pytest.raises(OSError, match="not empty"):
            disk.rename("a", "b")
        disk.rename("a", "c")
        assert (disk.list(""), disk.list("c"), disk.list("c/x")) == (["b", "c"], ["x", "y"], ["1"])

    async def test_unlinked_files_stay_readable(self, disk: Disk) -> None:
        """Unlinking takes the name at once and the bytes only from those who open it later."""
        file = disk.open("a/x", create=True)
        file.write_at(0, b"abc")
        disk.unlink("a/x")
        assert await file.read_at(0, 3) == b"abc"
        with pytest.raises(FileNotFoundError):
            disk.read("a/x")
        with pytest.raises(FileNotFoundError):
            disk.unlink("a/x")

    def test_only_empty_folders_are_unlinked(self, disk: Disk) -> None:
        """A folder can be removed once nothing is in it."""
        disk.open("a/b/x", create=True)
        with pytest.raises(OSError, match="not empty"):
            disk.unlink("a/b")
        disk.unlink("a/b/x")
        disk.unlink("a/b")
        assert disk.list("a") == []

    async def test_sync_folder_wants_a_folder(self, disk: Disk) -> None:
        """The root and any folder can be synced; one that is not there is an error."""
        disk.open("a/b/x", create=True)
        await disk.sync_folder("a/b")
        await disk.sync_folder("")
        with pytest.raises(FileNotFoundError):
            await disk.sync_folder("none")

    def test_stat_tells_size_and_time(self, disk: Disk) -> None:
        """Size and a plausible time of the last write, in milliseconds."""
        disk.open("x", create=True).write_at(0, b"abc")
        found = disk.stat("x")
        assert found.size == 3
        assert found.modified_ms > 1_600_000_000_000

    def test_usage_is_plausible(self, disk: Disk) -> None:
        """Free space is a part of the whole."""
        usage = disk.usage()
        assert 0 <= usage.free <= usage.total
        assert usage.total > 0

    def test_the_page_cache_lives_on(self, disk: Disk) -> None:
        """Its life has a name, and keeps it while nothing is lost."""
        assert disk.cache_life
        assert disk.cache_life == str(disk.cache_life)

    def test_one_process_has_the_lock(self, disk: Disk) -> None:
        """The lock is taken once, and its file says what Apache's says."""
        disk.lock()
        with pytest.raises(BlockingIOError):
            disk.lock()
        assert disk.read("lock") == b"lock"
