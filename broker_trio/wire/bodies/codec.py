"""Bodies as bytes: fastjson's dialect of JSON both ways, and CBOR between our own programs.

                      JSON and ROCKETMQ commands                       CBOR commands
    map with int keys standard {"0":1}  or, where Apache writes it      {0: 1}
                      so, bare {0:1}
    MessageQueue key  {{"brokerName":"b","queueId":0,"topic":"T"}:7}    {["T", "b", 0]: 7}
                      always: Go tells the two dialects apart by whether
                      the text is valid JSON
    None              left out                                         left out

A body of 16 MiB can say so little (`[],[],[],…`) that its values take a gigabyte. Containers and
commas are counted before anything is built of them, and a request may have fewer than an answer or
a file: whoever sends it is a stranger, and others wait while it is read.

Reading tries msgspec first, which makes structs in C; what it refuses, and what it would read in
another way than Apache (`$ref`, numbers beyond a long), goes the tolerant way: `json_text.loads`
and `shape.read`. Anything that is no such body ends in a `RemoteProtocolError`.
"""

import re
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import MessageQueue
from broker_trio.wire import cbor, json_text
from broker_trio.wire.bodies import shape
from broker_trio.wire.command import Serialize

T = TypeVar("T", bound=msgspec.Struct)

REQUEST_VALUES_MAX: Final = 100_000
"""Values that a request's body may be made of, where they are not read straight into structs."""
REQUEST_BYTES_MAX: Final = 4 << 20

_ODD_NUMBER: Final = re.compile(rb"[0-9](?:[0-9]{18}|[eE][+0-9])")


def decode_request(data: bytes, serialize: Serialize, kind: type[T]) -> T:
    """The body of a stranger's request. Raises `RemoteProtocolError`, for its size as well."""
    if len(data) > REQUEST_BYTES_MAX:
        raise RemoteProtocolError(f"a body of {len(data)} bytes, limit {REQUEST_BYTES_MAX}")
    return decode_body(data, serialize, kind, values_max=REQUEST_VALUES_MAX)


def decode_body(
    data: bytes, serialize: Serialize, kind: type[T], *, values_max: int = json_text.VALUES_MAX
) -> T:
    """The body as `kind`, a struct. Raises `RemoteProtocolError`."""
    if serialize == Serialize.CBOR:
        return _read(kind, cbor.loads(data, values_max))
    if not shape.has_keys(kind, MessageQueue) and not _is_odd(data):
        try:
            value: T = _decoder(kind).decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass  # the tolerant way says what is wrong with it, if anything is
        else:
            if shape.is_open(kind):
                shape.check_open(value)
            return value
    return _read(kind, json_text.loads(data, values_max))


def encode_body(value: msgspec.Struct, serialize: Serialize, *, bare_keys: bool = False) -> bytes:
    """The struct as a body; `bare_keys` writes numeric map keys without quotes."""
    if serialize == Serialize.CBOR:
        return cbor.dumps(shape.write(value, _queue_as_array))
    kind = type(value)
    if bare_keys or shape.has_keys(kind, MessageQueue):
        return json_text.dumps_java(value)
    if not shape.has_keys(kind, int):  # msgspec cannot sort members beside integer keys
        text = msgspec.json.encode(value, order="sorted")
        if b"null" not in text:  # no None, and no text that says so
            return text
    return msgspec.json.encode(shape.write(value, str))


def _is_odd(data: bytes) -> bool:
    return b"$ref" in data or _ODD_NUMBER.search(data) is not None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


def _read(kind: type[T], tree: object) -> T:
    value: T = shape.read(kind, tree)
    return value


def _queue_as_array(queue: MessageQueue) -> tuple[str, str, int]:
    return queue.topic, queue.broker_name, queue.queue_id
