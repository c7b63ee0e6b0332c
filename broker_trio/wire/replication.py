"""The replication stream between our own brokers: bytes in, messages out, however they were cut.

     0        4        8    9
    | length | crc32  |kind| payload            |  next frame …
              covers kind and payload ─────────┘     length counts what lies behind it

    slave                                     master
      │ ◀────────────────── CHALLENGE nonce ── │   limits of a stranger: small frames only
      │ ── HELLO who, nonce, proof ──────────▶ │
      │ ◀─────────────────── WELCOME proof ─── │   both know the key, nobody sent it
      │ ── ATTACH claim, epoch list, crc ────▶ │
      │ ◀── ATTACHED record, common, crc ───── │   or REFUSED reason, and the end
      │ ◀── CHUNK … METADATA … ─────────────── │
      │ ── ACK … METADATA … ─────────────────▶ │

CHUNK and ACK are fixed layouts, because there are many; the rest is CBOR. Each of those two names
its epoch. A store id is 32 hex digits and travels as 16 bytes, none as zeros.

The first error is final, as in frame.py: a stream that broke its framing has no next frame.
"""

import hashlib
import hmac
from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar, final
from zlib import crc32

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire import cbor

VERSION: Final = 1
STRANGER_BYTES_MAX: Final = 2 << 10  # of a frame before its sender proved that it knows the key
CHUNK_BYTES_MAX: Final = 1 << 20
FRAME_BYTES_MAX: Final = CHUNK_BYTES_MAX + (64 << 10)
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
KEY_BYTES_MIN: Final = 16
EPOCHS_MAX: Final = 4096  # lines of an epoch list in one message: the newest ones
NAME_CHARS_MAX: Final = 255

_HEAD: Final = Struct(">IIB")
_CHUNK: Final = Struct(">Q16sqqqqq")
_ACK: Final = Struct(">16sQ16sqq?")
_OFFSET_MAX: Final = 2**63 - 1
_NO_ID: Final = bytes(16)

Buffer = bytes | bytearray | memoryview
Epoch = tuple[int, str]
EpochLine = tuple[int, str, int]
"""(counter, owner, start)"""


class Kind(IntEnum):
    """What a frame is. Numbers are for ever."""

    CHALLENGE = 1
    HELLO = 2
    WELCOME = 3
    ATTACH = 4
    ATTACHED = 5
    REFUSED = 6
    CHUNK = 7
    ACK = 8
    METADATA = 9


class _Body(msgspec.Struct, frozen=True):
    """A message in CBOR: a map by field names; unknown fields are of a later version."""


class Challenge(_Body, frozen=True):
    """The master's first word."""

    version: int
    nonce: bytes


class Hello(_Body, frozen=True):
    """Who a slave is, with the proof that it knows the pair's key."""

    version: int
    cluster: str
    broker_name: str
    replica_id: int
    store_id: str
    nonce: bytes
    proof: bytes


class Welcome(_Body, frozen=True):
    """The master's proof."""

    proof: bytes


class Attach(_Body, frozen=True):
    """What a slave holds. `crc` is of its log's bytes [crc_from, written_end)."""

    settled: Epoch
    promised: Epoch
    epochs: list[EpochLine]
    written_end: int
    fsynced_end: int
    segment_bytes: int
    crc_from: int
    crc: int


class Attached(_Body, frozen=True):
    """Where to go on: the slave cuts at `common` and follows in `epoch`.

    `begin` is the first byte that the master still has; `crc` of [crc_from, common) in its log.
    """

    epoch: Epoch
    record: bytes
    epochs: list[EpochLine]
    common: int
    begin: int
    confirm: int
    crc_from: int
    crc: int


class Rejection(_Body, frozen=True):
    """Why the connection ends; for people."""

    reason: str


class Chunk(NamedTuple):
    """Bytes of the log from `offset` on; empty = a sign of life.

    `confirm`, `end`: the master's; `messages`: about how many lie in [offset, end); `sent_ms`: its
    wall clock.
    """

    epoch: Epoch
    offset: int
    confirm: int
    end: int
    messages: int
    sent_ms: int
    data: bytes


class Ack(NamedTuple):
    """How far a slave's log is written and fsynced.

    `settled`: it counts, for the sender settled this epoch (rule 11); else it is a mere report.
    """

    store_id: str
    epoch: Epoch
    written: int
    fsynced: int
    settled: bool


class Metadata(_Body, frozen=True):
    """A part of a table; `last` of `full` ones replaces the table, else entries change.

    `log_end`: what the sender's log held when it looked. `epoch`: of a slave's offsets, the one
    that they were committed in.
    """

    table: str
    put: dict[str, Any]
    delete: list[str]
    version: tuple[int, int, int]
    full: bool
    last: bool
    log_end: int
    epoch: Epoch = (0, "")


