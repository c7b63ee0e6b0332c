"""Batch bodies."""

import pytest

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire.batch import BatchItem, decode_batch, encode_batch
from tests.unit.wire.vectors import BATCH_ITEM

ITEM = BatchItem(0, b"hi", b"KEYS\x01k1\x02WAIT\x01true\x02TAGS\x01A\x02")


def test_golden_item():
    """The specification's item of 49 bytes, both ways, and twice in a row."""
    assert encode_batch([ITEM]) == BATCH_ITEM
    assert decode_batch(BATCH_ITEM) == [ITEM]
    assert decode_batch(BATCH_ITEM * 2) == [ITEM, ITEM]


def test_an_empty_body_has_no_items():
    """No bytes, no messages."""
    assert decode_batch(b"") == []


def test_trailing_bytes_and_cut_items_are_refused():
    """Every proper beginning of an item, and an item with one byte more, is refused."""
    for size in range(1, len(BATCH_ITEM)):
        with pytest.raises(RemoteProtocolError):
            decode_batch(BATCH_ITEM[:size])
    with pytest.raises(RemoteProtocolError):
        decode_batch(BATCH_ITEM + b"\0")


@pytest.mark.parametrize(
    ("at", "value"),
    [(16, b"\xff\xff\xff\xff"), (16, b"\x7f\xff\xff\xff"), (22, b"\xff\xff"), (22, b"\x7f\xff")],
)
def test_lengths_that_lie(at, value):
    """Negative and enormous lengths are refused."""
    body = bytearray(BATCH_ITEM)
    body[at : at + len(value)] = value
    with pytest.raises(RemoteProtocolError):
        decode_batch(bytes(body))


def test_the_first_fields_are_ignored():
    """totalSize, magic and CRC of an item may hold anything, as RocketMQ takes it."""
    assert decode_batch(b"\xff" * 12 + BATCH_ITEM[12:]) == [ITEM]


def test_a_batch_has_a_limit():
    """As many items as the limit pass, one more is refused."""
    item = encode_batch([BatchItem(0, b"", b"")])
    assert len(decode_batch(item * 3, items_max=3)) == 3
    with pytest.raises(RemoteProtocolError):
        decode_batch(item * 4, items_max=3)


def test_too_long_properties_cannot_be_said():
    """32767 property bytes fit, one more does not."""
    encode_batch([BatchItem(0, b"", b"p" * 32767)])
    with pytest.raises(LocalProtocolError):
        encode_batch([BatchItem(0, b"", b"p" * 32768)])
