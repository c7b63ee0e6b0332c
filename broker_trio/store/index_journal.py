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

A journal is void where somebody else wrote since (Apache's broker ran on the store): a file that it
names is missing, or has more items than it knows, or there is a newer file with a header. Then the
rules of `Index.recover` for foreign files hold.
"""

from array import array
from collections.abc import Sequence
from sys import byteorder
from typing import Final

import msgspec

from broker_trio.store.index_file import HEADER, Header, IndexFile

INDEX_JOURNAL_PATH: Final = "broker_trio/index.cbor"


class JournalFile(msgspec.Struct, frozen=True):
    """One file's header, and slots with their values: big-endian i32, in the same order."""

    name: str
    header: bytes
    slots: bytes
    values: bytes


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the index when every record before `physical_end` was in it.

    `newest` names the newest file, "" for none; `files` are those that changed, oldest first.
    """

    physical_end: int = 0
    newest: str = ""
    files: list[JournalFile] = []


def journal_file(name: str, header: Header, changed: dict[int, int]) -> JournalFile:
    """A file's part of the journal."""
    return JournalFile(
        name,
        HEADER.pack(*header),
        _packed(array("i", changed)),
        _packed(array("i", changed.values())),
    )


def replay(journal: Journal, files: Sequence[IndexFile], slots: int, items: int) -> bool:
    """Give the files the journal's state, the newest one ready to be written. Blocks.

    False, and nothing changed, where it does not fit them: somebody else wrote since.
    """
    by_name = {file.name: file for file in files}
    parts = [part for part in journal.files if files and part.name >= files[0].name]
    for part in parts:  # older ones: retention dropped them since
        file = by_name.get(part.name)
        if file is None or not _fits(part, file, slots, items):
            return False
    for part in parts:
        file = by_name[part.name]
        file.header = Header._make(HEADER.unpack(part.header))
        file.load_slots()
        file.set_slots(_unpacked(part.slots), _unpacked(part.values))
        file.cut_items()
    if files:
        files[-1].load_slots()
    return True


def _fits(part: JournalFile, file: IndexFile, slots: int, items: int) -> bool:
    if len(part.header) != HEADER.size or len(part.slots) != len(part.values):
        return False
    item_count = Header._make(HEADER.unpack(part.header)).item_count
    changed = _unpacked(part.slots)
    return (
        file.header.item_count <= item_count <= items
        and (not changed or 0 <= min(changed) <= max(changed) < slots)
    )  # fmt: skip


def _packed(numbers: "array[int]") -> bytes:
    if byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(data: bytes) -> "array[int]":
    numbers = array("i", data)
    if byteorder == "little":
        numbers.byteswap()
    return numbers