Message = (
    Challenge | Hello | Welcome | Attach | Attached | Rejection | Chunk | Ack | Metadata
)  # fmt: skip
_KINDS: Final[dict[type[_Body], Kind]] = {
    Challenge: Kind.CHALLENGE,
    Hello: Kind.HELLO,
    Welcome: Kind.WELCOME,
    Attach: Kind.ATTACH,
    Attached: Kind.ATTACHED,
    Rejection: Kind.REFUSED,
    Metadata: Kind.METADATA,
}
_TYPES: Final[dict[int, Any]] = {int(kind): body for body, kind in _KINDS.items()}

T = TypeVar("T", bound=_Body)


# -- writing --------------------------------------------------------------------------------------


def _pack_id(store_id: str) -> bytes:
    return bytes.fromhex(store_id) if store_id else _NO_ID


def _unpack_id(raw: bytes) -> str:
    return "" if raw == _NO_ID else raw.hex()


def _frame(kind: Kind, *parts: Buffer) -> list[Buffer]:
    crc, size = crc32(bytes((kind,))), 5
    for part in parts:
        crc = crc32(part, crc)
        size += len(part)
    return [_HEAD.pack(size, crc, kind), *parts]


def encode(body: _Body) -> bytes:
    """One message in CBOR, as a frame."""
    payload = cbor.dumps(msgspec.to_builtins(body, builtin_types=(bytes,)))
    return b"".join(_frame(_KINDS[type(body)], payload))


def encode_chunk(chunk: Chunk) -> list[Buffer]:
    """A chunk as parts to send one behind the other; the log's bytes are not copied."""
    counter, owner = chunk.epoch
    head = _CHUNK.pack(
        counter, _pack_id(owner), chunk.offset, chunk.confirm, chunk.end, chunk.messages,
        chunk.sent_ms,
    )  # fmt: skip
    return _frame(Kind.CHUNK, head, chunk.data)


def encode_ack(ack: Ack) -> bytes:
    counter, owner = ack.epoch
    place = (ack.written, ack.fsynced, ack.settled)
    return b"".join(
        _frame(Kind.ACK, _ACK.pack(_pack_id(ack.store_id), counter, _pack_id(owner), *place))
    )


# -- reading --------------------------------------------------------------------------------------


