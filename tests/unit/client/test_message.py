"""What a message may be, told before anything is sent."""

import zlib
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from broker_trio.client.errors import (
    InvalidArgument,
    InvalidName,
    MessageIllegal,
    UnsupportedDelay,
)
from broker_trio.client.message import (
    DelayLevel,
    MessageIds,
    check_sendable,
    checked_body,
    checked_properties,
    level_of,
    packed,
)
from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.wire.properties import parse_properties


@pytest.mark.parametrize("level", DelayLevel)
def test_each_level_is_said_in_three_ways(level: DelayLevel):
    """By its name, in seconds and as a timedelta: the same level."""
    seconds = DELAY_LEVELS_S[level - 1]
    assert [level_of(level), level_of(seconds), level_of(timedelta(seconds=seconds))] == [level] * 3
    unit = {"S": 1, "M": 60, "H": 3_600}[level.name[0]]
    assert int(level.name[1:]) * unit == seconds


@pytest.mark.parametrize("delay", [0, 2, -1, 1.5, float("nan"), float("inf"), timedelta(hours=3)])
def test_any_other_delay_is_refused_with_the_list(delay: float):
    """The error names the value and all that brokers know."""
    with pytest.raises(UnsupportedDelay, match=r"1s 5s 10s 30s 1m .* 30m 1h 2h"):
        level_of(delay)


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("", "blank"),
        ("a b", "characters other than"),
        ("é", "characters other than"),
        ("x" * 128, "128 characters, at most 127"),
        ("SCHEDULE_TOPIC_XXXX", "belongs to the brokers"),
        ("RMQ_SYS_TRANS_HALF_TOPIC", "belongs to the brokers"),
    ],
)
def test_topics_that_nobody_may_send_to(topic: str, said: str):
    """A ValueError too, so that callers need not know the family."""
    with pytest.raises(InvalidName, match=said) as caught:
        check_sendable(topic)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.retriable, caught.value.unknown) == (False, False)


def test_bodies_have_bounds_and_types():
    """Text is UTF-8; empty, too large and of another type are told with value and limit."""
    assert checked_body("grün", 10) == "grün".encode()
    assert checked_body(bytearray(b"x"), 10) == checked_body(memoryview(b"x"), 10) == b"x"
    with pytest.raises(MessageIllegal, match="body of 11 bytes, limit 10"):
        checked_body(b"x" * 11, 10)
    with pytest.raises(MessageIllegal, match="empty body"):
        checked_body(b"", 10)
    with pytest.raises(MessageIllegal, match="type dict: give bytes or text, or a codec"):
        checked_body({"a": 1}, 10)


def test_properties_carry_everything_beside_the_body():
    """Tag, keys, id, ordering key and delay under RocketMQ's names, the user's under theirs."""
    text = checked_properties(
        "id-1",
        tag="new",
        keys=["a", "b"],
        properties={"colour": "grün"},
        ordering_key="c-4",
        delay_level=3,
        carried={"traceparent": "00-1-2-01"},
    )
    assert parse_properties(text) == {
        "traceparent": "00-1-2-01",
        "colour": "grün",
        "UNIQ_KEY": "id-1",
        "TAGS": "new",
        "KEYS": "a b",
        "__SHARDINGKEY": "c-4",
        "DELAY": "3",
    }
    assert parse_properties(checked_properties("i", keys="one"))["KEYS"] == "one"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tag": "a|b"}, "with a |"),
        ({"tag": "a\x02"}, "separator"),
        ({"keys": ["a b"]}, "has a space"),
        ({"keys": [""]}, "is empty"),
        ({"properties": {"DELAY": "3"}}, "property DELAY has a meaning of its own"),
        ({"properties": {"UNIQ_KEY": "x"}}, "meaning of its own"),
        ({"properties": {"a": "b\x02c"}}, "separator"),
        ({"properties": {"": "b"}}, "separator or has no name"),
        (
            {"properties": {"a": "x" * 33_000}},
            r"33\d{3} bytes of properties, tag and keys; limit 32",
        ),
    ],
)
def test_properties_that_cannot_be_stored(given: dict, said: str):
    """Each names what is wrong, and none reaches a broker."""
    with pytest.raises(MessageIllegal, match=said) as caught:
        checked_properties("id", **given)
    assert isinstance(caught.value, InvalidArgument)


def test_compression_is_used_only_where_it_helps():
    """Above the limit and smaller by it: zlib, with the flag that every client knows."""
    assert packed(b"x" * 100, None) == (b"x" * 100, 0)
    assert packed(b"x" * 100, 100) == (b"x" * 100, 0)
    body, flag = packed(b"x" * 5_000, 4_096)
    assert (zlib.decompress(body), flag) == (b"x" * 5_000, 0x301)
    noise = Random(1).randbytes(5_000)
    assert packed(noise, 4_096) == (noise, 0)


def test_ids_are_unique_and_carry_their_time():
    """Equal clock, later clock, next month: never the same; tools read the millisecond."""
    moment = datetime(2026, 11, 30, 23, 59, 59, 999_000, tzinfo=UTC)
    now = int(moment.timestamp() * 1_000)
    clock = [now]
    ids = MessageIds(Random(7), lambda: clock[0])
    first = [ids.next() for _ in range(1_000)]
    clock[0] = now + 1
    second = [ids.next() for _ in range(1_000)]
    assert len({*first, *second}) == 2_000
    assert {len(each) for each in first + second} == {32}
    assert {int(each[20:28], 16) for each in first} == {30 * 86_400_000 - 1}
    assert {int(each[20:28], 16) for each in second} == {0}
    assert first[0][8:20] != second[0][8:20], "chance is drawn anew with the month"
