"""Bytes in, whole commands out, however they were cut. Knows no socket, no clock and no task.

     0        4        8                      8+H            4+total
    | total  | S | H  |  header data (H)     |  body        |  next frame …

A socket read usually brings tens of whole frames and perhaps the beginning of one more. So the
bytes of a read are kept as they came, with a position in them, and sliced: header fields and body
are each copied once. Only what remains of an unfinished frame moves into a bytearray, to which
later reads are added in place; a frame that arrives byte by byte costs no more than linear time.

Lengths are judged as soon as their bytes are there, before anything is stored for them. The
first error is final: the stream has lost its framing, so every later call raises the same again.
"""

from struct import Struct
from typing import Final, final

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire.command import Command
from broker_trio.wire.serialize import DECODERS, FRAME_SIZE_MAX

# Apache knows no such limit. Properties of 32767 bytes may take four times that as JSON escapes.
HEADER_SIZE_MAX: Final = 256 * 1024

_HEAD: Final = Struct(">iI")
_WORD_MAX: Final = (len(DECODERS) << 24) - 1
_TOTAL: Final = Struct(">i")


@final
class FrameBuffer:
    """The incoming half of one connection. Buffered: at most one unfinished frame and one read."""

    __slots__ = ("_at", "_data", "_failure", "_frame_size_max", "_header_size_max")

    def __init__(
        self, frame_size_max: int = FRAME_SIZE_MAX, header_size_max: int = HEADER_SIZE_MAX
    ) -> None:
        """Both limits in bytes; `frame_size_max` counts the length field too."""
        self._frame_size_max = frame_size_max
        self._header_size_max = header_size_max
        self._data: bytes | bytearray = b""
        self._at = 0
        self._failure: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """Bytes received and not yet given out."""
        return len(self._data) - self._at

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take what a read brought. Never parses and never raises.

        Call `next_command` until it answers None before the next call: that keeps the bound.
        """
        if self._failure is not None:
            return
        if self._at >= len(self._data):
            self._data = data if type(data) is bytes else bytes(data)
        elif type(self._data) is bytearray:
            del self._data[: self._at]
            self._data += data
        else:
            self._data = bytearray(memoryview(self._data)[self._at :])
            self._data += data
        self._at = 0

    def window(self) -> tuple[bytes | bytearray, int]:
        """What was received and where it goes on: for who cuts frames that it knows by itself."""
        return self._data, self._at

    def skip(self, size: int) -> None:
        """`size` bytes of the window were whole frames, and are dealt with."""
        self._at += size
        assert self._at <= len(self._data), "skipped what was not there"
        if self._at == len(self._data):
            self._data, self._at = b"", 0

    def next_command(self) -> Command | None:
        """The next whole command, or None: feed me more. Raises RemoteProtocolError, for good."""
        if self._failure is not None:
            raise self._failure
        data, at = self._data, self._at
        left = len(data) - at
        if left < 8:
            if left >= 4:
                self._check(_TOTAL.unpack_from(data, at)[0], 0)
            return None
        total, word = _HEAD.unpack_from(data, at)
        header_size = word & 0xFFFFFF
        if (
            word > _WORD_MAX
            or not header_size + 4 <= total <= self._frame_size_max - 4
            or header_size > self._header_size_max
        ):
            self._check(total, word)
        end = at + 4 + total
        if end > len(data):
            return None
        middle = at + 8 + header_size
        body = data[middle:end] if type(data) is bytes else bytes(memoryview(data)[middle:end])
        try:
            command: Command = DECODERS[word >> 24](data, at + 8, middle, body)
        except RemoteProtocolError as failure:
            self._fail(failure)
            raise
        if end == len(data):
            self._data, self._at = b"", 0
        else:
            self._at = end
        return command

    def _check(self, total: int, word: int) -> None:
        """Raises what is wrong with a frame's first fields; returns where nothing is."""
        serialize, header_size = word >> 24, word & 0xFFFFFF
        if not 4 <= total <= self._frame_size_max - 4:
            text = f"a frame of {total} bytes, allowed are 4 to {self._frame_size_max - 4}"
        elif serialize >= len(DECODERS):
            text = f"unknown header serialisation {serialize}"
        elif header_size > self._header_size_max:
            text = f"a header of {header_size} bytes, at most {self._header_size_max} are allowed"
        elif header_size + 4 > total:
            text = f"a header of {header_size} bytes in a frame of {total}"
        else:
            return
        failure = RemoteProtocolError(text)
        self._fail(failure)
        raise failure

    def _fail(self, failure: RemoteProtocolError) -> None:
        self._failure = failure
        self._data, self._at = b"", 0
