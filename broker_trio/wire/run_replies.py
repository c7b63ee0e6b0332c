"""The answers to a burst of sends, by the column.

They say what `SendReply` says of one message. All answers of one serialisation whose values have
the same lengths differ in these values alone:

    … opaque … msgId … queueId … queueOffset … | MSG_REGION  TRACE_ON  durability | transactionId …

so one is encoded in the general way, changed in each of the five in turn to see where they stand,
and a Struct puts values and what lies between them together (0.6 µs an answer, where encoding one
takes 1.3 to 4; 2-core x86, CPython 3.11).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Any, Final, final

from broker_trio.wire.command import RESPONSE, Command, Serialize
from broker_trio.wire.send_burst import Cut, Writing
from broker_trio.wire.send_reply import SendReply, SendSuffix
from broker_trio.wire.serialize import encode

_LAYOUTS_MAX: Final = 256


@final
class RunReplies:
    """The answers to a burst that was stored, given out from its first message to its last.

    In as many parts and ways as the messages' fates have.
    """

    __slots__ = (
        "_at", "_begin", "_keys", "_offsets", "_opaque", "_opaques", "_prefix", "_queue_ids",
        "_serialize", "size",
    )  # fmt: skip

    def __init__(
        self,
        serialize: Serialize,
        opaque: Writing,
        cut: Cut,
        queue_offsets: Sequence[int],
        physical_offset: int,
        size: int,
        prefix: bytes,
    ) -> None:
        """`prefix`: of message ids. Records of `size` bytes lie from `physical_offset` on."""
        self._serialize, self._opaque = serialize, opaque
        self._opaques, self._queue_ids, self._keys = cut.opaques, cut.queue_ids, cut.uniq_keys
        self._offsets, self._begin, self.size = queue_offsets, physical_offset, size
        self._prefix, self._at = prefix, 0

    @property
    def end(self) -> int:
        """Where the last record ends."""
        return self._begin + self.size * len(self._opaques)

    def ended_by(self, physical_end: int) -> int:
        """How many of those that are not answered end at or before it."""
        left = len(self._opaques) - self._at
        return min(left, max(0, (physical_end - self._begin) // self.size - self._at))

    def stored(self, suffix: SendSuffix, count: int) -> list[bytes]:
        """The next `count` answers, with code 0."""
        at, end = self._at, self._at + count
        self._at = end
        columns = (
            self._opaques[at:end],
            self._ids(at, end),
            [b"%d" % queue_id for queue_id in self._queue_ids[at:end]],
            [b"%d" % offset for offset in self._offsets[at:end]],
            self._keys[at:end],
        )
        for texts in columns[2:4]:
            if list(map(len, texts)).count(len(texts[0])) != count:
                rows = zip(*columns, strict=True)
                return [self._alike(suffix, [(one,) for one in row])[0] for row in rows]
        return self._alike(suffix, columns)

    def _alike(self, suffix: SendSuffix, columns: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Answers whose values have one length each."""
        sizes = tuple([len(column[0]) for column in columns])
        pack, pieces = _layout(self._serialize, self._opaque.samples, suffix, sizes)
        parts: list[Iterable[bytes]] = [
            columns[piece] if isinstance(piece, int) else repeat(piece) for piece in pieces
        ]
        return list(map(pack, *parts))

    def doubted(self, suffix: SendSuffix, count: int, code: int, remark: str) -> list[bytes]:
        """The next `count` answers, with another code: stored, and not known to be kept."""
        at, end = self._at, self._at + count
        self._at = end
        rows = zip(
            map(self._opaque.number, self._opaques[at:end]),
            self._ids(at, end),
            self._queue_ids[at:end],
            self._offsets[at:end],
            self._keys[at:end],
            strict=True,
        )
        return [_whole(self._serialize, suffix, row, code, remark) for row in rows]

    def _ids(self, at: int, end: int) -> list[bytes]:
        begin, size, prefix = self._begin, self.size, self._prefix
        positions = range(begin + at * size, begin + end * size, size)
        return [b"%b%016X" % (prefix, position) for position in positions]


Row = tuple[int, bytes, int, int, bytes]
"""Opaque, message id, queue id, queue offset, UNIQ_KEY."""


def _whole(
    serialize: Serialize, suffix: SendSuffix, row: Row, code: int = 0, remark: str | None = None
) -> bytes:
    """One answer in the general way."""
    opaque, message_id, queue_id, queue_offset, key = row
    ext = SendReply(suffix, message_id.decode(), queue_id, queue_offset, key).ext()
    return encode(Command(code, opaque, RESPONSE, ext, remark=remark, serialize=serialize))


@lru_cache(_LAYOUTS_MAX)
def _layout(
    serialize: Serialize, opaques: tuple[int, int], suffix: SendSuffix, sizes: tuple[int, ...]
) -> tuple[Callable[..., bytes], tuple[bytes | int, ...]]:
    """(a Struct's pack, what it takes: bytes as they are, or the place of a column).

    `opaques`: two that differ in every byte. `sizes`: of the five values.
    """
    one, two = [
        (opaque, digit * sizes[1], int(digit * sizes[2]), int(digit * sizes[3]), digit * sizes[4])
        for opaque, digit in zip(opaques, (b"1", b"2"), strict=True)
    ]
    frame = _whole(serialize, suffix, one)
    spans: list[tuple[int, int, int]] = []
    for column in range(len(one)):
        row: Any = (*one[:column], two[column], *one[column + 1 :])
        changed = _whole(serialize, suffix, row)
        places = [
            at for at, pair in enumerate(zip(frame, changed, strict=True)) if len({*pair}) > 1
        ]
        assert places[-1] - places[0] + 1 == sizes[column] == len(places)
        spans.append((places[0], places[-1] + 1, column))
    at = 0
    pieces: list[bytes | int] = []
    for begin, end, column in sorted(spans):
        pieces += [frame[at:begin], column]
        at = end
    pieces.append(frame[at:])
    pattern = "".join(
        f"{sizes[piece] if isinstance(piece, int) else len(piece)}s" for piece in pieces
    )
    return Struct(pattern).pack, tuple(pieces)
