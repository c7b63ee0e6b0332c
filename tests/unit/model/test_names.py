"""Names of topics and groups."""

import pytest

from broker_trio.model import names


@pytest.mark.parametrize("topic", ["T", "a" * 127, "ns%T", "a|b", "%RETRY%" + "g" * 248, "-_-"])
def test_legal_topics(topic):
    """Legal characters up to the length limit pass; retry topics may be longer."""
    assert names.check_topic(topic) is None


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "blank"),
        ("  ", "blank"),
        ("a" * 128, "128 characters"),
        ("%DLQ%" + "g" * 251, "256 characters"),
        ("a.b", "other than"),
        ("../x", "other than"),
        ("a\n", "other than"),
        ("日本", "other than"),
    ],
)
def test_illegal_topics(topic, reason):
    """Blank, too long or foreign characters: ValueError with a text for the user."""
    with pytest.raises(ValueError, match=reason):
        names.check_topic(topic)


def test_groups_are_shorter():
    """A group may have 120 characters, not 121."""
    names.check_group("g" * 120)
    with pytest.raises(ValueError, match="121 characters"):
        names.check_group("g" * 121)


def test_derived_names():
    """Retry, DLQ, pop retry and reply topics are formed and recognised."""
    assert names.retry_topic("g") == "%RETRY%g"
    assert names.dlq_topic("g") == "%DLQ%g"
    assert names.pop_retry_topic_v1("g", "t") == "%RETRY%g_t"
    assert names.pop_retry_topic_v2("g", "t") == "%RETRY%g+t"
    assert names.reply_topic("c") == "c_REPLY_TOPIC"
    assert names.is_retry("%RETRY%g")
    assert not names.is_retry("%DLQ%g")
    assert names.is_dlq("%DLQ%g")
    assert names.is_lmq("%LMQ%q")


def test_system_names():
    """System topics are the listed ones and a prefix; what is not sendable is among them."""
    assert names.is_system_topic("SCHEDULE_TOPIC_XXXX")
    assert names.is_system_topic("rmq_sys_anything")
    assert not names.is_system_topic("orders")
    assert not {topic for topic in names.NOT_SENDABLE if not names.is_system_topic(topic)}
    assert "TBW102" not in names.NOT_SENDABLE
    assert names.is_system_group("CID_RMQ_SYS_TRANS")
