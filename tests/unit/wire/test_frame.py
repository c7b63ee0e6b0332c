"""Frames: golden vectors in any chunking, limits, errors that stay."""

import struct
import tracemalloc

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.frame import HEADER_SIZE_MAX, FrameBuffer
from broker_trio.wire.serialize import FRAME_SIZE_MAX, encode
from tests.unit.wire.vectors import (
    JSON_REQUEST,
    JSON_REQUEST_FRAME,
    JSON_RESPONSE_HEADER,
    ROCKETMQ_COMMAND,
    ROCKETMQ_FRAME,
)

JSON_RESPONSE_FRAME = (
    struct.pack(">ii", 4 + len(JSON_RESPONSE_HEADER) + 4, len(JSON_RESPONSE_HEADER))
    + JSON_RESPONSE_HEADER
    + b"body"
)
JSON_RESPONSE = Command(0, opaque=7, flag=1, body=b"body", language=0, version=0)
CBOR_COMMAND = Command(
    310, opaque=-1, ext={"queueId": 3, "batch": False, "topic": "T"}, body=b"x" * 300,
    serialize=Serialize.CBOR,
)  # fmt: skip

VECTORS = [
    pytest.param(ROCKETMQ_FRAME, ROCKETMQ_COMMAND, id="rocketmq"),
    pytest.param(JSON_REQUEST_FRAME, JSON_REQUEST, id="json request"),
    pytest.param(JSON_RESPONSE_FRAME, JSON_RESPONSE, id="json response"),
    pytest.param(encode(CBOR_COMMAND), CBOR_COMMAND, id="cbor"),
]


def commands_of(*chunks):
    buffer, commands = FrameBuffer(), []
    for chunk in chunks:
        buffer.receive_data(chunk)
        while (command := buffer.next_command()) is not None:
            commands.append(command)
    return commands, buffer.buffered


@pytest.mark.parametrize(("frame", "command"), VECTORS)
def test_whole(frame, command):
    """A frame that came in one piece is one command, and nothing is left."""
    assert commands_of(frame) == ([command], 0)


@pytest.mark.parametrize(("frame", "command"), VECTORS)
def test_byte_by_byte(frame, command):
    """A frame that came one byte at a time is the same command."""
    assert commands_of(*(frame[at : at + 1] for at in range(len(frame)))) == ([command], 0)


@pytest.mark.parametrize(("frame", "command"), VECTORS)
@pytest.mark.parametrize("count", [1, 3, 7, 11])
def test_trailing_bytes(frame, command, count):
    """The beginning of a next frame stays in the buffer and is completed later."""
    assert commands_of(frame + frame[:count]) == ([command], count)
    assert commands_of(frame + frame[:count], frame[count:] + frame) == ([command] * 3, 0)


def test_bytes_likes():
    """bytearray and memoryview are taken too, and bodies are bytes whatever came."""
    for chunk in (bytearray(JSON_RESPONSE_FRAME), memoryview(JSON_RESPONSE_FRAME)):
        (command,), left = commands_of(chunk[:20], chunk[20:])
        assert (command, type(command.body), left) == (JSON_RESPONSE, bytes, 0)


def test_a_view_may_change_afterwards():
    """What was received is copied: a caller's buffer can be used again."""
    chunk = bytearray(JSON_RESPONSE_FRAME)
    buffer = FrameBuffer()
    buffer.receive_data(chunk)
    chunk[:] = bytes(len(chunk))
    assert buffer.next_command() == JSON_RESPONSE


def head(total, serialize, header):
    return struct.pack(">iI", total, serialize << 24 | header)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (struct.pack(">i", 3), "a frame of 3 bytes"),
        (struct.pack(">i", -1), "a frame of -1 bytes"),
        (struct.pack(">i", FRAME_SIZE_MAX - 3), "a frame of 16777213 bytes"),
        (struct.pack(">i", 2**31 - 1), "a frame of 2147483647 bytes"),
        (b"\x16\x03\x01\x02\x00", "a frame of"),
        (b"GET / HT", "a frame of"),
        (head(100, 3, 10), "unknown header serialisation 3"),
        (head(100, 255, 10), "unknown header serialisation 255"),
        (head(100, 0, 97), "a header of 97 bytes in a frame of 100"),
        (head(2**20, 1, HEADER_SIZE_MAX + 1), "a header of 262145 bytes, at most"),
        (head(4, 0, 0), "bad JSON"),
        (head(6, 0, 2) + b"[]", "bad JSON|no object"),
        (head(6, 1, 2) + b"\0\0", "a binary header of 2 bytes"),
        (head(5, 2, 1) + b"\x80", "no map"),
    ],
)
def test_bad_frames_are_refused_at_once_and_for_good(start, problem):
    """As soon as the bytes are there the error is, it stays, and nothing is buffered any more."""
    buffer = FrameBuffer()
    buffer.receive_data(start)
    with pytest.raises(RemoteProtocolError, match=problem):
        buffer.next_command()
    buffer.receive_data(ROCKETMQ_FRAME)
    assert buffer.buffered == 0
    with pytest.raises(RemoteProtocolError, match=problem):
        buffer.next_command()


def test_good_frames_before_a_bad_one_are_given_out():
    """The commands before the error are not lost."""
    buffer = FrameBuffer()
    buffer.receive_data(ROCKETMQ_FRAME + b"\xff" * 8)
    assert buffer.next_command() == ROCKETMQ_COMMAND
    with pytest.raises(RemoteProtocolError):
        buffer.next_command()


def test_limits_can_be_lowered():
    """A frame of exactly the limit passes, one byte more does not; the header's limit alike."""
    size = len(JSON_RESPONSE_FRAME)
    for limits, accepted in [
        ({"frame_size_max": size}, True),
        ({"frame_size_max": size - 1}, False),
        ({"header_size_max": len(JSON_RESPONSE_HEADER)}, True),
        ({"header_size_max": len(JSON_RESPONSE_HEADER) - 1}, False),
    ]:
        buffer = FrameBuffer(**limits)
        buffer.receive_data(JSON_RESPONSE_FRAME)
        if accepted:
            assert buffer.next_command() == JSON_RESPONSE
        else:
            with pytest.raises(RemoteProtocolError):
                buffer.next_command()


def test_claimed_lengths_allocate_nothing():
    """The largest frame allowed, announced but not sent, takes no memory."""
    start = head(FRAME_SIZE_MAX - 4, 1, HEADER_SIZE_MAX)
    buffer = FrameBuffer()
    tracemalloc.start()
    try:
        buffer.receive_data(start)
        assert buffer.next_command() is None
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert buffer.buffered == 8
