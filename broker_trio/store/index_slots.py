"""Slots of the index file that is written, in memory: 16,384 of them in a chunk of 64 KiB.

    values    the newest item of each bucket, as the next put has to see it
    changed   slots that differ from the newest journal, with their values

A chunk comes into being with its first key; a file of 5,000,000 slots has 306 of them. `is_new`:
the file holds nothing but zeros there, so that the chunk can be written without reading it first.
"""

from array import array
from sys import byteorder
from typing import Final, final

CHUNK_SHIFT: Final = 14
CHUNK: Final = 1 << CHUNK_SHIFT
SLOT_BYTES: Final = 4

Changes = list[dict[int, int]]
"""Slot → value, one dict a chunk."""


@final
class SlotChunk:
    """One chunk. `values` go by a slot's number within it, `changed` by its number in the file."""

    __slots__ = ("changed", "is_new", "values")

    def __init__(self) -> None:
        self.values = array("i", bytes(CHUNK * SLOT_BYTES))
        self.changed: dict[int, int] = {}
        self.is_new = True

    @classmethod
    def decode(cls, data: bytes, item_count: int) -> "SlotChunk":
        """A chunk as a file has it; what is no item of that file becomes 0."""
        chunk = cls()
        values = swapped(array("i", data.ljust(CHUNK * SLOT_BYTES, b"\0")))
        if max(values) >= item_count or min(values) < 0:
            values = array("i", [value if 0 < value < item_count else 0 for value in values])
        chunk.values, chunk.is_new = values, False
        return chunk

    def take(self) -> dict[int, int]:
        """What changed; nothing has from now on."""
        taken, self.changed = self.changed, {}
        return taken


def patched(old: bytes, changed: dict[int, int], first: int) -> bytes:
    """A chunk's bytes with some slots changed; `first` is its first slot, `old` empty for zeros."""
    values = swapped(array("i", old.ljust(CHUNK * SLOT_BYTES, b"\0")))
    for slot, value in changed.items():
        values[slot - first] = value
    return swapped(values).tobytes()


def packed(changes: Changes) -> tuple[bytes, bytes]:
    """Slots and values as a journal has them: big-endian i32, in the same order."""
    slots, values = array("i"), array("i")
    for changed in changes:
        slots.extend(changed)
        values.extend(changed.values())
    return swapped(slots).tobytes(), swapped(values).tobytes()


def unpacked(data: bytes) -> "array[int]":
    """The numbers of one side of `packed`."""
    return swapped(array("i", data))


def swapped(numbers: "array[int]") -> "array[int]":
    """Between this machine's order and the file's; changes its argument."""
    if byteorder == "little":
        numbers.byteswap()
    return numbers
