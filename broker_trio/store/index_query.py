"""Finding a key: from the newest index file to the oldest, each bucket from its newest item.

    slot ─▶ item 91 ─▶ item 40 ─▶ item 7 ─▶ 0      newer to older: offsets and times descend

A file counts if its span of store times meets the query's. A chain is followed until enough
records were found, it ends, or its items are older than the query. Items know their time to the
second only, so whoever reads the records compares again; and the topic and key, since other keys
share the hash.

`STEPS_MAX` bounds what one query may cost whatever the keys are: somebody could send many keys of
one bucket, and times that match none of them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import trio

from broker_trio.store.index_file import IndexFile, Item

STEPS_MAX: Final = 65_536  # items, 0.2 s when they are in memory
STEPS_AT_ONCE: Final = 64
OFFSET_MAX: Final = 1 << 63


class Window(NamedTuple):
    """What is asked for: at most so many, stored in [begin_ms, end_ms], before offset `below`."""

    count_max: int
    begin_ms: int
    end_ms: int
    below: int = OFFSET_MAX

    def meets(self, file: IndexFile) -> bool:
        """Whether the file may hold such records."""
        return file.header.begin_ms <= self.end_ms and self.begin_ms <= file.header.end_ms

    def holds(self, item: Item, stored_ms: int) -> bool:
        """Whether an item stored in the second that begins at `stored_ms` may be such a record."""
        in_time = stored_ms + 999 >= self.begin_ms and stored_ms <= self.end_ms
        return in_time and item.physical_offset < self.below


async def find(files: Sequence[IndexFile], key_hash: int, window: Window) -> list[int]:
    """Physical offsets with that hash, ascending: the newest ones in the window."""
    found: set[int] = set()
    steps = STEPS_MAX
    for file in reversed(list(files)):
        if window.meets(file):
            steps = await _follow(file, key_hash, window, found, steps)
        if len(found) >= window.count_max or steps <= 0 or file.header.begin_ms < window.begin_ms:
            break
    return sorted(found)


async def _follow(
    file: IndexFile, key_hash: int, window: Window, found: set[int], steps: int
) -> int:
    """One bucket of one file; how many steps are left."""
    try:
        number = await file.newest(key_hash)
        while steps > 0 and len(found) < window.count_max:
            item = await file.item(number)
            if item is None:
                break
            stored_ms = file.header.begin_ms + item.seconds * 1000
            if item.key_hash == key_hash and window.holds(item, stored_ms):
                found.add(item.physical_offset)
            if item.previous >= number or stored_ms + 999 < window.begin_ms:
                break
            number = item.previous
            steps -= 1
            if steps % STEPS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
    except FileNotFoundError:
        return steps  # expired while we looked: so are its records
    return steps
