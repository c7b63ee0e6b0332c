"""What a subscription may be told: nonsense is refused by name and value, before any network."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from broker_trio.client.connect import connect
from broker_trio.client.consumer_options import ConsumerOptions, SubscribeNames, check_names
from broker_trio.client.errors import ClientClosed, InvalidArgument, InvalidName
from broker_trio.client.process_queue import Limits
from broker_trio.client.tag_filter import EVERYTHING, TagFilter, filters_of
from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue


def options(**named: Any) -> ConsumerOptions:
    return ConsumerOptions(**{"group": "g", "filters": filters_of("t", "*"), **named})


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"group": "no blanks"}, "group = 'no blanks'"),
        ({"filters": filters_of("a/b", "*")}, "topic = 'a/b'"),
        ({"filters": filters_of("%RETRY%g", "*")}, "come to it by themselves"),
        ({"filters": {}}, "0 topics"),
        ({"filters": filters_of([f"t{n}" for n in range(257)], "*")}, "257 topics"),
        ({"mode": "cluster "}, "mode = 'cluster '"),
        ({"mode": "broadcast", "ordered": True}, "broadcasts have no locks"),
        ({"start": "now"}, "start = 'now'"),
        ({"start": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"on_error": "ignore"}, "on_error = 'ignore'"),
        ({"concurrency": 0}, "concurrency = 0"),
        ({"hold_s": -1.0}, "hold_s = -1.0"),
        ({"prefetch": Limits(messages=0)}, "prefetch"),
        ({"retries_max": -1}, "retries_max = -1"),
    ],
)
def test_nonsense_is_refused(named: dict[str, Any], text: str) -> None:
    """The message names what was given."""
    with pytest.raises(InvalidArgument, match=text):
        options(**named)


def test_names_are_a_kind_of_argument() -> None:
    """So that one `except` catches both."""
    with pytest.raises(InvalidName):
        options(group="")


def test_subscribe_takes_every_option_by_name() -> None:
    """The typed names of `subscribe` and the options are one list."""
    fields = set(ConsumerOptions.__dataclass_fields__) - {"group", "filters"}
    assert set(SubscribeNames.__annotations__) == fields


def test_a_group_listens_to_its_retries_too() -> None:
    """Only in a cluster: a broadcast has none."""
    assert options().topics == ["t", "%RETRY%g"]
    assert options(mode="broadcast").topics == ["t"]
    tags = options(filters=filters_of(["t", "u"], "A || B")).subscriptions(7)
    assert [(each.topic, each.sub_string, each.sub_version) for each in tags] == [
        ("t", "A || B", 7),
        ("u", "A || B", 7),
        ("%RETRY%g", "*", 7),
    ]


@pytest.mark.parametrize(
    ("named", "spent"),
    [
        ({}, [False] * 16 + [True]),
        ({"retries_max": 1}, [False, True]),
        ({"retries_max": 0}, [True]),
        ({"ordered": True}, [False] * 100),
        ({"ordered": True, "retries_max": 1}, [False, True]),
    ],
)
def test_when_a_message_is_given_up(named: dict[str, Any], spent: list[bool]) -> None:
    """16 retries; ordered messages hold up their queue for ever unless told otherwise."""
    told = options(**named)
    assert [told.spent(attempt) for attempt in range(1, len(spent) + 1)] == spent


def test_where_heartbeats_say_that_a_group_begins() -> None:
    """The names that brokers and tools know."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    starts = ("first", "last", moment, {MessageQueue("t", "b", 0): 7})
    told = [options(start=start).from_where.removeprefix("CONSUME_FROM_") for start in starts]
    assert told == ["FIRST_OFFSET", "LAST_OFFSET", "TIMESTAMP", "TIMESTAMP"]


@pytest.mark.parametrize("expression", ["||", " || ", "A" * 9 + "||" + "||".join("abcdefgh" * 1)])
def test_filters_are_parsed_once(expression: str) -> None:
    """An expression without a tag is an error, blanks around tags are none."""
    if expression.strip(" |"):
        assert TagFilter.parse(expression).tags == {"A" * 9, *"abcdefgh"}
        return
    with pytest.raises(InvalidArgument, match="no tag in the expression"):
        TagFilter.parse(expression)


@pytest.mark.parametrize("expression", ["a > 5", "a<5", "TAGS = 'x'", "a IS NOT NULL", "x in (1)"])
def test_sql_is_told_apart_from_tags(expression: str) -> None:
    """Taken for a tag it would match nothing, silently and for ever."""
    with pytest.raises(InvalidArgument, match="reads like SQL, which is not supported"):
        TagFilter.parse(expression)
    assert TagFilter.parse("k=v || not paid || in-time").tags == {"k=v", "not paid", "in-time"}


def test_tags_that_share_a_hash_are_told_apart() -> None:
    """`AaAa` and `BBBB` are one number to a broker."""
    found = [
        MessageExt(topic="t", queue_id=0, queue_offset=0, physical_offset=0, properties=properties)
        for properties in ({"TAGS": "AaAa"}, {"TAGS": "BBBB"}, {})
    ]
    assert TagFilter.parse("AaAa || C").only(found) == found[:1]
    assert EVERYTHING.only(found) == found
    with pytest.raises(InvalidArgument, match="at least one topic"):
        filters_of([], "*")


async def test_subscribing_needs_an_entered_client() -> None:
    """Arguments are looked at first."""
    mq = connect("localhost")
    with pytest.raises(InvalidArgument):
        mq.subscribe("t", group="g", filter="||")
    with pytest.raises(ClientClosed):
        mq.subscribe("t", group="g")
    with pytest.raises(ClientClosed):
        mq.pull("g")


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"tags": "A"}, "no option tags; did you mean filter?"),
        ({"concurency": 1}, "no option concurency; did you mean concurrency?"),
        ({"zzz": 1}, "there are: "),
    ],
)
def test_an_option_of_another_name_is_told_with_ours(named: dict[str, Any], text: str) -> None:
    """Java says tags, we say filter; a misspelt name is told with the nearest."""
    with pytest.raises(TypeError, match=re.escape(text)):
        check_names(named)
