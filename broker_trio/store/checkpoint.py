"""Apache's two small files that say how far the store was safe: `checkpoint` and `abort`.

`checkpoint`, 4096 bytes, big-endian:

    0  i64 physicMsgTimestamp    store time of the newest record whose bytes are on disk
    8  i64 logicsMsgTimestamp    the same for consume queues
    16 i64 indexMsgTimestamp     the same for the index
    24 i64 masterFlushedOffset   0 here: pairs of ours keep epochs in files of their own
    32 i64 confirmPhyOffset      0 here, for the same reason
    40 … zeros

`abort` is there while the store is open; whoever finds it knows that the last stop was not clean.

We recover by offsets of our own (`watermarks.py`) and write these for Apache's broker, which after
an unclean stop starts its scan three seconds before the smallest of the timestamps. They must
therefore never be ahead of the disk: each is set from what an fsync covered. Reading a store that
Apache wrote we go back a minute more for consume queues: it sets logicsMsgTimestamp when it
*appends* units, and fsyncs a quiet queue only every 60 s (storage.md §14.1 row 2).
"""

import errno
import struct
from typing import Final, NamedTuple

from broker_trio.runtime.seams import Disk

CHECKPOINT_PATH: Final = "checkpoint"
ABORT_PATH: Final = "abort"
CHECKPOINT_BYTES: Final = 4096
APACHE_MARGIN_MS: Final = 3_000 + 60_000
"""Apache's own margin, and its interval of thorough consume-queue flushes."""

_FIELDS: Final = struct.Struct(">5q")


class Checkpoint(NamedTuple):
    """Store timestamps in milliseconds; 0 where nothing is known."""

    log_ms: int = 0
    queues_ms: int = 0
    index_ms: int = 0
    master_flushed_offset: int = 0
    confirm_offset: int = 0

    @property
    def scan_from_ms(self) -> int:
        """A record stored at or before this was on disk in every file; negative for never."""
        return min(self.log_ms, self.queues_ms) - APACHE_MARGIN_MS


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The file's 4096 bytes."""
    return _FIELDS.pack(*checkpoint).ljust(CHECKPOINT_BYTES, b"\0")


def load_checkpoint(disk: Disk) -> Checkpoint | None:
    """None where there is no such file, or none with plausible content."""
    if not disk.exists(CHECKPOINT_PATH):
        return None
    data = disk.read(CHECKPOINT_PATH)
    if len(data) < _FIELDS.size:
        return None
    checkpoint = Checkpoint(*_FIELDS.unpack_from(data))
    return checkpoint if min(checkpoint) >= 0 else None


async def save_checkpoint(disk: Disk, checkpoint: Checkpoint) -> None:
    """Durable once it returns. Raises `OSError`."""
    await disk.replace(CHECKPOINT_PATH, encode_checkpoint(checkpoint))


def stopped_cleanly(disk: Disk) -> bool:
    """Whether the last owner of this store closed it."""
    return not disk.exists(ABORT_PATH)


async def mark_open(disk: Disk, process_id: int) -> None:
    """From here on a stop is unclean until `mark_closed`. Raises `OSError`.

    Where a full disk has no room for the number, an empty file says as much: a name needs no block.
    """
    try:
        await disk.replace(ABORT_PATH, str(process_id).encode())
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        disk.open(ABORT_PATH, create=True).close()
        await disk.sync_folder("")


async def mark_closed(disk: Disk) -> None:
    """Everything is on disk: the next start need not look for damage. Raises `OSError`."""
    disk.unlink(ABORT_PATH)
    await disk.sync_folder("")
