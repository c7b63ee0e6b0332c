"""What replicas, nameservers and the command line say to each other about who owns a pair.

    26001 PAIR_CONFIRM  owner ─▶ witness, member    Question ─▶ Verdict   yes = exactly this epoch
    26002 PAIR_RECORD   owner ─▶ witness, replica   Telling  ─▶ Verdict   yes = taken, or held
    26003 PAIR_STATUS   anyone ─▶ anyone            Naming   ─▶ Status
    26004 PAIR_ORDER    commands ─▶ replica         Order    ─▶ Status    or a refusal with a reason
    26005 PAIR_ADOPT    commands ─▶ witness         Adoption ─▶ Status

Requests and answers are CBOR maps in the body, whatever the frame's header is written in: only our
own programs speak these. A record that makes no sense (`malformed`) ends in `RemoteProtocolError`.
"""

from collections.abc import Iterator
from typing import Final, Literal, TypeVar

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import Epoch, Record, Risk, Status, StoreId, malformed
from broker_trio.wire import cbor

QUESTION_BYTES_MAX: Final = 16 << 10
TABLE_BYTES_MAX: Final = 8 << 20  # a witness's whole table: 4 096 names
VALUES_MAX: Final = 200_000
NAME_CHARS_MAX: Final = 255

T = TypeVar("T", bound=msgspec.Struct)

Verb = Literal[
    "promote", "degrade", "restore", "pause", "resume", "handover", "force", "fence", "rejoin"
]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Is exactly this the epoch that you hold?"""

    broker_name: str
    epoch: Epoch


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """This is the record that I made."""

    broker_name: str
    record: Record


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Yes or no, why not, and what the answering side holds. `store_id`: a replica's own."""

    yes: bool
    why: str = ""
    record: Record | None = None
    store_id: StoreId = ""


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """Whose status. A witness asked with `table` gives every name's record."""

    broker_name: str
    table: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A witness's whole knowledge."""

    forgot: bool
    records: dict[str, Record] = {}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a command asks of a replica. `above`: the highest counter that it has seen.

    `end`: of a handover, where the paused owner's log ends. `unleased`: of a forced record, the
    host that the operator says is off: nobody is asked for a lease then.
    """

    broker_name: str
    verb: Verb
    above: int = 0
    follower: StoreId = ""
    end: int = 0
    risk: Risk | None = None
    unleased: bool = False


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says is known, to a witness that forgot."""

    records: dict[str, Record]


def encode(value: msgspec.Struct) -> bytes:
    """The body of a request or an answer."""
    return cbor.dumps(msgspec.to_builtins(value))


def decode(data: bytes, kind: type[T], *, bytes_max: int = QUESTION_BYTES_MAX) -> T:
    """The value of a body. Raises `RemoteProtocolError`, for its size and its records as well."""
    if len(data) > bytes_max:
        raise RemoteProtocolError(f"a body of {len(data)} bytes, limit {bytes_max}")
    try:
        value = msgspec.convert(cbor.loads(data, VALUES_MAX), kind)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"{kind.__name__}: {error}") from error
    for name in names_of(value):
        if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
            raise RemoteProtocolError(f"{kind.__name__}: {name[:40]!r} is no broker name")
    for record in records_of(value):
        if problem := malformed(record):
            raise RemoteProtocolError(f"{kind.__name__}: a record is malformed: {problem}")
    return value


def names_of(value: msgspec.Struct) -> Iterator[str]:
    """The broker names in it."""
    if isinstance(value, Question | Telling | Order):
        yield value.broker_name
    if isinstance(value, Table | Adoption):
        yield from value.records


def records_of(value: msgspec.Struct) -> Iterator[Record]:
    """The records in it that somebody made: all but the empty one of a new store."""
    if isinstance(value, Telling):
        yield value.record
    if isinstance(value, Table | Adoption):
        yield from value.records.values()
    if isinstance(value, Verdict | Status) and value.record is not None:
        yield value.record
