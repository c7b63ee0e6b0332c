"""Pulls that have to ask the device first, and find nothing after all."""

import trio

from broker.fakes import FakeSession, ask_later, request, running
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import Parked
from broker_trio.store.read_plan import GetStatus
from broker_trio.store.reader import GetResult


def pull_fields(**changes: str) -> dict[str, str]:
    return {
        "consumerGroup": "G", "topic": "T", "queueId": "0", "queueOffset": "0", "maxMsgNums": "32",
        "sysFlag": "6", "commitOffset": "0", "suspendTimeoutMillis": "15000", "subscription": "*",
        "subVersion": "0", "expressionType": "TAG", **changes,
    }  # fmt: skip


def make_cold(broker, meanwhile=lambda: None) -> None:
    """The next look has to ask the device, which then has nothing."""
    reader = broker.store.reader
    hot, high = reader.get_nowait, broker.store.queues.max_offset("T", 0)

    def block(*_place, **_limits):
        raise trio.WouldBlock

    async def get(*_place, **_limits):
        await trio.lowlevel.checkpoint()
        meanwhile()
        reader.get_nowait = hot
        return GetResult(GetStatus.OFFSET_FOUND_NULL, high, 0, high, [])

    reader.get_nowait, reader.get = block, get


async def ask_cold(broker, session, **changes: str):
    """The result of the task that a cold pull becomes."""
    asked = request(11, pull_fields(**changes), session=session)
    later = broker.dispatcher.dispatch(asked)
    assert not isinstance(later, Parked)
    return await later()


async def test_a_cold_pull_that_finds_nothing_is_held(autojump_clock):
    """It waits for the next message like one that found nothing at once."""
    async with running("held") as broker:
        broker.parts.topics.put_many([TopicConfig("T")])
        broker.put()
        make_cold(broker)
        assert isinstance(await ask_cold(broker, FakeSession()), Parked)
        assert broker.parts.held.count == 1
        broker.put()
        assert (broker.parts.held.count, broker.parts.held.woken) == (0, 1)


async def test_a_cold_pull_is_answered_where_nobody_would_wake_it(autojump_clock):
    """Something arrived while the device was asked, the client will not wait, or it has gone."""
    async with running("held") as broker:
        broker.parts.topics.put_many([TopicConfig("T")])
        broker.put()
        make_cold(broker, broker.put)
        assert (await ask_cold(broker, FakeSession())).code == 19
        make_cold(broker)
        assert (await ask_cold(broker, FakeSession(), suspendTimeoutMillis="0")).code == 19
        make_cold(broker)
        assert (await ask_cold(broker, FakeSession(closed=True))).code == 19
        assert broker.parts.held.count == 0


async def test_no_pull_is_held_beyond_the_connection_s_limit(autojump_clock):
    """2, naming the limits, whether the device was asked before or not."""
    async with running() as broker:
        broker.parts.topics.put_many([TopicConfig("T")])
        full = FakeSession(parked_full=True)
        hot = await ask_later(broker.dispatcher, 11, pull_fields(), session=full)
        assert (hot.code, "remoting.parked_max" in hot.remark) == (2, True)
        assert broker.parts.held.refused == 1
