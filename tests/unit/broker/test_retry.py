"""Messages that a consumer could not handle."""

import msgspec
import pytest
import trio

from broker.fakes import SMALL, running
from broker_trio.broker.retry import is_dead, retry_level
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.hosts import encode_host
from broker_trio.model.route import MessageQueue
from broker_trio.store.store import Draft


def service(broker):
    return next(one for one in broker.parts.requests if hasattr(one, "redirect"))


def back(appended, level=0, **more):
    offset = str(appended.physical_offset)
    return {"offset": offset, "group": "G", "delayLevel": str(level), **more}


@pytest.mark.parametrize(("times", "wanted", "level"), [(0, 0, 3), (4, 0, 7), (4, 2, 2)])
def test_each_attempt_waits_longer_unless_the_client_says_how_long(times, wanted, level):
    """10 s, 30 s, 1 min and so on."""
    assert retry_level(times, wanted) == level


@pytest.mark.parametrize(
    ("times", "limit", "wanted", "dead"), [(15, 16, 0, False), (16, 16, 0, True), (0, 16, -1, True)]
)
def test_attempts_end(times, limit, wanted, dead):
    """After so many, or when the client gives up at once."""
    assert is_dead(times, limit, wanted) is dead


async def test_a_message_sent_back_comes_again_in_the_retry_topic(autojump_clock):
    """After its delay, as a copy that counts one attempt more and knows where it came from."""
    async with running("schedule") as broker:
        first = broker.put(body=b"b", TAGS="A", UNIQ_KEY="u")
        assert (await broker.ask_later(36, back(first))).code == 0
        await trio.sleep(9)
        assert broker.messages("%RETRY%G") == []
        await trio.sleep(2)
        (copy,) = broker.messages("%RETRY%G")
        assert (copy.body, copy.reconsume_times, copy.uniq_key, copy.tags) == (b"b", 1, "u", "A")
        assert copy.properties["RETRY_TOPIC"] == "T"
        (original,) = broker.messages()
        assert copy.properties["ORIGIN_MESSAGE_ID"] == original.message_id
        assert broker.parts.topics.get("%RETRY%G").perm == 6


async def test_the_consumer_s_cause_is_kept_on_one_line(autojump_clock):
    """Of the last attempt, short, and nothing in it parts properties."""
    async with running("schedule") as broker:
        cause = "ValueError: \x01bad\x02\n" + "x" * 300
        await broker.ask_later(36, back(broker.put(DLQ_CAUSE="older"), -1, cause=cause))
        (dead,) = broker.messages("%DLQ%G")
        assert dead.properties["DLQ_CAUSE"] == "ValueError:  bad  " + "x" * 182


async def test_the_second_return_still_names_the_first_message(autojump_clock):
    """RETRY_TOPIC and ORIGIN_MESSAGE_ID are set once."""
    async with running("schedule") as broker:
        broker.put("%RETRY%G", times=1, RETRY_TOPIC="T", ORIGIN_MESSAGE_ID="first")
        (stored,) = broker.messages("%RETRY%G")
        await broker.ask_later(36, {**back(broker.put()), "offset": str(stored.physical_offset)})
        await trio.sleep(40)
        copy = broker.messages("%RETRY%G")[-1]
        assert copy.properties["RETRY_TOPIC"] == "T"
        assert (copy.properties["ORIGIN_MESSAGE_ID"], copy.reconsume_times) == ("first", 2)


async def test_a_message_without_attempts_left_is_a_dead_letter(autojump_clock):
    """At once, into a topic of its own; the request's own limit counts from V3_4_9 on."""
    async with running() as broker:
        assert (await broker.ask_later(36, back(broker.put(times=16)))).code == 0
        assert [message.reconsume_times for message in broker.messages("%DLQ%G")] == [17]
        assert (await broker.ask_later(36, back(broker.put(), level=-1))).code == 0
        more = back(broker.put(times=2), maxReconsumeTimes="2")
        assert (await broker.ask_later(36, more)).code == 0
        assert len(broker.messages("%DLQ%G")) == 3
        await broker.ask_later(36, more, version=100)
        assert len(broker.messages("%DLQ%G")) == 3
        assert broker.parts.stats.group_topic("G", "T").dead_letters == 3


