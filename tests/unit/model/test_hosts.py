"""Stored hosts and message ids."""

import pytest

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.model.hosts import decode_host, decode_message_id, encode_host, message_id


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (1000, "7F00000100002A9F00000000000003E8"),
        (4096, "7F00000100002A9F0000000000001000"),
    ],
)
def test_golden_message_ids(offset, expected):
    """The specification's two offset message ids, made and taken apart."""
    assert expected == message_id(encode_host("127.0.0.1:10911"), offset)
    assert decode_message_id(expected) == ("127.0.0.1:10911", offset)


def test_ipv6():
    """An IPv6 host takes 20 bytes, its id 56 digits, and its text has brackets."""
    stored = encode_host("[2001:db8::1]:10911")
    assert len(stored) == 20
    assert decode_host(stored) == "[2001:db8::1]:10911"
    identity = message_id(stored, 7)
    assert (len(identity), decode_message_id(identity)) == (56, ("[2001:db8::1]:10911", 7))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        "127.0.0.1:",
        "broker-a:10911",
        "1.2.3.4:x",
        "1.2.3.4:1_0",
        "1.2.3.4:99999999999",
    ],
)
def test_what_is_no_address_is_our_mistake(address):
    """A name, a missing or odd port: LocalProtocolError, since only we encode hosts."""
    with pytest.raises(LocalProtocolError, match="ip:port"):
        encode_host(address)


@pytest.mark.parametrize(
    "text", ["", "7F", "G" * 32, "7F" * 17, " 7F" * 10 + "7F", "é" * 32, "7F" * 28 + "00"]
)
def test_what_is_no_message_id_is_the_peer_s_mistake(text):
    """Wrong length, no hex digits, white space: RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_message_id(text)


def test_a_stored_host_has_8_or_20_bytes():
    """Any other length is refused."""
    with pytest.raises(RemoteProtocolError, match="7 bytes"):
        decode_host(b"1234567")
