"""What the dispatcher hands to every derived structure: one stored record, without its body.

The live path makes entries from what it has just appended, recovery makes them by decoding the log;
a test compares both, field by field, so that derived data has one builder and one input.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """A record that readers may see once it is dispatched."""

    topic: str
    queue_id: int
    queue_offset: int
    physical_offset: int
    size: int
    tags_code: int  # Java hash of TAGS, or the deliver time in SCHEDULE_TOPIC_XXXX
    store_timestamp_ms: int
    sys_flag: int
    properties: bytes  # as stored: name 0x01 value 0x02 …


class Appended(NamedTuple):
    """Where a record (or the first of a batch) went."""

    physical_offset: int
    queue_offset: int
    size: int
    store_timestamp_ms: int
    next_physical_offset: int  # the log's end after it: what a durable answer waits for
