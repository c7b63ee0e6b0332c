"""Java's string hash."""

import pytest

from broker_trio.model.hashes import CHUNK, java_hash, signed32, tags_code


def by_definition(text):
    value = 0
    raw = text.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(raw), 2):
        value = value * 31 + int.from_bytes(raw[at : at + 2], "big") & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TagA", 2598919),
        ("TagB", 2598920),
        ("中文", 646394),
        ("😀", 1772899),
        ("polygenelubricants", -2147483648),
        ("TopicTest#key1", -1655984460),
        ("", 0),
    ],
)
def test_golden_vectors(text, expected):
    """The specification's vectors, among them a surrogate pair and the smallest integer."""
    assert expected == java_hash(text)
    assert expected == tags_code(text)


@pytest.mark.parametrize("length", [1, 31, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("letter", ["z", "ÿ", "中"])
def test_long_texts(length, letter):
    """Texts around the chunk size hash as the definition says, ASCII or not."""
    text = "".join(letter if at % 3 else "a" for at in range(length))
    assert by_definition(text) == java_hash(text)


def test_wrapping():
    """signed32 wraps as Java's int does."""
    assert list(map(signed32, [0, 2**31 - 1, 2**31, 2**32 - 1, 2**32 + 5])) == [
        0,
        2**31 - 1,
        -(2**31),
        -1,
        5,
    ]
