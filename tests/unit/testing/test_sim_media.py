"""What a power loss may leave of a file and of its names, drawn many times."""

import random

from broker_trio.testing.sim_media import SECTOR, Content, Inode, Names

DRAWS = 300


def after_power_loss(seed: int, inode: Inode) -> bytes:
    inode.lose_power(random.Random(seed))
    assert inode.dirty == []
    return inode.cache.read(0, 1 << 20)


def outcomes(make: object) -> set[bytes]:
    assert callable(make)
    return {after_power_loss(seed, make()) for seed in range(DRAWS)}


def written(*writes: tuple[int, bytes]) -> Inode:
    inode = Inode(0)
    for position, data in writes:
        inode.write(position, data)
    return inode


def test_flushed_bytes_stay() -> None:
    """No draw loses what a flush made durable, whatever was written after it."""

    def make() -> Inode:
        inode = written((0, b"a" * 1000))
        inode.flushed(inode.number)
        inode.write(1000, b"b" * 1000)
        return inode

    found = outcomes(make)
    assert all(one.startswith(b"a" * 1000) for one in found)
    assert len(found) > 3


def test_a_flush_covers_only_what_was_written_before_it() -> None:
    """A write that came while the flush was under way is not durable with it."""
    inode = written((0, b"first"))
    began = inode.number
    inode.write(5, b"second")
    inode.flushed(began)
    assert inode.durable.read(0, 99) == b"first"


def test_long_writes_are_torn_at_sectors() -> None:
    """A write of three sectors can arrive in every combination of its sectors."""
    sectors = {
        one[at : at + SECTOR] != bytes(SECTOR)
        for one in outcomes(lambda: written((0, b"x" * 3 * SECTOR)))
        if len(one) == 3 * SECTOR
        for at in range(0, 3 * SECTOR, SECTOR)
    }
    combinations = {
        tuple(one[at : at + 1] == b"x" for at in (0, SECTOR, 2 * SECTOR))
        for one in outcomes(lambda: written((0, b"x" * 3 * SECTOR)))
    }
    assert sectors == {True, False}
    assert len(combinations) == 8


def test_sectors_are_never_torn_inside() -> None:
    """A sector is old or new as a whole, and never holds a later write without an earlier one."""
    for one in outcomes(lambda: written((0, b"a" * 100), (100, b"b" * 100), (50, b"c" * 10))):
        whole = one.ljust(200, b"\0")
        later = whole[100:200].strip(b"\0")
        assert whole[0:50] in {b"a" * 50, bytes(50)}
        if later:
            assert whole[0:50] == b"a" * 50
        if whole[50:60] == b"c" * 10:
            assert later == b"b" * len(later)


def test_writes_are_reordered() -> None:
    """Of two writes far apart the later one can be there without the earlier one."""
    found = outcomes(lambda: written((0, b"first"), (SECTOR * 4, b"second")))
    assert any(one[:5] == bytes(5) and one.endswith(b"second") for one in found)


def test_a_size_can_come_without_its_data() -> None:
    """A file can have grown over bytes that never arrived: they read as zeros."""
    assert b"\0" * 10 in outcomes(lambda: written((0, b"0123456789")))


def test_truncated_bytes_do_not_come_back_under_later_ones() -> None:
    """Where a shrink was lost the old tail is there, and nothing later stands beyond the cut."""

    def make() -> Inode:
        inode = written((0, b"old" * 700))
        inode.flushed(inode.number)
        inode.resize(SECTOR)
        inode.write(SECTOR, b"new" * 400)
        return inode

    for one in outcomes(make):
        if len(one) == 2100:
            assert one == b"old" * 700
        else:
            assert one[:SECTOR] == (b"old" * 700)[:SECTOR]
            assert not one[SECTOR:].strip(b"newz\0")


def test_a_failed_flush_forgets_its_pages() -> None:
    """After EIO the cache reads as before, and a flush that then succeeds brings nothing back."""
    lost = 0
    for seed in range(20):
        inode = written((0, b"x" * 2000))
        inode.flush_failed(inode.number, random.Random(seed))
        assert inode.cache.read(0, 9999) == b"x" * 2000
        inode.flushed(inode.number)
        lost += inode.durable.read(0, 9999) != b"x" * 2000
    assert lost > 5


def test_content_beyond_its_data_is_zero() -> None:
    """Content reads zeros up to its size and nothing beyond, and forgets what it was cut of."""
    content = Content()
    content.put(2, b"ab")
    content.resize(6)
    assert content.read(0, 9) == b"\0\0ab\0\0"
    content.resize(3)
    content.resize(5)
    assert content.read(1, 9) == b"\0a\0\0"


def names_after(make: object) -> set[tuple[str, ...]]:
    assert callable(make)
    found = set()
    for seed in range(DRAWS):
        names = make()
        names.lose_power(random.Random(seed))
        found.add(tuple(sorted(names.now)))
    return found


def test_unsynced_names_are_kept_or_lost_apart() -> None:
    """Two creations in unsynced folders survive in all four combinations."""

    def make() -> Names:
        names = Names()
        names.change({"a/x": Inode(0)})
        names.change({"b/y": Inode(0)})
        return names

    assert names_after(make) == {(), ("a/x",), ("b/y",), ("a/x", "b/y")}


def test_a_synced_folder_keeps_its_names() -> None:
    """Syncing a folder keeps its creations and removals, and says nothing of other folders."""

    def make() -> Names:
        names = Names()
        names.change({"a/x": Inode(0)})
        names.change({"a/y": Inode(0)})
        names.change({"a/x": None})
        names.synced("a")
        names.change({"b/z": Inode(0)})
        return names

    assert names_after(make) == {("a/y",), ("a/y", "b/z")}


def test_a_rename_is_atomic() -> None:
    """After a power loss a renamed file has its old name or its new one, never both or none."""

    def make() -> Names:
        names = Names()
        names.change({"a/x": (inode := Inode(0))})
        names.synced("a")
        names.change({"a/x": None, "b/x": inode})
        names.synced("a")
        return names

    assert names_after(make) == {("a/x",), ("b/x",)}


def test_a_half_synced_rename_cannot_undo_a_later_name() -> None:
    """A new file under the renamed one's old name stays when the rename becomes durable later."""
    names = Names()
    names.change({"a/x": (old := Inode(0))})
    names.synced("a")
    names.change({"a/x": None, "b/x": old})
    names.change({"a/x": (new := Inode(0))})
    names.synced("a")
    names.synced("b")
    assert names.durable == {"a/x": new, "b/x": old}
