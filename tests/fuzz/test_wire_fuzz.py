"""Bytes from anywhere end in a value or in RemoteProtocolError and take no memory of their own.

A short run is part of every test run; `-m fuzz` runs long. A canary, a decoder with one forgotten
check, has to be caught by the same loop: otherwise the loop proves nothing.
"""

import struct
import tracemalloc

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hosts import decode_host, decode_message_id
from broker_trio.wire import cbor, json_text
from broker_trio.wire.batch import decode_batch
from broker_trio.wire.classic_ha import Chunks, Reports, encode_head, encode_report
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.java import tags_code_of, topic_key_hash
from broker_trio.wire.properties import find_property, parse_properties
from broker_trio.wire.record import check_record, decode_records
from broker_trio.wire.replication import FRAME_BYTES_MAX, ReplicationFrames, _decode
from broker_trio.wire.serialize import decode_header, encode
from tests.fuzz.mutate import FuzzerFoundError, hunt
from tests.unit.wire import test_replication as replication
from tests.unit.wire.vectors import (
    BATCH_ITEM,
    JSON_REQUEST_FRAME,
    JSON_RESPONSE_HEADER,
    RECORD_A,
    RECORD_B,
    ROCKETMQ_FRAME,
    STORED_MESSAGE,
)

SEND = {"a": "group", "b": "T", "d": "4", "g": "1700000000000", "i": "TAGS\x01A\x02", "m": "false"}
FRAMES = [
    ROCKETMQ_FRAME,
    JSON_REQUEST_FRAME,
    *(encode(Command(310, 5, 0, dict(SEND), b"body", "r", serialize=kind)) for kind in Serialize),
    ROCKETMQ_FRAME * 3,
]
RECORDS = [
    RECORD_A,
    RECORD_B,
    STORED_MESSAGE,
    RECORD_A + RECORD_B,
    struct.pack(">iI", 9, 0xCBD43194),
]
PROPERTIES = [b"TAGS\x01A\x02KEYS\x01k\x02", b"A\x01\x02\x01", b"UNIQ_KEY\x01" + b"7F" * 16]
TEXTS = [
    JSON_RESPONSE_HEADER,
    b'{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T1"}:{"maxOffset":10}}}',
    b'{0:\'a\',b:[1,-2.5e3,],"c":{"$ref":"$.b"},}',
    b'{"a":{"x":[1]},"b":{"$ref":"$.a.x"},"c":"\\u00e4\\ud83d"}',
    b'{"code":10,"extFields":{"q":3,"t":true},"language":"GO"}',
]
CBORS = [
    cbor.dumps({0: 310, 1: 3, 2: 481, 3: 5, 4: 0, 5: "r", 6: SEND | {"n": 7}}),
    cbor.dumps([1, -1, 1.5, "t", b"b", None, {("T", "b", 0): {"x": [True]}}]),
    bytes.fromhex("9f5f4101ffbf6161c24101ff9fffffd81c80"),
]


