"""The key index's hash."""

import pytest

from broker_trio.model import hashes
from broker_trio.wire import java
from broker_trio.wire.java import index_hash, tags_code_of, topic_key_hash


@pytest.mark.parametrize(
    ("text", "expected"),
    [("TopicTest#key1", 1655984460), ("t#k", 112668), ("polygenelubricants", 0)],
)
def test_golden_index_hashes(text, expected):
    """Absolute values; the one integer without an absolute value gives 0."""
    assert expected == index_hash(text)


def test_golden_slot():
    """The slot is the hash modulo five million."""
    assert index_hash("TopicTest#key1") % 5_000_000 == 984460


@pytest.mark.parametrize(
    "key",
    [
        b"7F0000010AB418B4AAC2091D7A000001",
        b"7F0000010AB418B4AAC2091D7A00FFFF",
        b"20010DB8000000000000000000000001" + b"0AB418B4AAC2091D7A000001",
        b"key1",
        b"",
        "订单一二三四五六七八九十甲乙丙丁".encode()[:32],
        "ö".encode() * 16,
    ],
)
def test_topic_and_key_hash_like_their_text(key):
    """The quick way by the beginning's hash equals the hash of `topic#key`, cached or not."""
    for topic in ("TopicTest", "%RETRY%g", "中文"):
        expected = index_hash(f"{topic}#{key.decode('utf-8', 'replace')}")
        assert expected == topic_key_hash(topic, key)
        assert expected == topic_key_hash(topic, key)


def test_the_smallest_integer_also_on_the_quick_way():
    """A key of 32 digits whose hash is the smallest integer gives 0, not a negative number."""
    beginning = "T#" + "A" * 24
    tails = range(8)
    need = (java.MIN_INT - index_base(beginning)) % (1 << 32)
    digits = []
    for at in reversed(tails):  # a representation of the rest in base 31 with large digits
        digits.append(min(127, need // 31**at))
        need -= digits[-1] * 31**at
    assert need == 0, "the construction fits into 8 ASCII characters"
    key = b"A" * 24 + bytes(digits)
    assert topic_key_hash("T", key) == 0


def index_base(beginning):
    value = 0
    for letter in beginning.encode():
        value = (value * 31 + letter) & 0xFFFFFFFF
    return value * 31**8 & 0xFFFFFFFF


def test_the_table_of_beginnings_is_bounded():
    """Keys that share nothing cost time, never memory."""
    for number in range(java.PREFIXES_MAX + 10):
        topic_key_hash("bounded", b"%024d00000000" % number)
    assert len(java._prefixes) <= java.PREFIXES_MAX


def test_tags_of_bytes():
    """Bytes that are no UTF-8 are hashed as their replacement, not refused."""
    assert tags_code_of(b"TagA") == 2598919
    assert tags_code_of(b"\xff") == 0xFFFD


def test_long_tags_are_hashed_and_not_kept():
    """The caches hold thousands of entries: of short ones only, or they would hold 100 MiB."""
    long = "t" * 30_000
    sizes = [cache.cache_info().currsize for cache in (java._kept_tags, hashes._kept_hash)]
    assert tags_code_of(long.encode()) == hashes.tags_code(long) == hashes.java_hash(long)
    assert [cache.cache_info().currsize for cache in (java._kept_tags, hashes._kept_hash)] == sizes
    assert tags_code_of(b"TagA") == 2598919
