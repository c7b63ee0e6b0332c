"""Apache's classic replication framing (DefaultHAService): bytes in, pieces and reports out.

    slave  ─▶ master   | i64 end of my log |              again and again; only the newest counts
    master ─▶ slave    | i64 offset | i32 size | size bytes of the log |     size 0: a sign of life

No handshake, no identity, no checksum: what must be sure is checked above, against the log itself.
A chunk's bytes are handed on as they come, so that its claimed size costs no memory.

The first error is final, as in frame.py: a stream that broke its framing has no next frame.
"""

from struct import Struct
from typing import Final, NamedTuple, final

from broker_trio.model.errors import RemoteProtocolError

CHUNK_BYTES: Final = 32 << 10
"""What a master sends at once; Apache's `haTransferBatchSize`."""
HEARTBEAT_S: Final = 5.0  # Apache's `haSendHeartbeatInterval`
SILENCE_S: Final = 20.0  # Apache's `haHousekeepingInterval`: then either end closes

_HEAD: Final = Struct(">qi")
_REPORT: Final = Struct(">q")
HEAD_BYTES: Final = _HEAD.size
REPORT_BYTES: Final = _REPORT.size

Buffer = bytes | bytearray | memoryview


class Piece(NamedTuple):
    """Bytes of the log from `offset` on; empty = the master lives and would go on there."""

    offset: int
    data: bytes


def encode_head(offset: int, size: int) -> bytes:
    """What stands in front of a chunk, or is a sign of life where `size` is 0."""
    return _HEAD.pack(offset, size)


def encode_report(end: int) -> bytes:
    """A slave's word on where its log ends."""
    return _REPORT.pack(end)


@final
class Chunks:
    """The slave's incoming half. Buffered: less than one head, and what one read brought."""

    def __init__(self, segment_bytes: int) -> None:
        """`segment_bytes`: of a segment, which no chunk can be larger than."""
        self._segment_bytes = segment_bytes
        self._buffer = bytearray()
        self._offset = self._left = 0  # of the chunk that is being received
        self._broken = False

    def receive_data(self, data: Buffer) -> None:
        """Take what a read brought. Call `next_piece` until None before the next call."""
        self._buffer += data

    def next_piece(self) -> Piece | None:
        """The next bytes or sign of life, or None: feed me more. Raises `RemoteProtocolError`."""
        if self._broken:
            raise RemoteProtocolError("the stream's framing was broken before")
        buffer = self._buffer
        if not self._left:
            if len(buffer) < HEAD_BYTES:
                return None
            offset, size = _HEAD.unpack_from(buffer)
            if offset < 0 or not 0 <= size <= self._segment_bytes:
                self._broken = True
                raise RemoteProtocolError(
                    f"a chunk of {size} bytes at {offset}, allowed are 0 to {self._segment_bytes}"
                )
            del buffer[:HEAD_BYTES]
            if not size:
                return Piece(offset, b"")
            self._offset, self._left = offset, size
        if not buffer:
            return None
        piece = Piece(self._offset, bytes(buffer[: self._left]))
        size = len(piece.data)
        del buffer[:size]
        self._offset += size
        self._left -= size
        return piece


@final
class Reports:
    """The master's incoming half. Buffered: less than one report."""

    def __init__(self) -> None:
        self._kept = b""

    def receive_data(self, data: Buffer) -> int | None:
        """The newest whole report, if this read brought one. Raises `RemoteProtocolError`."""
        data = self._kept + bytes(data)
        whole = len(data) - len(data) % REPORT_BYTES
        self._kept = data[whole:]
        if not whole:
            return None
        end: int = _REPORT.unpack_from(data, whole - REPORT_BYTES)[0]
        if end < 0:
            raise RemoteProtocolError(f"a report of {end}: a log ends at 0 or behind it")
        return end