def frames(data):
    buffer = FrameBuffer()
    for chunk in (data[: len(data) // 2], data[len(data) // 2 :]):
        buffer.receive_data(chunk)
        while buffer.next_command() is not None:
            pass


def records(data):
    position = int.from_bytes(data[28:36], "big", signed=True)
    for at in (0, 1, len(data) // 2):
        check_record(data, at, position)
    return decode_records(data)


def headers(serialize):
    def decode(data):
        command = decode_header(serialize, data)
        command.serialize = serialize
        encode(command)  # what was read can be written: nothing half-valid got through

    return decode


def properties(data):
    parse_properties(data)
    find_property(data, b"TAGS")
    topic_key_hash("T", data)
    tags_code_of(data)


def identifiers(data):
    decode_message_id(data.decode("latin-1"))


def names_and_texts(data):
    json_text.dumps_java(json_text.loads(data))


def replication_frames(data):
    buffer = ReplicationFrames(FRAME_BYTES_MAX)
    buffer.receive_data(data)
    while buffer.next_message() is not None:
        pass


def replication_payload(data):
    """Kind and payload, behind the checksum that hides them from mutants."""
    return _decode(data[0] % 12 if data else 0, data[1:])


def classic_chunks(data):
    chunks = Chunks(1 << 20)
    chunks.receive_data(data)
    while chunks.next_piece() is not None:
        pass


CLASSIC = [encode_head(4096, 3) + b"abc" + encode_head(4099, 0), encode_head(0, 1 << 20)]
STREAM = [
    replication.framed(one) for one in (*replication.BODIES, replication.CHUNK, replication.ACK)
]
DECODERS = {
    "frames": (frames, FRAMES),
    "json header": (headers(Serialize.JSON), TEXTS),
    "binary header": (headers(Serialize.ROCKETMQ), [ROCKETMQ_FRAME[8:], FRAMES[3][8:]]),
    "cbor header": (headers(Serialize.CBOR), CBORS),
    "records": (records, RECORDS),
    "batch": (decode_batch, [BATCH_ITEM, BATCH_ITEM * 3]),
    "properties": (properties, PROPERTIES),
    "json": (names_and_texts, TEXTS),
    "cbor": (cbor.loads, CBORS),
    "host": (decode_host, [b"\x7f\0\0\1\0\0\x2a\x9f", b"\x20\1" + b"\0" * 18]),
    "classic chunks": (classic_chunks, CLASSIC),
    "classic reports": (lambda data: Reports().receive_data(data), [encode_report(1 << 40) * 2]),
    "replication": (replication_frames, STREAM),
    "replication payload": (replication_payload, [frame[8:] for frame in STREAM]),
    "message id": (identifiers, [b"7F00000100002A9F00000000000003E8", b"20" * 28]),
}
TOTAL = {"host", "properties"}  # these may accept or refuse everything


@pytest.mark.parametrize("name", DECODERS)
def test_smoke(name):
    """A few thousand mutants: nothing but values and RemoteProtocolError; both do occur."""
    decoder, seeds = DECODERS[name]
    values, refusals = hunt(decoder, seeds, rounds=400, seed=1)
    assert name in TOTAL or (values and refusals), "the mutants are all alike"


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", DECODERS)
def test_long(name, seed):
    """The same with many seeds and many mutants each."""
    decoder, seeds = DECODERS[name]
    hunt(decoder, seeds, rounds=20_000, seed=1000 + seed)


def canary(data):
    """A batch decoder whose author forgot that a length can lie."""
    at, bodies = 0, []
    while at < len(data):
        (size,) = struct.unpack_from(">16xi", data, at)
        bodies.append(data[at + 20 : at + 20 + size])
        (properties_size,) = struct.unpack_from(">h", data, at + 20 + size)
        at += 22 + size + properties_size
        if len(bodies) > 100:
            raise RemoteProtocolError("too many")
    return bodies


def test_the_canary_dies():
    """The loop catches the forgotten check within the rounds of the smoke test."""
    canary(BATCH_ITEM)
    with pytest.raises(FuzzerFoundError, match="error on"):
        hunt(canary, [BATCH_ITEM], rounds=400, seed=1)


def deep_canary(data):
    """A reader that recurses once per bracket."""
    return deep_canary(data[1:]) if data[:1] == b"[" else data


def test_the_recursive_canary_dies():
    """A RecursionError counts as a find."""
    with pytest.raises(FuzzerFoundError, match="RecursionError"):
        hunt(deep_canary, [b"[" * 2000], rounds=20, seed=1)


@pytest.mark.parametrize("name", DECODERS)
def test_memory_follows_what_was_sent(name):
    """Mutants of at most 4 KiB never make a decoder hold more than a megabyte."""
    decoder, seeds = DECODERS[name]
    hunt(decoder, seeds, rounds=50, seed=2)  # caches fill before measuring
    tracemalloc.start()
    try:
        hunt(decoder, seeds, rounds=100, seed=2)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
