"""The answer to a send, as bytes: what a broker writes most often.

A send's answer has the same fields each time and four values that vary, so that its ROCKETMQ form
is put together from prepared pieces: 1.3 µs instead of 4 (2-core x86, CPython 3.11). The other two
serialisations go the general way.

    msgId  queueId  queueOffset  transactionId | MSG_REGION  TRACE_ON  durability
    vary                                       | prepared once for each durability
"""

from functools import lru_cache
from struct import Struct
from typing import Final, final

from broker_trio.model.codes import LanguageCode, ResponseCode
from broker_trio.wire.command import OUR_VERSION, RESPONSE, Command, Ext, Serialize
from broker_trio.wire.serialize import encode_parts

_HEAD: Final = Struct(
    ">iIhBhiiii"
)  # total, word, code, language, version, opaque, flag, remark, ext
_FIXED_SIZE: Final = 21  # of the header before the entries: code … ext size
_ROCKETMQ_WORD: Final = int(Serialize.ROCKETMQ) << 24
_MESSAGE_ID: Final = b"\x00\x05msgId"
_QUEUE_OFFSET: Final = b"\x00\x0bqueueOffset"
_TRANSACTION_ID: Final = b"\x00\x0dtransactionId"
_SIZES: Final = tuple(size.to_bytes(4, "big") for size in range(256))


def _size(count: int) -> bytes:
    return _SIZES[count] if count < 256 else count.to_bytes(4, "big")


def _entry(name: str, value: str) -> bytes:
    raw, text = name.encode(), value.encode()
    return len(raw).to_bytes(2, "big") + raw + _size(len(text)) + text


@lru_cache(4096)
def _queue_id(queue_id: int) -> bytes:
    return _entry("queueId", str(queue_id))


@final
class SendSuffix:
    """The fields that are equal in all answers of one durability."""

    __slots__ = ("ext", "raw")

    def __init__(self, region: str, trace_on: str, durability: str, epoch: str = "") -> None:
        """`epoch`: of a broker in a pair, in which the answer was given."""
        self.ext: Ext = {"MSG_REGION": region, "TRACE_ON": trace_on, "durability": durability}
        if epoch:
            self.ext["epoch"] = epoch
        self.raw = b"".join(_entry(name, str(value)) for name, value in self.ext.items())


@final
class SendReply:
    """One answer before its request's opaque and serialisation are known; call it with those."""

    __slots__ = ("_message_id", "_queue_id", "_queue_offset", "_suffix", "_uniq_key")

    def __init__(
        self,
        suffix: SendSuffix,
        message_id: str,
        queue_id: int,
        queue_offset: int,
        uniq_key: bytes,
    ) -> None:
        self._suffix, self._message_id = suffix, message_id
        self._queue_id, self._queue_offset, self._uniq_key = queue_id, queue_offset, uniq_key

    def ext(self, durability: str | None = None) -> Ext:
        """The fields as the general way wants them; `durability` in place of the suffix's own."""
        ext: Ext = {
            "msgId": self._message_id,
            "queueId": str(self._queue_id),
            "queueOffset": str(self._queue_offset),
            **self._suffix.ext,
        }
        if self._uniq_key:
            ext["transactionId"] = self._uniq_key.decode("utf-8", "replace")
        if durability is not None:
            ext["durability"] = durability
        return ext

    def __call__(self, request: Command) -> list[bytes]:
        """The whole frame, with code 0."""
        if request.serialize is not Serialize.ROCKETMQ:
            answer = Command(ResponseCode.SUCCESS, request.opaque, RESPONSE, self.ext())
            answer.serialize = request.serialize
            return encode_parts(answer, b"")
        message_id = self._message_id.encode()
        queue_offset = b"%d" % self._queue_offset
        parts = [
            _MESSAGE_ID,
            _size(len(message_id)),
            message_id,
            _queue_id(self._queue_id),
            _QUEUE_OFFSET,
            _SIZES[len(queue_offset)],
            queue_offset,
            self._suffix.raw,
        ]
        uniq_key = self._uniq_key
        if uniq_key:
            parts += (_TRANSACTION_ID, _size(len(uniq_key)), uniq_key)
        entries = b"".join(parts)
        size = len(entries)
        head = _HEAD.pack(
            4 + _FIXED_SIZE + size,
            _ROCKETMQ_WORD | _FIXED_SIZE + size,
            0,
            LanguageCode.PYTHON,
            OUR_VERSION,
            request.opaque,
            RESPONSE,
            0,
            size,
        )
        return [head + entries]
