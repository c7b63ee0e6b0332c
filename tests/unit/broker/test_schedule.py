"""Delayed messages: in time, in order, at least once, never skipped."""

import itertools
import random

import msgspec
import pytest
import trio

from broker.fakes import SMALL, running
from broker_trio.broker.schedule import PATH, from_schedule, to_schedule
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.model.names import SCHEDULE_TOPIC
from broker_trio.model.topic import TopicConfig
from broker_trio.store.store import Draft
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.properties import parse_properties


def bodies(broker, topic="T", queue_id=0):
    return [message.body for message in broker.messages(topic, queue_id)]


def test_a_delayed_message_waits_under_its_level():
    """Topic and queue move into properties, timers lose against a level, levels are capped."""
    draft = Draft("T", 3, b"x", b"TAGS\x01A\x02TIMER_DELAY_MS\x0150\x02", 0, 0, 0, b"12345678", 9)
    waiting = to_schedule(draft, 99)
    assert (waiting.topic, waiting.queue_id) == (SCHEDULE_TOPIC, 17)
    assert parse_properties(waiting.properties) == {
        "TAGS": "A", "DELAY": "18", "REAL_TOPIC": "T", "REAL_QID": "3",
    }  # fmt: skip
    assert (draft.topic, draft.queue_id) == ("T", 3)


async def test_messages_come_when_they_are_due_and_not_before(autojump_clock):
    """Each level after its own delay, within a look of a second, wherever it was sent."""
    async with running("schedule") as broker:
        sent = trio.current_time()
        for level in (3, 1, 2):
            broker.put("T", 0, str(level).encode(), level=level)
        for count, at in enumerate(DELAY_LEVELS_S[:3]):
            await trio.sleep_until(sent + at - 0.01)
            assert len(bodies(broker)) == count
            await trio.sleep_until(sent + at + 0.05)
            assert len(bodies(broker)) == count + 1
        assert bodies(broker) == [b"1", b"2", b"3"]


async def test_what_is_delivered_is_the_message_that_was_sent(autojump_clock):
    """Body, flag, born data, tags and retries as they were; DELAY is gone, REAL_* stay."""
    async with running("schedule") as broker:
        broker.put("T", 2, b"body", level=1, times=4, TAGS="TagA", KEYS="k", UNIQ_KEY="u")
        await trio.sleep(2)
        (message,) = broker.messages("T", 2)
        assert message.properties == {
            "TAGS": "TagA", "KEYS": "k", "UNIQ_KEY": "u", "REAL_TOPIC": "T", "REAL_QID": "2",
        }  # fmt: skip
        assert (message.body, message.flag, message.reconsume_times) == (b"body", 5, 4)
        assert (message.born_timestamp_ms, message.born_host) == (77, "10.9.9.9:4000")
        assert message.store_timestamp_ms >= broker.clock.wall_ms() - 1100
        assert broker.store.queues.get("T", 2).unit_at(0).tags_code == 2598919


async def test_a_level_delivers_in_the_order_of_its_queue(autojump_clock):
    """Far more than a batch, all due at once, one behind the other."""
    async with running("schedule") as broker:
        for number in range(600):
            broker.put("T", 0, str(number).encode(), level=1)
        await trio.sleep(3)
        assert bodies(broker) == [str(number).encode() for number in range(600)]
        assert broker.parts.schedule.delivered == 600


async def test_an_idle_schedule_does_not_tick(autojump_clock):
    """Nothing waits: not one look in a day; time jumps from one flush of the store to the next."""
    async with running("schedule") as broker:
        looks = 0
        deliver = broker.parts.schedule._deliver_level

        async def counting(level):
            nonlocal looks
            looks += 1
            return await deliver(level)

        broker.parts.schedule._deliver_level = counting
        await trio.sleep(60)
        assert looks == 0


async def test_a_message_that_may_not_be_read_yet_is_waited_for(autojump_clock):
    """pair_rules, script unkept: a slave attached to a restarted master, who had confirmed nothing
    yet, and was promoted. A delayed message that both had on disk was due, could not be read below
    the confirm offset, and was passed as unreadable: lost."""
    async with running("schedule") as broker:
        broker.put("T", 0, b"x", level=1)
        bound, broker.store.bound = broker.store.bound, 0
        await trio.sleep(5)
        schedule = broker.parts.schedule
        assert (bodies(broker), schedule.offsets()[1], schedule.passed) == ([], 0, 0)
        broker.store.bound = bound
        await trio.sleep(1)
        assert bodies(broker) == [b"x"]


async def test_a_delayed_message_comes_to_a_queue_that_readers_are_shown(autojump_clock):
    """pair_promises, seed 48: a slave promoted before it knew the topic made it again with the
    queues that held messages; a delayed one for another queue came where nobody reads."""
    async with running("schedule") as broker:
        topics = broker.parts.topics
        topics.put(TopicConfig("narrow", 1, 1))
        broker.put("narrow", 2, b"x", level=1)
        broker.put("unknown", 12, b"y", level=1)
        topics.delete("unknown")
        await trio.sleep(5)
        assert (bodies(broker, "narrow", 2), bodies(broker, "unknown", 12)) == ([b"x"], [b"y"])
        narrow, unknown = topics.require("narrow"), topics.require("unknown")
        assert (narrow.read_queue_nums, narrow.write_queue_nums) == (3, 1)
        assert unknown.read_queue_nums == 13
        topics.topics_max = len(topics.table)
        broker.put("no-room", 0, b"z", level=1)
        await trio.sleep(5)
        assert bodies(broker, "no-room") == [b"z"]