@final
class ReplicationFrames:
    """The incoming half of one connection. Buffered: at most one unfinished frame and one read."""

    def __init__(self, frame_bytes_max: int = STRANGER_BYTES_MAX) -> None:
        """`frame_bytes_max` counts what lies behind the length; raise it once the peer is known."""
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._at = 0
        self._failure: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        return len(self._buffer) - self._at

    def receive_data(self, data: Buffer) -> None:
        """Take what a read brought. Call `next_message` until None before the next call."""
        if self._failure is None:
            if self._at:
                del self._buffer[: self._at]
                self._at = 0
            self._buffer += data

    def next_message(self) -> Message | None:
        """The next whole message, or None: feed me more. Raises RemoteProtocolError, for good."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._next()
        except RemoteProtocolError as failure:
            self._failure = failure
            self._buffer, self._at = bytearray(), 0
            raise

    def _next(self) -> Message | None:
        buffer, at = self._buffer, self._at
        left = len(buffer) - at
        if left < 4:
            return None
        size = int.from_bytes(buffer[at : at + 4], "big")
        if not 5 <= size <= self.frame_bytes_max:
            raise RemoteProtocolError(
                f"a replication frame of {size} bytes, allowed are 5 to {self.frame_bytes_max}"
            )
        if left < 4 + size:
            return None
        _, crc, kind = _HEAD.unpack_from(buffer, at)
        with memoryview(buffer) as view:
            if crc32(view[at + 8 : at + 4 + size]) != crc:
                raise RemoteProtocolError("a replication frame's checksum does not fit its bytes")
            payload = bytes(view[at + _HEAD.size : at + 4 + size])
        self._at = at + 4 + size
        return _decode(kind, payload)


def _decode(kind: int, payload: bytes) -> Message:
    if kind == Kind.CHUNK:
        return _decode_chunk(payload)
    if kind == Kind.ACK:
        return _decode_ack(payload)
    body = _TYPES.get(kind)
    if body is None:
        raise RemoteProtocolError(f"unknown kind {kind} of replication frame")
    message: Message = _checked(_convert(payload, body))
    return message


def _decode_chunk(payload: bytes) -> Chunk:
    if len(payload) < _CHUNK.size:
        raise RemoteProtocolError(f"a chunk of {len(payload)} bytes")
    counter, owner, offset, confirm, end, messages, sent_ms = _CHUNK.unpack_from(payload)
    data = payload[_CHUNK.size :]
    if not 0 <= offset <= offset + len(data) <= end or confirm < 0 or messages < 0:
        raise RemoteProtocolError(
            f"a chunk [{offset}, {offset + len(data)}) of a log that ends at {end}, "
            f"confirmed {confirm}"
        )
    epoch = (counter, _unpack_id(owner))
    return Chunk(epoch, offset, confirm, end, messages, sent_ms, data)


def _decode_ack(payload: bytes) -> Ack:
    if len(payload) != _ACK.size:
        raise RemoteProtocolError(f"an ack of {len(payload)} bytes")
    store_id, counter, owner, written, fsynced, settled = _ACK.unpack(payload)
    if not 0 <= fsynced <= written:
        raise RemoteProtocolError(f"an ack of {written} written and {fsynced} fsynced bytes")
    epoch = (counter, _unpack_id(owner))
    return Ack(_unpack_id(store_id), epoch, written, fsynced, settled)


def _convert(payload: bytes, body: type[T]) -> T:
    value = cbor.loads(payload)
    try:
        return msgspec.convert(value, body)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as problem:
        raise RemoteProtocolError(f"a bad {body.__name__}: {problem}") from None


def _checked(body: T) -> T:
    """Bounds that types cannot say."""
    problem = ""
    if isinstance(body, Challenge):
        if len(body.nonce) != NONCE_BYTES:
            problem = f"a nonce of {len(body.nonce)} bytes"
    elif isinstance(body, Hello):
        problem = _hello_problem(body)
    elif isinstance(body, Attach):
        problem = _attach_problem(body)
    elif isinstance(body, Attached):
        problem = _attached_problem(body)
    if problem:
        raise RemoteProtocolError(f"a bad {type(body).__name__}: {problem}")
    return body


def _hello_problem(hello: Hello) -> str:
    if len(hello.nonce) != NONCE_BYTES or len(hello.proof) != PROOF_BYTES:
        return f"a nonce of {len(hello.nonce)} and a proof of {len(hello.proof)} bytes"
    if len(hello.cluster) > NAME_CHARS_MAX or len(hello.broker_name) > NAME_CHARS_MAX:
        return "a name that is too long"
    if not 0 <= hello.replica_id < 2**31:
        return f"replica id {hello.replica_id}"
    return "" if _is_id(hello.store_id) and hello.store_id else f"store id {hello.store_id!r}"


def _attach_problem(attach: Attach) -> str:
    epochs = (attach.settled, attach.promised)
    if not all(_is_epoch(one) for one in epochs):
        return "an epoch that is none"
    if not 0 <= attach.crc_from <= attach.written_end <= _OFFSET_MAX:
        return f"a log [{attach.crc_from}, {attach.written_end})"
    if not 0 <= attach.fsynced_end <= attach.written_end or attach.segment_bytes <= 0:
        return f"{attach.fsynced_end} of {attach.written_end} bytes fsynced"
    return _list_problem(attach.epochs)


def _attached_problem(attached: Attached) -> str:
    if not _is_epoch(attached.epoch):
        return "an epoch that is none"
    if not 0 <= attached.crc_from <= attached.common <= _OFFSET_MAX:
        return f"a common log [{attached.crc_from}, {attached.common})"
    if not 0 <= attached.begin <= _OFFSET_MAX or not 0 <= attached.confirm <= _OFFSET_MAX:
        return f"a log from {attached.begin}, confirmed {attached.confirm}"
    return _list_problem(attached.epochs)


def _list_problem(lines: list[EpochLine]) -> str:
    if len(lines) > EPOCHS_MAX:
        return f"{len(lines)} epochs, at most {EPOCHS_MAX} are allowed"
    before: tuple[Epoch, int] = ((-1, ""), 0)
    for counter, owner, start in lines:
        now = ((counter, owner), start)
        if not _is_epoch(now[0]) or now[0] <= before[0] or not before[1] <= start <= _OFFSET_MAX:
            return f"the epoch list does not ascend at {counter} by {owner} from {start}"
        before = now
    return ""


def _is_id(text: str) -> bool:
    return not text or (len(text) == 32 and not text.strip("0123456789abcdef"))


def _is_epoch(epoch: Epoch) -> bool:
    return 0 <= epoch[0] < 2**64 and _is_id(epoch[1])


# -- proofs ---------------------------------------------------------------------------------------


def slave_proof(key: bytes, challenge: Challenge, hello: Hello) -> bytes:
    """What a slave shows: of both nonces and everything that it says of itself."""
    return _proof(key, b"slave", challenge, hello)


def master_proof(key: bytes, challenge: Challenge, hello: Hello) -> bytes:
    """What the master shows in return."""
    return _proof(key, b"master", challenge, hello)


def _proof(key: bytes, role: bytes, challenge: Challenge, hello: Hello) -> bytes:
    said = [
        hello.version, hello.cluster, hello.broker_name, hello.replica_id, hello.store_id
    ]  # fmt: skip
    text = cbor.dumps([role, challenge.version, challenge.nonce, hello.nonce, *said])
    return hmac.new(key, text, hashlib.sha256).digest()


def is_equal(one: bytes, other: bytes) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)
