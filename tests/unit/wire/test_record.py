"""The stored record: golden bytes, each kind of damage, both sizes of hosts and topics."""

import struct

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hosts import encode_host
from broker_trio.model.message import MessageExt
from broker_trio.wire.record import (
    BLANK_MAGIC,
    MAGIC_V2,
    Blank,
    Damage,
    Flaw,
    RecordInfo,
    body_crc,
    check_record,
    decode_record,
    decode_records,
    dispatch_tags_code,
    encode_record,
    record_parts,
    record_size,
    seal,
    store_timestamp_of,
    with_crc_property,
)
from tests.unit.wire.vectors import RECORD_A, RECORD_B, STORED_MESSAGE

BORN = encode_host("127.0.0.1:50000")
STORE = encode_host("127.0.0.1:10911")
BORN_V6 = encode_host("[2001:db8::1]:50000")
STORE_V6 = encode_host("[2001:db8::2]:10911")
PROPERTIES_A = b"TAGS\x01TagA\x02UNIQ_KEY\x01U1\x02"


def parts(
    *,
    topic="TopicTest",
    physical_offset=4096,
    sys_flag=0,
    born=BORN,
    store=STORE,
    body=b"hello",
    properties=PROPERTIES_A,
):
    return record_parts(
        topic, 1, 7, physical_offset, 0, sys_flag, 1700000000000, born, 1700000000123, store,
        0, 0, body, properties,
    )  # fmt: skip


def record(**changes):
    return b"".join(parts(**changes))