async def test_a_refused_append_leaves_the_message_where_it_is(autojump_clock):
    """Full disk: the level waits, and goes on when there is space."""
    async with running("schedule") as broker:
        for number in range(3):
            broker.put("T", 0, str(number).encode(), level=1)
        append = broker.store.append

        def refusing(draft):
            raise Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "disk full")

        broker.store.append = refusing
        await trio.sleep(5)
        assert (bodies(broker), broker.parts.schedule.offsets()[1]) == ([], 0)
        broker.store.append = append
        await trio.sleep(1)
        assert bodies(broker) == [b"0", b"1", b"2"]


async def test_every_third_append_refused_loses_nothing(autojump_clock):
    """The bug that skipped a message on a failed put cannot come back."""
    async with running("schedule") as broker:
        for number in range(30):
            broker.put("T", 0, str(number).encode(), level=1)
        append, calls = broker.store.append, itertools.count(1)

        def moody(draft):
            if next(calls) % 3 == 0:
                raise Refused(ResponseCode.SYSTEM_BUSY, "busy")
            return append(draft)

        broker.store.append = moody
        await trio.sleep(10)
        assert bodies(broker) == [str(number).encode() for number in range(30)]


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
async def test_a_step_of_the_wall_clock_neither_stops_nor_loses_messages(autojump_clock, step_ms):
    """Back: what is due further ahead than its delay counts as due. Forward: due at once."""
    async with running("schedule") as broker:
        broker.put(level=2)
        await trio.sleep(0.1)
        broker.clock.step(step_ms)
        await trio.sleep(1.2)
        assert len(bodies(broker)) == 1


async def test_a_position_beyond_the_queue_is_pulled_back(autojump_clock):
    """A delayOffset.json of another life does not make a level wait for ever."""
    clock = SimClock()
    disk = SimDisk(random.Random(1), clock=clock)
    text = b'{"dataVersion":{},"offsetTable":{1:1000}}'
    disk.open(PATH, create=True).write_at(0, text)
    async with running("schedule", disk=disk) as broker:
        broker.put(level=1)
        await trio.sleep(1.5)
        assert len(bodies(broker)) == 1


async def test_a_bad_record_is_passed_and_counted(autojump_clock):
    """One message without REAL_TOPIC, and one for a half topic: the level goes on."""
    async with running("schedule") as broker:
        for properties in ({}, {"REAL_TOPIC": "RMQ_SYS_TRANS_HALF_TOPIC", "REAL_QID": "0"}):
            broker.put(SCHEDULE_TOPIC, 0, b"bad", DELAY="1", **properties)
        broker.put(level=1)
        await trio.sleep(2)
        assert (len(bodies(broker)), broker.parts.schedule.passed) == (1, 2)


def test_bytes_that_are_no_record_are_no_message():
    """What a damaged log gives ends in the error that `passed` counts."""
    with pytest.raises(RemoteProtocolError):
        from_schedule(b"\0" * 100)


async def test_a_position_is_persisted_only_when_its_messages_are_on_disk(autojump_clock):
    """Between delivery and fsync the file still names the old place."""
    slow = msgspec.structs.replace(SMALL, flush_interval_ms=20_000)
    async with running("schedule", "persister", store=slow) as broker:
        broker.put(level=1)
        await trio.sleep(10)
        schedule = broker.parts.schedule
        assert (schedule.offsets()[1], b"1:1" in broker.disk.read(PATH)) == (1, False)
        await trio.sleep(30)
        assert b"1:1" in broker.disk.read(PATH)


async def test_a_clean_restart_repeats_nothing(autojump_clock):
    """What was delivered and persisted stays delivered."""
    clock = SimClock()
    disk = SimDisk(random.Random(1), clock=clock)
    async with running("schedule", "persister", disk=disk) as broker:
        broker.put(level=1)
        await trio.sleep(10)
        await broker.store.stop()
    async with running("schedule", disk=disk) as broker:
        await trio.sleep(10)
        assert len(bodies(broker)) == 1


@pytest.mark.slow
async def test_power_loss_at_any_operation_loses_no_delayed_message(autojump_clock):
    """SYNC_FLUSH: whatever was acknowledged is delivered after the restart, perhaps twice."""
    sync = msgspec.structs.replace(SMALL, flush_disk_type="SYNC_FLUSH")
    repeated = 0
    for operation in range(40, 400, 7):
        disk = SimDisk(random.Random(operation), clock=SimClock())
        acknowledged = []
        disk.faults.power_off_at(operation)
        try:
            async with running("schedule", "persister", disk=disk, store=sync) as broker:
                for number in range(40):
                    appended = broker.put("T", 0, str(number).encode(), level=1)
                    await broker.store.wait_flushed(appended.next_physical_offset)
                    acknowledged.append(str(number).encode())
                    await trio.sleep(0.1)
        except (Dead, BaseExceptionGroup):
            pass
        disk.faults.clear()
        disk.restart()
        async with running("schedule", disk=disk, store=sync) as broker:
            await trio.sleep(10)
            found = bodies(broker)
        assert set(acknowledged) <= set(found), f"power off at operation {operation}"
        repeated += len(found) - len(set(found))
    assert repeated, "no run was cut between a delivery and its persisted position"
