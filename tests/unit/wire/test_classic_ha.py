"""Apache's classic framing, however the bytes were cut, and what is not taken."""

import random

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire.classic_ha import (
    Chunks,
    Piece,
    Reports,
    encode_head,
    encode_report,
)

SEGMENT = 1 << 20


def pieces(chunks: Chunks, data: bytes) -> list[Piece]:
    chunks.receive_data(data)
    found = []
    while (piece := chunks.next_piece()) is not None:
        found.append(piece)
    return found


def joined(found: list[Piece]) -> list[tuple[int, bytes]]:
    """Neighbours put together; signs of life stay."""
    result: list[tuple[int, bytes]] = []
    for offset, data in found:
        if data and result and result[-1][1] and offset == result[-1][0] + len(result[-1][1]):
            result[-1] = (result[-1][0], result[-1][1] + data)
        else:
            result.append((offset, data))
    return result


def test_heads_are_twelve_bytes_and_reports_eight() -> None:
    assert encode_head(1, 2).hex() == "0000000000000001" + "00000002"
    assert encode_report(1 << 40).hex() == "0000010000000000"


@pytest.mark.parametrize("seed", range(5))
def test_chunks_come_out_whole_however_they_were_cut(seed: int) -> None:
    rng = random.Random(seed)
    first, second = rng.randbytes(5_000), rng.randbytes(1)
    stream = b"".join([
        encode_head(7, len(first)), first, encode_head(5_007, 0), encode_head(5_007, 1), second,
    ])  # fmt: skip
    chunks, found = Chunks(SEGMENT), []
    while stream:
        size = rng.randint(1, 900)
        found += pieces(chunks, stream[:size])
        stream = stream[size:]
    assert joined(found) == [(7, first), (5_007, b""), (5_007, second)]


def test_a_claimed_size_costs_no_memory() -> None:
    """The bytes of a chunk are handed on as they come."""
    chunks = Chunks(SEGMENT)
    assert pieces(chunks, encode_head(0, SEGMENT) + b"abc") == [Piece(0, b"abc")]
    assert pieces(chunks, b"de") == [Piece(3, b"de")]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (0, SEGMENT + 1)])
def test_what_no_master_sends_ends_the_stream_for_good(offset: int, size: int) -> None:
    chunks = Chunks(SEGMENT)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            pieces(chunks, encode_head(offset, size))


def test_only_the_newest_whole_report_counts() -> None:
    reports = Reports()
    assert reports.receive_data(encode_report(5)[:3]) is None
    assert reports.receive_data(encode_report(5)[3:] + encode_report(9) + b"\0") == 9
    assert reports.receive_data(encode_report(11)[1:]) == 11


def test_a_report_below_zero_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="-1"):
        Reports().receive_data(b"\xff" * 8)
