"""Looking for messages and offsets: 12, 29, 30, 31, 32, 33."""

import trio

from broker.fakes import running
from broker_trio.wire.record import decode_records


def by_key(key, topic="T", count=10, begin=0, end=1 << 60, **more):
    return {
        "topic": topic, "key": key, "maxNum": str(count),
        "beginTimestamp": str(begin), "endTimestamp": str(end), **more,
    }  # fmt: skip


def bodies(answer):
    body = answer.body
    data = b"".join(body) if isinstance(body, list) else body
    return [message.body for message in decode_records(data)]


async def test_messages_are_found_by_key_and_by_unique_key(autojump_clock):
    """Any word of KEYS, or UNIQ_KEY; the header says how far the index is."""
    async with running() as broker:
        broker.put(body=b"1", KEYS="a b")
        broker.put(body=b"2", KEYS="b", UNIQ_KEY="U2")
        broker.put("V", body=b"3", KEYS="b")
        assert bodies(await broker.ask_later(12, by_key("b"))) == [b"1", b"2"]
        assert bodies(await broker.ask_later(12, by_key("a"))) == [b"1"]
        answer = await broker.ask_later(12, by_key("U2", _UNIQUE_KEY_QUERY="true"))
        assert bodies(answer) == [b"2"]
        assert answer.ext["indexLastUpdatePhyoffset"] == str(broker.store.log.max_offset)


async def test_a_key_that_nobody_has_is_22(autojump_clock):
    """Also one of another topic or time; absurd keys and counts are bounded."""
    async with running() as broker:
        stored = broker.put(KEYS="a")
        for ask in (by_key("x"), by_key("a", "V"), by_key("a", end=stored.store_timestamp_ms - 9)):
            assert (await broker.ask_later(12, ask)).code == 22
        assert (await broker.ask_later(12, by_key("a", count=-5))).code == 0
        assert (await broker.ask_later(12, by_key("k" * 5000))).code == 29


async def test_a_message_is_found_by_its_place(autojump_clock):
    """Exactly there, whole; any other offset is 1."""
    async with running() as broker:
        stored = broker.put(body=b"1")
        answer = await broker.ask_later(33, {"offset": str(stored.physical_offset)})
        assert bodies(answer) == [b"1"]
        for offset in (stored.physical_offset + 1, -1, 1 << 62):
            assert (await broker.ask_later(33, {"offset": str(offset)})).code == 1


async def test_bounds_of_a_queue(autojump_clock):
    """Max is what the next message gets; an unknown queue is empty."""
    async with running() as broker:
        where = {"topic": "T", "queueId": "0"}
        assert broker.ask(30, where).ext == broker.ask(31, where).ext == {"offset": "0"}
        assert (await broker.ask_later(32, where)).ext == {"timestamp": "-1"}
        first = broker.put()
        broker.put()
        assert (broker.ask(30, where).ext, broker.ask(31, where).ext) == (
            {"offset": "2"}, {"offset": "0"},
        )  # fmt: skip
        earliest = await broker.ask_later(32, where)
        assert earliest.ext == {"timestamp": str(first.store_timestamp_ms)}


async def test_offsets_by_time(autojump_clock):
    """LOWER: the first at or after; UPPER: the last at or before; outside: the ends."""
    async with running() as broker:
        times = []
        for _ in range(5):
            times.append(broker.put().store_timestamp_ms)
            await trio.sleep(1)

        async def search(timestamp, boundary=None):
            ext = {"topic": "T", "queueId": "0", "timestamp": str(timestamp)}
            if boundary:
                ext["boundaryType"] = boundary
            return int((await broker.ask_later(29, ext)).ext["offset"])

        assert await search(times[2]) == await search(times[2], "upper") == 2
        assert (await search(times[2] + 1), await search(times[2] + 1, "UPPER")) == (3, 2)
        assert (await search(times[4] + 999), await search(times[4] + 999, "UPPER")) == (5, 4)
        assert (await search(0), await search(0, "UPPER")) == (0, 0)
