"""Dead letters: counted by cause, sent back once, to whom they belong."""

import pytest
import trio

from broker_trio.client.admin.dead_letters import OrderedGroup, SentBack, cause_of
from broker_trio.client.admin.problems import NoSuchGroup
from broker_trio.model.codes import RequestCode
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.message import MessageExt
from broker_trio.wire.bodies.lock import LockRequest, encode_lock_request

from .cluster import Running, running


async def with_dead(cluster: Running, count: int = 3) -> None:
    """Group `billing` gives up `count` messages of topic `orders`."""
    await cluster.topic("orders")
    await cluster.admin.groups.put(SubscriptionGroupConfig("billing"))
    for number in range(count):
        message_id = await cluster.send(
            "orders", b"%d" % number, tag=f"T{number % 2}", key="k", uniq=f"U{number}"
        )
        await cluster.kill_off("billing", message_id)


async def all_of(cluster: Running, **options: object) -> list[SentBack]:
    dead = await cluster.admin.dead_letters.of("billing")
    walk = cluster.admin.dead_letters.send_back(dead, **{"per_s": 1e6, **options})
    return [each async for each in walk]


async def test_dead_letters_are_listed_peeked_at_and_counted() -> None:
    """Which groups have some, what they are, and why."""
    async with running() as cluster:
        await with_dead(cluster)
        dead_letters = cluster.admin.dead_letters
        (group,) = await dead_letters.groups()
        assert (group.group, group.waiting, group.total) == ("billing", 3, 3)
        assert group.newest_ms > 0
        assert [m.body for m in await dead_letters.peek("billing", 2)] == [b"1", b"2"]
        assert [m.body for m in await dead_letters.peek("billing", 2, first=True)] == [b"0", b"1"]
        assert await dead_letters.count(group, "cause") == {"given up by the consumer": 3}
        assert await dead_letters.count(group, "topic") == {"orders": 3}
        assert await dead_letters.count(group, "tag") == {"T0": 2, "T1": 1}


async def test_a_group_without_dead_letters_has_none_and_an_unknown_one_is_named() -> None:
    """None is an answer, no such group is an error."""
    async with running() as cluster:
        await cluster.admin.groups.put(SubscriptionGroupConfig("billing"))
        assert (await cluster.admin.dead_letters.of("billing")).total == 0
        assert await cluster.admin.dead_letters.groups() == []
        with pytest.raises(NoSuchGroup):
            await cluster.admin.dead_letters.of("nobody")


async def test_what_is_sent_back_goes_to_the_retry_topic_with_fresh_attempts() -> None:
    """Body, tag, key and origin are kept; only this group gets it; a second run sends nothing."""
    async with running() as cluster:
        await with_dead(cluster)
        sent = await all_of(cluster)
        assert [each.topic for each in sent] == ["%RETRY%billing"] * 3
        retried = await cluster.admin.messages.newest("%RETRY%billing", 10)
        assert [(m.body, m.reconsume_times, m.tags) for m in retried] == [
            (b"0", 0, "T0"),
            (b"1", 0, "T1"),
            (b"2", 0, "T0"),
        ]
        assert {m.properties["RETRY_TOPIC"] for m in retried} == {"orders"}
        assert await all_of(cluster) == []
        (group,) = await cluster.admin.dead_letters.groups()
        assert (group.waiting, group.total) == (0, 3)


async def test_what_the_filter_passes_over_is_done_with_too() -> None:
    """Only what is wanted is sent; --from-first is the way to see the others again."""
    async with running() as cluster:
        await with_dead(cluster)
        sent = await all_of(cluster, wanted=lambda message: message.tags == "T1")
        assert [each.topic for each in sent] == ["", "%RETRY%billing", ""]
        assert (await cluster.admin.dead_letters.of("billing")).waiting == 0
        again = await all_of(cluster, wanted=lambda message: message.tags == "T0", everything=True)
        assert sum(bool(each.topic) for each in again) == 2


async def test_to_the_origin_it_is_a_new_message_of_that_topic() -> None:
    """Every group of the topic gets it; nothing of the retry is left in it."""
    async with running() as cluster:
        await with_dead(cluster, 1)
        (sent,) = await all_of(cluster, to="origin")
        assert sent.topic == "orders"
        (message,) = await cluster.admin.messages.newest("orders", 1)
        assert (message.body, message.queue_offset) == (b"0", 1)
        assert "RETRY_TOPIC" not in message.properties


async def test_an_interrupted_run_repeats_nothing_that_it_told() -> None:
    """The place follows each message: left after the first, two are sent by the next run."""
    async with running() as cluster:
        await with_dead(cluster)
        dead = await cluster.admin.dead_letters.of("billing")
        walk = cluster.admin.dead_letters.send_back(dead, per_s=1e6)
        async for _ in walk:
            break
        assert [each.message.body for each in await all_of(cluster)] == [b"1", b"2"]


async def test_the_rate_is_kept() -> None:
    """Three messages at 20 a second take two pauses of 50 ms."""
    async with running() as cluster:
        await with_dead(cluster)
        began = trio.current_time()
        await all_of(cluster, per_s=20.0)
        assert trio.current_time() - began >= 0.1


async def test_a_group_that_holds_locks_is_told_apart() -> None:
    """An ordered group's broker would make each a dead letter again: the first one says so."""
    async with running() as cluster:
        await with_dead(cluster)
        lock = LockRequest("billing", "client@1", [cluster.queue("orders")])
        address = cluster.brokers["broker-a"].address
        await cluster.calls.ask(
            address,
            RequestCode.LOCK_BATCH_MQ,
            body=lambda serialize: encode_lock_request(lock, serialize),
        )
        with pytest.raises(OrderedGroup, match="consumes in order"):
            await all_of(cluster)


@pytest.mark.parametrize(
    ("attempts", "properties", "cause"),
    [
        (16, {}, "16 attempts used up"),
        (3, {}, "given up by the consumer"),
        (3, {"DLQ_CAUSE": "ValueError: bad price"}, "ValueError: bad price"),
    ],
)
def test_the_cause_is_the_consumer_s_own_word_where_it_told(
    attempts: int, properties: dict[str, str], cause: str
) -> None:
    """Else it follows from the attempts."""
    message = MessageExt(
        topic="%DLQ%g", queue_id=0, queue_offset=0, physical_offset=0,
        reconsume_times=attempts, properties=properties,
    )  # fmt: skip
    assert cause_of(message) == cause
