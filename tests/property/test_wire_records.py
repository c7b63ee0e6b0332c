"""Records, batches, properties, hashes and JSON survive encoding and decoding, for any values."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.model.hosts import decode_host
from broker_trio.wire.batch import BatchItem, decode_batch, encode_batch
from broker_trio.wire.java import index_hash, topic_key_hash
from broker_trio.wire.json_text import dumps, dumps_java, loads
from broker_trio.wire.properties import find_property, format_properties, parse_properties
from broker_trio.wire.record import (
    Damage,
    RecordInfo,
    check_record,
    decode_record,
    decode_records,
    dispatch_tags_code,
    record_parts,
    record_size,
    seal,
    with_crc_property,
)

QUICK = settings(max_examples=60, deadline=None)
I32 = st.integers(-(2**31), 2**31 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
TOPICS = st.text("%|abcXYZ019_-", min_size=1, max_size=200)
PART = st.text(st.characters(exclude_characters="\x01\x02", codec="utf-8"), min_size=1, max_size=12)
PROPERTIES = st.dictionaries(PART, PART, max_size=6)


@st.composite
def records(draw):
    kind = draw(st.integers(0, 3))
    sizes = (20 if kind & 1 else 8), (20 if kind & 2 else 8)
    return {
        "topic": draw(TOPICS),
        "queue_id": draw(I32),
        "queue_offset": draw(I64),
        "physical_offset": draw(I64),
        "flag": draw(I32),
        "sys_flag": draw(I32) & ~0x30 | kind << 4,
        "born_timestamp_ms": draw(I64),
        "born_host": draw(st.binary(min_size=sizes[0], max_size=sizes[0])),
        "store_timestamp_ms": draw(I64),
        "store_host": draw(st.binary(min_size=sizes[1], max_size=sizes[1])),
        "reconsume_times": draw(I32),
        "prepared_transaction_offset": draw(I64),
        "body": draw(st.binary(max_size=100)),
        "properties": format_properties(draw(PROPERTIES)),
    }


@QUICK
@given(records(), st.booleans(), st.binary(max_size=20), st.binary(max_size=20))
def test_records_survive(fields, sealed, before, after):
    """What was encoded is found again, wherever it lies, with every field as it was."""
    if sealed:
        fields["properties"] = with_crc_property(fields["properties"])
    parts = record_parts(**fields)
    record = b"".join(seal(parts) if sealed else parts)
    topic, properties = fields["topic"], record[-len(fields["properties"]) or len(record) :]
    size = record_size(topic, len(fields["body"]), len(properties), fields["sys_flag"])
    expected = RecordInfo(
        topic,
        fields["queue_id"],
        fields["queue_offset"],
        fields["physical_offset"],
        size,
        dispatch_tags_code(topic, properties, fields["store_timestamp_ms"]),
        fields["store_timestamp_ms"],
        fields["sys_flag"],
        properties,
    )
    data = before + record + after
    assert size == len(record)
    assert expected == check_record(data, len(before), fields["physical_offset"])
    message = decode_record(data, len(before), verify_crc=True)
    for name in ("topic", "queue_offset", "flag", "body", "reconsume_times", "born_timestamp_ms"):
        assert fields[name] == getattr(message, name)
    assert message.prepared_transaction_offset == fields["prepared_transaction_offset"]
    assert message.born_host == decode_host(fields["born_host"])
    assert message.store_host == decode_host(fields["store_host"])
    assert message.properties == parse_properties(properties)


@QUICK
@given(st.lists(records(), max_size=4), st.data())
def test_cut_records_are_damage(several, data):
    """Records in a row are read back; a row cut inside a record ends in damage there."""
    raw = [b"".join(record_parts(**fields)) for fields in several]
    whole = b"".join(raw)
    assert [message.size for message in decode_records(whole)] == list(map(len, raw))
    if raw:
        start = len(whole) - len(raw[-1])
        cut = data.draw(st.integers(start, len(whole) - 1))
        offset = several[-1]["physical_offset"]
        assert isinstance(check_record(whole[:cut], start, offset), Damage)


@QUICK
@given(st.lists(st.builds(BatchItem, I32, st.binary(max_size=50), st.binary(max_size=50))))
def test_batches_survive(items):
    """Items come back in order, whatever is in them."""
    assert decode_batch(encode_batch(items)) == items


@QUICK
@given(PROPERTIES)
def test_properties_survive(properties):
    """Names and values come back in order, and each can be found alone."""
    raw = format_properties(properties)
    assert list(parse_properties(raw).items()) == list(properties.items())
    for name, value in properties.items():
        assert value.encode() == find_property(raw, name.encode())


@QUICK
@given(st.binary(max_size=60), st.sampled_from([b"A", b"B", b"KEYS"]))
def test_finding_agrees_with_parsing(noise, name):
    """On bytes of any kind find_property gives what the whole parse gives."""
    alphabet = [b"A", b"B", b"KEYS", b"\x01", b"\x02", b"x"]
    raw = b"".join(alphabet[byte % len(alphabet)] for byte in noise)
    value = find_property(raw, name)
    assert parse_properties(raw).get(name.decode()) == (None if value is None else value.decode())


@QUICK
@given(st.text(max_size=40), st.text(max_size=70))
def test_index_hashes_agree(topic, key):
    """Topic and key apart hash as `topic#key` in one piece."""
    assert topic_key_hash(topic, key.encode()) == index_hash(f"{topic}#{key}")


JSON = st.recursive(
    st.booleans() | I64 | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@QUICK
@given(JSON)
def test_json_survives_both_writers(value):
    """Both writers' texts read back as the value."""
    assert value == loads(dumps(value))
    assert value == loads(dumps_java(value))


@QUICK
@given(st.dictionaries(st.integers(0, 99), JSON, max_size=4))
def test_bare_keys_read_back_as_text(value):
    """A map with integer keys is written bare and read back with text keys."""
    assert {str(key): member for key, member in value.items()} == loads(dumps_java(value))