def damaged(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def test_golden_record_a_both_ways():
    """Record A of the specification is encoded and checked byte for byte."""
    assert record() == RECORD_A
    expected = RecordInfo("TopicTest", 1, 7, 4096, 127, 2598919, 1700000000123, 0, PROPERTIES_A)
    assert expected == check_record(RECORD_A, 0, 4096)


def test_golden_consume_queue_unit():
    """Position, size and tags code of record A make the specification's 20 bytes."""
    info = check_record(RECORD_A, 0, 4096)
    unit = struct.pack(">qiq", info.physical_offset, info.size, info.tags_code)
    assert unit.hex() == "00000000000010000000007f000000000027a807"


def test_golden_record_b():
    """Record B, with the checksum property: sealed byte for byte, and checked."""
    sealed = b"".join(seal(parts(properties=with_crc_property(PROPERTIES_A))))
    assert sealed == RECORD_B
    assert check_record(RECORD_B, 0, 4096).size == 147
    assert body_crc(RECORD_B[:127]) == 2133366762


def test_golden_stored_message():
    """The stored message of 144 bytes decodes to the fields that the specification names."""
    expected = MessageExt(
        topic="T1",
        queue_id=1,
        queue_offset=2,
        physical_offset=1000,
        born_timestamp_ms=1,
        born_host="127.0.0.1:5000",
        store_timestamp_ms=2,
        store_host="127.0.0.1:10911",
        body=b"hello",
        properties={"a": "b", "UNIQ_KEY": "7F000001000018B4AAC2000000000000"},
        size=144,
        body_crc=907060870,
    )
    assert expected == decode_record(STORED_MESSAGE, verify_crc=True)
    assert store_timestamp_of(STORED_MESSAGE) == 2
    raw = STORED_MESSAGE[-46:]
    again = encode_record(expected, encode_host("127.0.0.1:5000"), STORE, raw)
    assert again == STORED_MESSAGE


def test_golden_body_checksum():
    """CRC-32 in 31 bits; an empty body has 0."""
    assert body_crc(b"hello") == 907060870
    assert body_crc(b"") == 0


def test_golden_delay_code():
    """Delay level 3 stored at …123 is delivered ten seconds later; that is the unit's code."""
    code = dispatch_tags_code("SCHEDULE_TOPIC_XXXX", b"DELAY\x013\x02TAGS\x01x\x02", 1700000000123)
    assert code == 1700000010123


@pytest.mark.parametrize(
    ("topic", "properties", "expected"),
    [
        ("SCHEDULE_TOPIC_XXXX", b"DELAY\x0199\x02", 7_200_000),
        ("SCHEDULE_TOPIC_XXXX", b"TAGS\x01TagA\x02", 2598919),
        ("SCHEDULE_TOPIC_XXXX", b"DELAY\x010\x02TAGS\x01TagA\x02", 2598919),
        ("SCHEDULE_TOPIC_XXXX", b"DELAY\x01-1\x02", 0),
        ("SCHEDULE_TOPIC_XXXX", b"DELAY\x01" + b"9" * 5000, 0),
        ("T", b"DELAY\x013\x02TAGS\x01TagA\x02", 2598919),
        ("T", b"", 0),
    ],
)
def test_tags_codes(topic, properties, expected):
    """Levels are capped, nonsense is no level, and only the schedule topic has deliver times."""
    assert expected == dispatch_tags_code(topic, properties, 0)


@pytest.mark.parametrize(
    ("sys_flag", "born", "store", "size"),
    [(0, BORN, STORE, 127), (0x10, BORN_V6, STORE, 139), (0x20, BORN, STORE_V6, 139),
     (0x30, BORN_V6, STORE_V6, 151)],
)  # fmt: skip
def test_hosts_of_both_sizes(sys_flag, born, store, size):
    """Each IPv6 host makes the record 12 bytes longer and everything after it still reads."""
    data = record(sys_flag=sys_flag, born=born, store=store)
    assert size == len(data) == record_size("TopicTest", 5, len(PROPERTIES_A), sys_flag)
    info = check_record(data, 0, 4096)
    assert (info.size, info.store_timestamp_ms) == (size, 1700000000123)
    assert store_timestamp_of(data) == 1700000000123
    message = decode_record(data)
    assert message.body == b"hello"
    assert message.born_host == ("[2001:db8::1]:50000" if sys_flag & 0x10 else "127.0.0.1:50000")
    assert message.store_host == ("[2001:db8::2]:10911" if sys_flag & 0x20 else "127.0.0.1:10911")


@pytest.mark.parametrize(
    ("length", "version_2"), [(1, False), (127, False), (128, True), (255, True)]
)
def test_long_topics_take_the_second_version(length, version_2):
    """V2 exactly where the topic is longer than 127; both read alike."""
    topic = "t" * length
    data = record(topic=topic)
    assert version_2 == (data[4:8] == MAGIC_V2.to_bytes(4, "big"))
    assert len(data) == record_size(topic, 5, len(PROPERTIES_A), 0)
    assert check_record(data, 0, 4096).topic == topic
    assert decode_record(data).topic == topic


def test_records_are_found_inside_other_bytes():
    """A record is read at its position; what lies before and after does not matter."""
    data = b"\xff" * 13 + RECORD_A + b"\xff" * 200
    for view in (data, bytearray(data), memoryview(data)):
        assert check_record(view, 13, 4096).size == 127
        assert decode_record(view, 13).topic == "TopicTest"


def test_several_records():
    """Pull replies are records in a row; a cut one is refused."""
    assert [m.size for m in decode_records(RECORD_A + RECORD_B + RECORD_A)] == [127, 147, 127]
    assert decode_records(b"") == []
    with pytest.raises(RemoteProtocolError, match="larger than what is left"):
        decode_records(RECORD_A + RECORD_B[:-1])


def test_filler():
    """The end-of-segment filler is told apart; its size is what it claims."""
    filler = struct.pack(">iI", 500, BLANK_MAGIC)
    assert check_record(filler, 0, 0) == Blank(500)
    with pytest.raises(RemoteProtocolError, match="filler"):
        decode_record(filler)
    assert check_record(struct.pack(">iI", 7, BLANK_MAGIC), 0, 0).flaw is Flaw.SIZE


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"", Flaw.SHORT),
        (RECORD_A[:7], Flaw.SHORT),
        (b"\0" * 200, Flaw.EMPTY),
        (damaged(RECORD_A, 4, b"\0"), Flaw.MAGIC),
        (damaged(RECORD_A, 0, b"\0\0\0\x5a"), Flaw.SIZE),
        (damaged(RECORD_A, 0, b"\xff\xff\xff\xff"), Flaw.SIZE),
        (damaged(RECORD_A, 0, b"\x7f\xff\xff\xff"), Flaw.CUT),
        (RECORD_A[:-1], Flaw.CUT),
        (damaged(RECORD_A, 0, b"\0\0\0\x7e"), Flaw.LENGTHS),
        (damaged(RECORD_A, 84, b"\xff"), Flaw.LENGTHS),
        (damaged(RECORD_A, 84, b"\0\0\0\x06"), Flaw.LENGTHS),
        (damaged(RECORD_A, 93, b"\x80"), Flaw.LENGTHS),
        (damaged(RECORD_A, 103, b"\xff"), Flaw.LENGTHS),
        (damaged(RECORD_A, 39, b"\x30"), Flaw.LENGTHS),
        (damaged(RECORD_A, 35, b"\x01"), Flaw.POSITION),
        (damaged(RECORD_A, 88, b"j"), Flaw.BODY_CRC),
        (damaged(RECORD_A, 8, b"\x35"), Flaw.BODY_CRC),
        (damaged(RECORD_A, 96, b"/"), Flaw.TOPIC),
        (damaged(RECORD_A, 96, b"\0"), Flaw.TOPIC),
        (damaged(RECORD_B, 15, b"\x02"), Flaw.PROPERTIES_CRC),
        (damaged(RECORD_B, 140, b"0"), Flaw.PROPERTIES_CRC),
        (record(topic=""), Flaw.TOPIC),
        (record(topic=".."), Flaw.TOPIC),
    ],
)
def test_damage_has_a_reason(data, flaw):
    """Each way of being no record has its own flaw, and a text that names it."""
    damage = check_record(data, 0, 4096)
    assert isinstance(damage, Damage)
    assert damage.flaw is flaw
    assert flaw.value in str(damage)


