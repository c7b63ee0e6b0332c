"""Consumer offsets: what a group committed, resets, and requests 14 and 15."""

import random

import pytest
import trio

from broker.fakes import running
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.model.errors import Refused
from broker_trio.model.topic import TopicConfig
from broker_trio.testing.sim_clock import ManualClock, SimClock
from broker_trio.testing.sim_disk import SimDisk


@pytest.fixture
def offsets():
    table = ConsumerOffsets(SimDisk(random.Random(1)), ManualClock())
    table.load(log_is_empty=True)
    return table


def test_the_last_commit_wins_backwards_too(offsets):
    """As RocketMQ does; the step back is counted."""
    assert offsets.query("G", "T", 0) == -1
    for offset in (5, 9, 3):
        assert offsets.commit("G", "T", 0, offset)
    assert (offsets.query("G", "T", 0), offsets.backwards) == (3, 1)
    assert offsets.query("G", "T", 1) == offsets.query("H", "T", 0) == -1


def test_a_pending_reset_wins_until_a_pull_takes_it(offsets):
    """Commits that race with the reset change nothing; the next pull gets the target, once."""
    offsets.commit("G", "T", 0, 9)
    offsets.reset("G", "T", 0, 2)
    assert not offsets.commit("G", "T", 0, 10)
    assert offsets.commit("G", "T", 1, 10)
    assert offsets.query("G", "T", 0) == 2
    assert [offsets.take_reset("G", "T", 0) for _ in range(2)] == [2, None]
    assert offsets.commit("G", "T", 0, 10)


def test_offsets_beyond_the_end_are_pulled_back(offsets):
    """After a truncation the group would otherwise skip what comes next."""
    offsets.commit("G", "T", 0, 10)
    offsets.commit("G", "T", 1, 5)
    offsets.commit("G", "gone", 0, 7)
    assert offsets.clamp(lambda topic, queue_id: 6 if topic == "T" else 0) == 2
    assert offsets.queues("G", "T") == {0: 6, 1: 5}
    assert offsets.query("G", "gone", 0) == 0


def test_the_table_has_a_limit_and_gives_room_back(offsets):
    """Known queues go on committing at the limit; a deleted group makes room."""
    offsets.entries_max = 1
    offsets.commit("G", "T", 0, 1)
    with pytest.raises(Refused, match="1 of 1 consumer offsets"):
        offsets.commit("G", "T", 1, 1)
    assert offsets.commit("G", "T", 0, 2)
    offsets.delete_group("G")
    assert offsets.commit("H", "T", 0, 1)


def test_who_consumes_what(offsets):
    """Groups by topic and topics by group; deleting a topic takes its offsets and resets along."""
    for group, topic in (("G", "T"), ("G", "U"), ("H", "T")):
        offsets.commit(group, topic, 0, 1)
    assert offsets.topics_of("G") == ["T", "U"]
    assert offsets.groups_of("T") == ["G", "H"]
    offsets.reset("G", "T", 0, 0)
    offsets.pulled("G", "T", 0, 8)
    offsets.delete_topic("T")
    assert (offsets.topics_of("G"), offsets.entries) == (["U"], 1)
    assert offsets.take_reset("G", "T", 0) is None
    assert offsets.query_pulled("G", "T", 0) == -1


async def test_commits_are_on_disk_within_five_seconds(autojump_clock):
    """And come back in the next process."""
    disk = SimDisk(random.Random(1), clock=SimClock())
    async with running("persister", disk=disk) as broker:
        for _ in range(9):
            broker.put()
        broker.parts.offsets.commit("G", "T", 0, 7)
        await trio.sleep(5.5)
        disk.crash(power=True)
    async with running(disk=disk) as broker:
        assert broker.parts.offsets.query("G", "T", 0) == 7


def query(group="G", **more):
    return {"consumerGroup": group, "topic": "T", "queueId": "0", **more}


async def test_a_new_group_on_a_young_queue_starts_at_0(autojump_clock):
    """Message 0 is there and near the end; asked not to do so, or without messages, it is 22."""
    async with running() as broker:
        assert (await broker.ask_later(14, query())).code == 22
        broker.put()
        answer = await broker.ask_later(14, query())
        assert (answer.code, answer.ext) == (0, {"offset": "0"})
        assert (await broker.ask_later(14, query(setZeroIfNotFound="false"))).code == 22
        broker.parts.offsets.commit("G", "T", 0, 1)
        assert (await broker.ask_later(14, query())).ext == {"offset": "1"}


async def test_a_new_group_on_an_old_queue_is_told_22(autojump_clock):
    """The client's own start rule decides where message 0 is far back in the log."""
    async with running() as broker:
        broker.put(body=b"x" * 60_000)
        while broker.store.log.max_offset < 900_000:
            broker.put("U", body=b"x" * 60_000)
            await trio.sleep(0.1)
        for service in broker.parts.requests:
            if hasattr(service, "_memory_bytes"):
                service._memory_bytes = 100_000
        assert (await broker.ask_later(14, query())).code == 22


async def test_a_cold_young_queue_is_answered_too(autojump_clock):
    """Where nothing can be read without waiting, the same answer comes a little later."""
    async with running() as broker:
        broker.put()
        await trio.sleep(3)
        broker.disk.cold = 1.0
        assert (await broker.ask_later(14, query())).ext == {"offset": "0"}


def commit(offset, group="G", queue_id=0):
    return {
        "consumerGroup": group, "topic": "T", "queueId": str(queue_id), "commitOffset": str(offset)
    }  # fmt: skip


async def test_commits_are_checked(autojump_clock):
    """Group, topic and queue must exist; past the end counts as the end."""
    async with running() as broker:
        assert broker.ask(15, commit(1)).code == 26
        broker.parts.groups.find_or_create("G")
        assert broker.ask(15, commit(1)).code == 17
        broker.parts.topics.put(TopicConfig("T", read_queue_nums=2, write_queue_nums=1))
        for bad in (commit(1, queue_id=2), commit(1, queue_id=-1), commit(-1)):
            assert broker.ask(15, bad).code == 29
        broker.put()
        assert broker.ask(15, commit(99)).code == 0
        assert broker.parts.offsets.query("G", "T", 0) == 1
        broker.parts.offsets.reset("G", "T", 0, 0)
        answer = broker.ask(15, commit(1))
        assert (answer.code, bool(answer.remark)) == (0, True)
        assert broker.parts.offsets.query("G", "T", 0) == 0
