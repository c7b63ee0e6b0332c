"""What makes the index survive a crash: `broker_trio/index.cbor`, replaced whole by each flush.

A put changes a slot in place, anywhere in 20 MB. If such writes reached the disk in any order, a
power loss would leave buckets whose chains are broken, and Apache's answer is to throw the newest
file away, days of keys. So slots are written only out of a journal that is already durable:

    flush   1  fsync the index files         items put since the last flush; slots applied then
            2  replace the journal, durably  header and changed slots, and up to where in the log
            3  write its slots and header    to the page cache; the next flush's step 1 syncs them

After a crash the files hold the slots of some journals, all no newer than the one on disk; writing
its slots once more gives exactly the state of its `physical_end`. The log is dispatched again from
there. Items behind the journal's count are cut off first.

A journal is void where somebody else wrote since (Apache's broker ran on the store): then the
header of some file has bytes that are neither those from before the journal nor the journal's (a
power loss may leave a mixture, since step 3 is not synced). Files that it knows and that are
missing were deleted by hand; at the front they were expired. `index_start.py` decides what then.

Nothing that the journal on disk counts on is destroyed before the next one is durable: items and
files that a cut takes back stay where they are until step 3.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from broker_trio.store.index_file import HEADER, Header, IndexFile
from broker_trio.store.index_slots import Changes, packed, unpacked

INDEX_JOURNAL_PATH: Final = "broker_trio/index.cbor"


class JournalFile(msgspec.Struct, frozen=True):
    """One file's header, and slots with their values: big-endian i32, in the same order."""

    name: str
    header: bytes
    slots: bytes
    values: bytes


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the index when every record before `physical_end` was in it.

    `headers` are those in the files before it, by name, oldest first; `files` is what changed;
    `dropped` are names of files that go.
    """

    physical_end: int = 0
    headers: dict[str, bytes] = {}
    files: list[JournalFile] = []
    dropped: list[str] = []


def journal_file(name: str, header: Header, changes: Changes) -> JournalFile:
    """A file's part of the journal."""
    return JournalFile(name, HEADER.pack(*header), *packed(changes))


def is_whole(journal: Journal, files: Sequence[IndexFile]) -> bool:
    """Whether the items that the journal counts on are there: each file's last one. Blocks."""
    by_name = {file.name: file for file in files}
    return all(
        by_name[part.name].ends_with(Header._make(HEADER.unpack(part.header)))
        for part in journal.files
        if part.name in by_name
    )


def is_ours(journal: Journal, files: Sequence[IndexFile], slots: int, items: int) -> bool:
    """Whether nobody else wrote to these files since the journal."""
    if not all(_fits(part, slots, items) for part in journal.files):
        return False
    after = {part.name: part.header for part in journal.files}
    for file in files:
        old = journal.headers.get(file.name, b"")
        found, new = HEADER.pack(*file.applied), after.get(file.name, old)
        if len(old) != len(found) or any(
            byte not in pair for byte, pair in zip(found, zip(old, new, strict=True), strict=True)
        ):
            return False
    return True


def first_missing(journal: Journal, files: Sequence[IndexFile]) -> str | None:
    """The oldest file that should be there and is not; None where all are."""
    there = {file.name for file in files}
    oldest = files[0].name if files else ""
    return next(
        (name for name in sorted(journal.headers) if name > oldest and name not in there), None
    )


def replay(journal: Journal, files: Sequence[IndexFile]) -> None:
    """Give the files the journal's state. Blocks; raises `OSError`."""
    by_name = {file.name: file for file in files}
    for part in journal.files:
        file = by_name.get(part.name)
        if file is not None:
            file.header = Header._make(HEADER.unpack(part.header))
            file.load_slots()
            file.set_slots(unpacked(part.slots), unpacked(part.values))
            file.cut_items()


def _fits(part: JournalFile, slots: int, items: int) -> bool:
    if len(part.header) != HEADER.size or len(part.slots) != len(part.values):
        return False
    item_count = Header._make(HEADER.unpack(part.header)).item_count
    changed = unpacked(part.slots)
    in_range = not changed or 0 <= min(changed) <= max(changed) < slots
    return 1 <= item_count <= items and in_range