def test_a_record_of_an_earlier_life_is_damage():
    """A perfect record that names another position is stale bytes; Java would take it."""
    assert check_record(RECORD_A, 0, 8192).flaw is Flaw.POSITION


def test_a_cut_record_says_how_much_to_read():
    """Where only a beginning is at hand, the damage names the size claimed."""
    assert check_record(RECORD_A[:100], 0, 4096).size == 127


def test_checksums_can_be_left_unchecked():
    """verify_crc=False takes a record with a wrong body checksum, and decoding does by default."""
    data = damaged(RECORD_A, 88, b"j")
    assert check_record(data, 0, 4096, verify_crc=False).size == 127
    assert decode_record(data).body == b"jello"
    with pytest.raises(RemoteProtocolError, match="body checksum"):
        decode_record(data, verify_crc=True)


def test_an_empty_body_is_not_checked():
    """Java stores 0 for an empty body and never looks: neither do we."""
    data = damaged(record(body=b""), 8, b"\0\0\0\x05")
    assert check_record(data, 0, 4096).size == 122


@pytest.mark.parametrize("properties", [b"", b"A\x01b", b"A\x01b\x02"])
def test_the_checksum_property_after_any_properties(properties):
    """A missing separator is put in; the sealed record checks and any flipped bit is found."""
    data = b"".join(seal(parts(properties=with_crc_property(properties))))
    assert check_record(data, 0, 4096).size == len(data)
    flipped = damaged(data, 75, bytes([data[75] ^ 1]))  # reconsumeTimes: no other check sees it
    assert check_record(flipped, 0, 4096).flaw is Flaw.PROPERTIES_CRC


def test_a_value_that_looks_like_the_checksum_is_none():
    """A producer's value that ends in the checksum's text does not make its record damage."""
    data = record(properties=b"A\x01__CRC32#\x010000000000\x02")
    assert check_record(data, 0, 4096).size == len(data)


def test_hosts_must_agree_with_the_flag():
    """An IPv6 host without its bit is a broken invariant, not a short record."""
    with pytest.raises(AssertionError, match="bornHost"):
        parts(born=BORN_V6)
    with pytest.raises(AssertionError, match="storeHost"):
        parts(sys_flag=0x20)


def test_every_beginning_and_every_flipped_bit_is_noticed():
    """A cut is damage, and so is any flipped bit that the checksum in the properties covers.

    A flip inside that property, or in the separator before it, may make it unrecognisable; then it
    is not required.
    """
    for size in range(len(RECORD_A)):
        assert isinstance(check_record(RECORD_A[:size], 0, 4096), Damage)
    for bit in range(len(RECORD_B) * 8):
        data = bytearray(RECORD_B)
        data[bit // 8] ^= 1 << (bit % 8)
        answer = check_record(bytes(data), 0, 4096)
        assert isinstance(answer, Damage) or bit // 8 >= 126
