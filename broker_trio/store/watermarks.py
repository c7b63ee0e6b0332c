"""How far each kind of file was known to be on disk: `broker_trio/watermarks.cbor`.

    0 ....... indexed_durable ... queues_durable ....... log_flushed ............ end of the log
              index files         consume queues         the commit log           (page cache)

Physical offsets, each the end of a record or the start of a segment. A mark moves only after the
fsync that makes it true, and the file is replaced only after the mark moved; a crash in between
costs a longer scan and nothing else. Recovery starts reading at the lowest of them: its time
depends on `checkpoint_interval_ms` and not on the size of the log.

The file is optional and may be stale: Apache's broker may have run on this store since, cut the
log after a crash and grown it again over our marks. `anchor` finds that out: it is the last record
below `log_flushed`, with a checksum of all its bytes. Where the log has something else at that
place the file is void, and recovery goes by Apache's rules. `checkpoint_ms` tells whether somebody
else wrote at all: a checkpoint that claims more than we ever wrote into it is not ours.
"""

from typing import Final
from zlib import crc32

import msgspec

from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot

WATERMARKS_PATH: Final = "broker_trio/watermarks.cbor"


class Anchor(msgspec.Struct, frozen=True):
    """The newest record below a mark, as the log had it."""

    physical_offset: int
    size: int
    crc: int  # CRC-32 of the whole record
    store_timestamp_ms: int


class Watermarks(msgspec.Struct, frozen=True, kw_only=True):
    """The marks; `truncated_at` is where the last recovery cut the log, -1 for never."""

    log_flushed: int = 0
    queues_durable: int = 0
    indexed_durable: int = 0
    truncated_at: int = -1
    anchor: Anchor | None = None
    checkpoint_ms: int = 0  # physicMsgTimestamp of the checkpoint that goes with these marks

    @property
    def lowest(self) -> int:
        return min(self.log_flushed, self.queues_durable, self.indexed_durable)

    def cut(self, physical_end: int) -> "Watermarks":
        """What still holds once the log ends at `physical_end`."""
        anchor = self.anchor
        if anchor is not None and anchor.physical_offset + anchor.size > physical_end:
            anchor = None
        return Watermarks(
            log_flushed=min(self.log_flushed, physical_end),
            queues_durable=min(self.queues_durable, physical_end),
            indexed_durable=min(self.indexed_durable, physical_end),
            truncated_at=physical_end,
            anchor=anchor,
            checkpoint_ms=self.checkpoint_ms,
        )


def load_watermarks(disk: Disk) -> Watermarks | None:
    """None where they are missing or damaged."""
    return snapshot.load(disk, WATERMARKS_PATH, Watermarks)


async def save_watermarks(disk: Disk, marks: Watermarks) -> None:
    """Durable once it returns. Raises `OSError`."""
    await snapshot.save(disk, WATERMARKS_PATH, marks)


def checksum(record: bytes) -> int:
    """What an anchor keeps of its record."""
    return crc32(record)
