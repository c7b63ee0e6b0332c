"""What a ledger's file tells: records of those who wrote messages, and of those who read them back.

    Writing ─ Attempt 1 ─ Attempt 2 ─ Outcome 1 ─ Attempt 3 ─ Outcome 3 ─ Outcome 2 ─ … ─ Ended
    Reading ─ Found ─ Found ─ Damaged ─ QueueRead ─ Found ─ … ─ QueueRead ─ Ended

A record belongs to the heading (`Writing` or `Reading`) that stands before it in its file; a file
may hold several. An attempt is on record before its message leaves, its outcome after; an attempt
without an outcome is one of unknown outcome, and a heading without `Ended` is one that was killed.

Times are pairs: `t` in seconds, monotonic and comparable under one heading only, and `wall_ms`
since 1970, comparable as far as the hosts' clocks agree. A record in its file is a map with short
text keys; a kind or a member that a newer version added is passed over by an older one only if the
version in the heading is not higher.
"""

from typing import Any, Final, Literal

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire import cbor

VERSION: Final = 1
TEXT_MAX: Final = 512  # characters of a cause: an error may quote a whole remark

How = Literal["ok", "fail", "unknown"]


class Base(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="k"):
    """A record. Members that have their default value are left out in the file."""


class Writing(Base, frozen=True, kw_only=True, tag="writing"):
    """A writer begins. `writer` is in every message it sends; no other run has the same."""

    writer: str
    topic: str
    t: float
    wall_ms: int
    version: int = VERSION
    rate: float = 0.0  # messages a second that it aims at; 0 where it sends as fast as it can
    tasks: int = 1
    attempts: int = 1  # how often the client itself may try to send one message
    resend: bool = False  # and whether also after a try that may have been stored
    size: int = 0  # bytes of each body


class Attempt(Base, frozen=True, kw_only=True, tag="a"):
    """Message `n` (1, 2, …) is about to leave. Its `wall_ms` is what the message was born with."""

    n: int
    t: float
    wall_ms: int


class Outcome(Base, frozen=True, kw_only=True, tag="o"):
    """How attempt `n` ended, and when. Place, durability and epoch are the receipt's.

    ok       acknowledged: the promise holds
    fail     refused, or it never left: not stored
    unknown  no answer, or stored less durably than promised: stored, or not
    """

    n: int
    t: float
    wall_ms: int
    how: How
    broker: str = ""
    queue: int = -1
    offset: int = -1
    durability: str = ""
    epoch: int = 0
    tries: int = 1  # how often the client sent it; 0 where it does not say
    cause: str = ""  # a word or two: errors are counted by it
    why: str = ""  # the error's text


class Ended(Base, frozen=True, kw_only=True, tag="end"):
    """A writer or reader that came to its end; `why` is "done" or what stopped it."""

    t: float
    wall_ms: int
    why: str = "done"


class Reading(Base, frozen=True, kw_only=True, tag="reading"):
    """A reader begins to read every queue of the topic from its first message to its last."""

    reader: str
    topic: str
    t: float
    wall_ms: int
    version: int = VERSION


class Found(Base, frozen=True, kw_only=True, tag="f"):
    """One numbered message, whole, as it lies in its queue."""

    broker: str
    queue: int
    offset: int
    writer: str
    n: int
    store_ms: int = 0


class Damaged(Base, frozen=True, kw_only=True, tag="x"):
    """A numbered message whose bytes are not those that were sent."""

    broker: str
    queue: int
    offset: int
    why: str


class QueueRead(Base, frozen=True, kw_only=True, tag="q"):
    """A queue is done: messages `low` ≤ offset < `high` were there when it was begun.

    `complete` False: not all of them could be read, `why` says what was in the way.
    """

    broker: str
    queue: int
    low: int
    high: int
    found: int = 0
    foreign: int = 0  # messages of other programs
    holes: int = 0  # offsets that the broker counts and does not give
    complete: bool = True
    why: str = ""


Record = Writing | Attempt | Outcome | Ended | Reading | Found | Damaged | QueueRead
Heading = Writing | Reading


def encode_record(record: Record) -> bytes:
    """The record as it stands in a file, without its frame."""
    return cbor.dumps(msgspec.to_builtins(record))


def decode_record(data: bytes) -> Record:
    """Raises RemoteProtocolError for what is no record of this version."""
    value: Any = cbor.loads(data)
    try:
        record: Record = msgspec.convert(value, Record)
    except msgspec.ValidationError as problem:
        raise RemoteProtocolError(f"no record of a ledger: {problem}") from None
    if isinstance(record, Writing | Reading) and record.version > VERSION:
        raise RemoteProtocolError(
            f"a ledger of version {record.version}, this program reads up to {VERSION}"
        )
    return record