async def test_what_cannot_be_sent_back_is_refused(autojump_clock):
    """The client then sends the message to the retry topic itself."""
    async with running() as broker:
        stored = broker.put()
        groups, topics, settings = broker.parts.groups, broker.parts.topics, broker.parts.settings
        assert (await broker.ask_later(36, {**back(stored), "offset": "12345"})).code == 1
        assert (await broker.ask_later(36, {**back(stored), "offset": "3"})).code == 1
        settings.auto_create_subscription_group = False
        assert (await broker.ask_later(36, {**back(stored), "group": "H"})).code == 26
        groups.put(SubscriptionGroupConfig("N", retry_queue_nums=0))
        assert (await broker.ask_later(36, {**back(stored), "group": "N"})).code == 0
        assert topics.get("%RETRY%N") is None
        settings.broker_permission = 4
        assert (await broker.ask_later(36, back(stored))).code == 16


async def test_under_sync_flush_the_answer_waits_for_the_disk(autojump_clock):
    """And is an error where the disk does not answer in time: the client sends it again."""
    sync = msgspec.structs.replace(SMALL, flush_disk_type="SYNC_FLUSH", flush_timeout_ms=500)
    async with running(store=sync) as broker:
        stored = broker.put()
        await broker.store.wait_flushed(stored.next_physical_offset)
        assert (await broker.ask_later(36, back(stored))).code == 0
        assert broker.store.log.flushed_offset == broker.store.log.max_offset
        wait_flushed = broker.store.wait_flushed

        async def never(physical_end):
            await trio.sleep_forever()

        broker.store.wait_flushed = never
        assert (await broker.ask_later(36, back(stored))).code == 1
        broker.store.wait_flushed = wait_flushed


def draft(times):
    return Draft(
        "%RETRY%G", 0, b"x", b"DELAY\x013\x02A\x01b\x02", 0, 0, 0, encode_host("10.0.0.9:1"), 0,
        times,
    )  # fmt: skip


async def test_a_plain_send_to_a_retry_topic_may_be_a_dead_letter(autojump_clock):
    """More attempts than allowed, or a group that consumes orderly: no delay, the DLQ topic."""
    async with running() as broker:
        retry = service(broker)
        broker.parts.groups.put(SubscriptionGroupConfig("G", retry_max_times=3))
        same = draft(3)
        assert retry.redirect(same, {"DELAY": "3", "A": "b"}, None) is same
        for times, limit in ((4, None), (2, 1)):
            properties = {"DELAY": "3", "A": "b"}
            dead = retry.redirect(draft(times), properties, limit)
            assert (dead.topic, dead.queue_id, dead.properties) == ("%DLQ%G", 0, b"A\x01b\x02")
            assert properties == {"A": "b"}
        clock = broker.clock.monotonic()
        broker.parts.locks.try_lock("G", MessageQueue("T", "b", 0), "c", clock)
        assert retry.redirect(draft(0), {"DELAY": "3"}, None).topic == "%DLQ%G"


async def test_retry_topics_are_made_for_groups_only(autojump_clock):
    """A send to the retry topic of nobody is 26, and leaves no topic behind."""
    async with running() as broker:
        retry = service(broker)
        broker.parts.settings.auto_create_subscription_group = False
        for topic in ("%RETRY%X", "%DLQ%X"):
            with pytest.raises(Refused) as caught:
                retry.topic_for_send(topic)
            assert caught.value.code == 26
            assert broker.parts.topics.get(topic) is None
        broker.parts.groups.put(SubscriptionGroupConfig("G", retry_queue_nums=2))
        assert retry.topic_for_send("%RETRY%G").read_queue_nums == 2
        assert retry.topic_for_send("%DLQ%G").read_queue_nums == 1
