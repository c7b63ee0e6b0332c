"""What is remembered of every queue between two runs: `broker_trio/queues.cbor`.

    array(2) [ crc, map { physical_end, min_physical,
                          queues:  map { topic → n * (i32 queue id, i64 min, i64 max, i64 end) },
                          deleted: map { topic → n * (i32 queue id, i64 next) },
                          deleted_ends: map { topic → physical offset } } ]

`queues` says how far each queue was on disk when everything below the physical offset
`physical_end` was. After a clean stop that is all of it, and a store with ten thousand queues opens
without opening their files. After any other stop it tells which queues lost units: files that end
before the mark, or that are gone.

`deleted` holds the next offset of queues whose topic was deleted. A topic of the same name goes on
there, so that consumer offsets that somebody still has never name other messages (Apache begins at
0 again). They are kept for as long as the log has anything that was stored before the deletion,
that is before `deleted_ends`: as long as any other message of that time.

The rows are packed because a snapshot is taken on the loop: 10,000 queues take some milliseconds.
The file is optional: without it queues are searched for their ends.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from broker_trio.store.consume_queue import ConsumeQueue

QUEUE_MARKS_PATH: Final = "broker_trio/queues.cbor"

_ROW: Final = Struct(">iqqq")
_DELETED_ROW: Final = Struct(">iq")


class Mark(NamedTuple):
    """How far a queue was: unit offsets [min, max), and the end of its last record."""

    min_offset: int
    max_offset: int
    physical_end: int


class Deleted(NamedTuple):
    """A deleted topic: next offsets by queue id, and the physical offset that ends its records."""

    next_offsets: dict[int, int]
    log_end: int


class QueueMarks(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content; `min_physical` is the log's begin that the min offsets go with."""

    physical_end: int = 0
    min_physical: int = 0
    queues: dict[str, bytes] = {}
    deleted: dict[str, bytes] = {}
    deleted_ends: dict[str, int] = {}


def pack_marks(marks: dict[int, Mark]) -> bytes:
    """Rows of one topic by queue id."""
    return b"".join(_ROW.pack(queue_id, *marks[queue_id]) for queue_id in sorted(marks))


def unpack_marks(data: bytes) -> dict[int, Mark]:
    """The rows of one topic; a cut or senseless row is left out, its queue is searched instead."""
    whole = len(data) - len(data) % _ROW.size
    rows = {row[0]: Mark(*row[1:]) for row in _ROW.iter_unpack(data[:whole])}
    return {
        queue_id: mark
        for queue_id, mark in rows.items()
        if 0 <= mark.min_offset <= mark.max_offset and mark.physical_end >= 0 <= queue_id
    }


def marks_of(queues: Iterable[ConsumeQueue]) -> bytes:
    """The rows of one topic's queues as they are now."""
    return pack_marks(
        {
            queue.queue_id: Mark(queue.min_offset, queue.max_offset, queue.physical_end)
            for queue in queues
        }
    )


def pack_deleted(next_offsets: dict[int, int]) -> bytes:
    """Next offsets of one deleted topic by queue id."""
    return b"".join(_DELETED_ROW.pack(*row) for row in sorted(next_offsets.items()))


def unpack_deleted(data: bytes) -> dict[int, int]:
    """Next offset by queue id."""
    whole = len(data) - len(data) % _DELETED_ROW.size
    return {
        queue_id: offset
        for queue_id, offset in _DELETED_ROW.iter_unpack(data[:whole])
        if queue_id >= 0 <= offset
    }
