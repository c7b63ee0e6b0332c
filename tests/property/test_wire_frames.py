"""Commands survive every serialisation and every way of cutting a stream."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.serialize import encode, encode_parts

I32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(max_size=40)
NAMES = st.text(min_size=1, max_size=12)
VALUES = st.text(min_size=1, max_size=40)
TYPED = st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans())
QUICK = settings(max_examples=60, deadline=None)


@st.composite
def commands(draw):
    serialize = draw(st.sampled_from(Serialize))
    return Command(
        code=draw(st.integers(-1006, 3000) | st.integers(26_000, 26_999)),
        opaque=draw(I32),
        flag=draw(st.integers(0, 3)),
        ext=draw(st.dictionaries(NAMES, TYPED if serialize is Serialize.CBOR else VALUES)),
        body=draw(st.binary(max_size=200)),
        remark=draw(st.none() | VALUES),
        language=draw(st.integers(0, 13)),
        version=draw(st.integers(0, 612)),
        serialize=serialize,
    )


def received(chunks):
    buffer, result = FrameBuffer(), []
    for chunk in chunks:
        buffer.receive_data(chunk)
        while (command := buffer.next_command()) is not None:
            result.append(command)
    return result, buffer.buffered


@QUICK
@given(st.lists(commands(), max_size=5), st.data())
def test_any_chunking_gives_the_same_commands(sent, data):
    """However a stream of frames is cut, the same commands come out and nothing remains."""
    stream = b"".join(map(encode, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert received(chunks) == (sent, 0)


@QUICK
@given(commands())
def test_a_cut_frame_is_no_command_and_no_error(command):
    """Every proper beginning of a frame waits for more."""
    frame = encode(command)
    for size in range(0, len(frame), max(1, len(frame) // 20)):
        assert received([frame[:size]]) == ([], size)


@QUICK
@given(commands(), st.lists(st.binary(max_size=50), max_size=4))
def test_buffers_or_one_piece(command, parts):
    """A frame in buffers is the frame in one piece."""
    command.body = b"".join(parts)
    assert b"".join(encode_parts(command, parts)) == encode(command)
