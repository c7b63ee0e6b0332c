"""Replication messages survive every way of cutting their stream."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.wire import replication as wire
from broker_trio.wire.replication import Ack, Chunk, Metadata, Rejection, ReplicationFrames

QUICK = settings(max_examples=60, deadline=None)
IDS = st.binary(min_size=16, max_size=16).map(lambda raw: raw.hex() if any(raw) else "")
EPOCHS = st.tuples(st.integers(0, 2**64 - 1), IDS)
OFFSETS = st.integers(0, 2**62)


@st.composite
def chunks(draw):
    offset, data = draw(OFFSETS), draw(st.binary(max_size=300))
    end = offset + len(data) + draw(st.integers(0, 1000))
    sent_ms = draw(st.integers(-(2**63), 2**63 - 1))
    return Chunk(draw(EPOCHS), offset, draw(OFFSETS), end, draw(OFFSETS), sent_ms, data)


@st.composite
def acks(draw):
    written = draw(OFFSETS)
    return Ack(draw(IDS), draw(EPOCHS), written, draw(st.integers(0, written)), draw(st.booleans()))


TABLES = st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.text(max_size=5), max_size=4)
METADATA = st.builds(
    Metadata,
    st.text(max_size=9),
    TABLES,
    st.lists(st.text(max_size=5), max_size=3),
    st.tuples(OFFSETS, OFFSETS, OFFSETS),
    st.booleans(),
    st.booleans(),
    OFFSETS,
)
MESSAGES = chunks() | acks() | METADATA | st.builds(Rejection, st.text(max_size=30))


def framed(message):
    if isinstance(message, Chunk):
        return b"".join(wire.encode_chunk(message))
    return wire.encode_ack(message) if isinstance(message, Ack) else wire.encode(message)


@QUICK
@given(st.lists(MESSAGES, max_size=5), st.data())
def test_any_chunking_gives_the_same_messages(sent, data):
    """However a stream is cut, the same messages come out and nothing remains."""
    stream = b"".join(map(framed, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    frames, received = ReplicationFrames(wire.FRAME_BYTES_MAX), []
    for begin, end in pairwise([0, *cuts, len(stream)]):
        frames.receive_data(stream[begin:end])
        while (message := frames.next_message()) is not None:
            received.append(message)
    assert (received, frames.buffered) == (sent, 0)
