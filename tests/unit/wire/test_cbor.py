"""CBOR between us: plain values only."""

import tracemalloc

import cbor2
import pytest

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire import cbor


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**63 - 1, -(2**63), 1.5, "ä", b"\0", [], [1, [2]], {}, {"a": {1: None}}],
)
def test_round_trip(value):
    """Plain values come back as they went."""
    assert value == cbor.loads(cbor.dumps(value))


def test_arrays_as_keys():
    """A message queue as a key is an array on the wire and a tuple here."""
    assert cbor.loads(cbor.dumps({("T", "b", 0): 7})) == {("T", "b", 0): 7}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"\x61\xff", b"\x82\x01", b"\xa1\x01", b"\x1b\x00",
        b"\x81" * 65 + b"\x00", b"\x81" * 100_000, b"\xa1\x01" * 100_000, b"\x9f" * 100_000,
        b"\xc2\x42\x01\x00", b"\xc4\x82\x1a\x7f\xff\xff\xff\x01",
        b"\xc5\x82\x1a\x7f\xff\xff\xff\x01",
        b"\xd8\x1c\x81\xd8\x1d\x00", b"\xd8\x23\x65(a+)+", b"\xd9\xd9\xf7\x00", b"\xd9\x01\x02\x80",
        b"\xd8\x24\x60", b"\xdb\xff\xff\xff\xff\xff\xff\xff\xff\x00",
    ],
)  # fmt: skip
def test_refusals(data):
    """Cut values, endless nesting and every tag: RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        cbor.loads(data)


@pytest.mark.parametrize("major", [0x5B, 0x7B, 0x9B, 0xBB])
def test_claimed_lengths_allocate_nothing(major):
    """A string, array or map that claims 2^60 items and has none takes no memory."""
    data = bytes([major]) + (2**60).to_bytes(8, "big")
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            cbor.loads(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [object(), {"a": {object()}}, "\ud800"])
def test_what_has_no_plain_form(value):
    """Other types are our caller's mistake."""
    with pytest.raises(LocalProtocolError):
        cbor.dumps(value)


def test_written_values_have_no_tags():
    """What we write, a decoder without any tag can read."""
    assert cbor.dumps({0: 11, 6: {"queueId": 3}}) == cbor2.dumps({0: 11, 6: {"queueId": 3}})
    assert cbor.dumps([1, "a"])[0] >> 5 != 6
