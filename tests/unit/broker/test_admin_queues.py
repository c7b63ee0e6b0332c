"""What tools ask of single queues (303, 308, 321), and of clients about theirs (223)."""

import json

import trio

from broker.fakes import FakeSession, running
from broker.test_admin_requests import HEARTBEAT, java, topic
from broker_trio.broker.admin.queues import NEVER
from broker_trio.model.hashes import tags_code
from broker_trio.model.route import MessageQueue
from broker_trio.wire.bodies.offsets import ConsumerStatus, encode_consumer_status
from broker_trio.wire.command import Command, Serialize


async def test_time_spans_tell_how_far_a_group_is_behind(autojump_clock):
    """303: first, last and last consumed message of each queue, and how long the next waits."""
    async with running() as broker:
        await broker.ask_later(17, topic(readQueueNums="2", writeQueueNums="2"))
        stored = [broker.put().store_timestamp_ms]
        for _ in range(2):
            await trio.sleep(60)
            stored.append(broker.put().store_timestamp_ms)
        broker.parts.offsets.commit("G", "T", 0, 1)
        await trio.sleep(5)
        answer = await broker.ask_later(303, {"topic": "T", "group": "G"})
        first, second = json.loads(answer.body)["consumeTimeSpanSet"]
        assert (first["minTimeStamp"], first["maxTimeStamp"]) == (stored[0], stored[2])
        assert (first["consumeTimeStamp"], first["delayTime"]) == (stored[0], 65_000)
        assert (second["minTimeStamp"], second["delayTime"]) == (-1, 0)
        assert broker.ask(303, {"topic": "none", "group": "G"}).code == 17


async def test_corrections_compare_a_group_with_the_slowest(autojump_clock):
    """308: the smallest offset of the others, NEVER where it is before them; nothing is deleted."""
    async with running() as broker:
        for _ in range(9):
            broker.put()
        for group, offset in (("slow", 3), ("fast", 6)):
            broker.parts.offsets.commit(group, "T", 0, offset)

        def ask(**fields):
            return java(broker.ask(308, {"topic": "T", **fields}).body)["correctionOffsets"]

        assert ask(compareGroup="fast") == {"0": 3}
        assert ask(compareGroup="fast", filterGroups="slow") == {"0": 6}
        assert ask(compareGroup="slow", filterGroups="slow,other") == {"0": NEVER}
        assert ask(compareGroup="none", filterGroups="slow,fast") == {}
        assert broker.parts.offsets.query("slow", "T", 0) == 3


async def test_units_of_a_queue_are_shown(autojump_clock):
    """321: positions, sizes, codes, and whether a group's subscription lets them pass."""
    async with running() as broker:
        heartbeat = json.loads(json.dumps(HEARTBEAT).replace('"*"', '"A"'))
        broker.ask(34, body=json.dumps(heartbeat).encode())
        stored = [broker.put(TAGS=tag) for tag in ("A", "B", "A")]
        ask = {"topic": "T", "queueId": "0", "index": "1", "count": "9", "consumerGroup": "G"}
        body = json.loads((await broker.ask_later(321, ask)).body)
        assert (body["minQueueIndex"], body["maxQueueIndex"]) == (0, 3)
        assert body["queueData"] == [
            {
                "eval": tag == "A", "physicOffset": one.physical_offset, "physicSize": one.size,
                "tagsCode": tags_code(tag),
            }
            for one, tag in zip(stored[1:], "BA", strict=True)
        ]  # fmt: skip
        past = await broker.ask_later(321, {**ask, "index": "3"})
        assert (past.code, past.body) == (0, b"")
        assert (await broker.ask_later(321, {**ask, "queueId": "7"})).code == 1
        offline = {**ask, "consumerGroup": "H", "count": "-5"}
        body = json.loads((await broker.ask_later(321, offline)).body)
        assert (body["filterData"], body["queueData"]) == ("H@T is not online!", [])


class Silent(FakeSession):
    """A client that hangs."""

    async def call(self, command):
        await trio.sleep_forever()


async def test_clients_tell_what_they_consumed(autojump_clock):
    """223: every client is asked at once; who does not answer, or nonsense, is left out."""
    async with running() as broker:
        good, bad, silent = FakeSession(), FakeSession(), Silent()
        table = {MessageQueue("T", "broker-a", 0): 7}
        body = encode_consumer_status(ConsumerStatus(message_queue_table=table), Serialize.JSON)
        good.reply, bad.reply = Command(0, flag=1, body=body), Command(0, flag=1, body=b"[[")
        for name, session in (("good", good), ("bad", bad), ("silent", silent)):
            heartbeat = HEARTBEAT | {"clientID": name}
            broker.ask(34, body=json.dumps(heartbeat).encode(), session=session)
        begin = trio.current_time()
        answer = await broker.ask_later(223, {"topic": "T", "group": "G"})
        assert round(trio.current_time() - begin) == 5
        told = java(answer.body)
        assert (told["consumerTable"], told["messageQueueTable"]) == ({"good": {"T/0": 7}}, {})
        assert (good.sent[-1].code, good.sent[-1].ext) == (221, {"topic": "T", "group": "G"})
        ask = {"topic": "T", "group": "G", "clientAddr": "bad"}
        assert java((await broker.ask_later(223, ask)).body)["consumerTable"] == {}
        assert (await broker.ask_later(223, {"topic": "T", "group": "none"})).code == 1
