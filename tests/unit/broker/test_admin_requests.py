"""What mqadmin, the dashboard and the exporter ask a broker."""

import json
import re

import pytest
import trio

from broker.fakes import FakeSession, running
from broker_trio.model.codes import RequestCode
from broker_trio.model.hosts import encode_host, message_id
from broker_trio.model.topic import TopicConfig
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.record import decode_record

HEARTBEAT = {
    "clientID": "c",
    "consumerDataSet": [
        {
            "groupName": "G", "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet": [{"topic": "T", "subString": "*", "subVersion": 1}],
        }
    ],
    "producerDataSet": [{"groupName": "P"}],
}  # fmt: skip


def topic(name="T", **more):
    return {
        "topic": name, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "order": "false", **more,
    }  # fmt: skip


def java(body):
    """Apache's object-keyed JSON with the keys made texts of `topic/queue`."""
    keyed = re.sub(
        r'\{"brokerName":"([^"]*)","queueId":(\d+),"topic":"([^"]*)"\}:', r'"\3/\2":', body.decode()
    )
    return json.loads(re.sub(r"([{,])(\d+):", r'\1"\2":', keyed))


async def test_a_topic_is_created_changed_and_durable_when_answered(autojump_clock):
    """17 is answered when the file has it; the same again changes nothing; attributes merge."""
    async with running() as broker:
        created = topic(attributes="+message.type=FIFO")
        assert (await broker.ask_later(17, created)).code == 0
        assert b'"T"' in broker.disk.read("config/topics.json")
        version = broker.parts.topics.data_version
        assert broker.ask(17, created).code == 0
        assert broker.parts.topics.data_version == version
        more = topic(perm="4", attributes="+reserve.time=5")
        assert (await broker.ask_later(17, more)).code == 0
        answer = json.loads((await broker.ask_later(351, {"topic": "T"})).body)
        assert (answer["perm"], answer["attributes"]) == (
            4, {"message.type": "FIFO", "reserve.time": "5"},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("ext", "code"),
    [
        (topic("a.b"), 29),
        (topic("TBW102"), 29),
        (topic("DefaultCluster"), 29),
        (topic("rmq_sys_x"), 29),
        (topic(perm="99"), 29),
        (topic(topicFilterType="X"), 29),
        (topic(readQueueNums="-1"), 29),
        (topic(readQueueNums="x"), 1),
        (topic(attributes="+message.type=MIXED"), 1),
        ({"topic": "T"}, 1),
    ],
)
async def test_impossible_topics_are_refused(autojump_clock, ext, code):
    """Bad names, system topics, values out of range, missing fields: an answer, and no topic."""
    async with running() as broker:
        before = dict(broker.parts.topics.table)
        assert (await broker.ask_later(17, ext)).code == code
        assert broker.parts.topics.table == before


async def test_the_topic_table_comes_whole_and_in_pages(autojump_clock):
    """Pages by name, with the number of all topics; together they are the table."""
    async with running() as broker:
        broker.parts.topics.put_many([TopicConfig(f"T{number}") for number in range(5)])
        whole = broker.ask(21)
        table = json.loads(whole.body)["topicConfigTable"]
        assert whole.ext == {"totalTopicNum": str(len(table))}
        pages = {}
        for first in range(0, len(table), 3):
            page = broker.ask(21, {"topicSeq": str(first), "maxTopicNum": "3", "dataVersion": "{}"})
            pages.update(json.loads(page.body)["topicConfigTable"])
        assert pages == table


async def test_deleting_a_topic_takes_its_messages_and_offsets(autojump_clock):
    """Under the same name messages go on at the next offset, and groups begin anew."""
    async with running() as broker:
        await broker.ask_later(17, topic())
        broker.put()
        broker.parts.offsets.commit("G", "T", 0, 1)
        assert (await broker.ask_later(215, {"topic": "T"})).code == 0
        assert broker.parts.topics.get("T") is None
        assert broker.messages() == []
        assert broker.parts.offsets.query("G", "T", 0) == -1
        assert (await broker.ask_later(215, {"topic": "TBW102"})).code == 29
        assert broker.put().queue_offset == 1


async def test_statistics_of_a_topic(autojump_clock):
    """202: every queue's bounds and its last message's time; unknown topics are 17."""
    async with running() as broker:
        await broker.ask_later(17, topic(readQueueNums="2", writeQueueNums="1"))
        stored = broker.put()
        table = java((await broker.ask_later(202, {"topic": "T"})).body)["offsetTable"]
        assert table == {
            "T/0": {
                "lastUpdateTimestamp": stored.store_timestamp_ms,
                "maxOffset": 1,
                "minOffset": 0,
            },
            "T/1": {"lastUpdateTimestamp": 0, "maxOffset": 0, "minOffset": 0},
        }
        assert (await broker.ask_later(202, {"topic": "U"})).code == 17


async def test_groups_are_administered(autojump_clock):
    """200, 352, 201, 353, 207: made, shown, barred, deleted with their offsets."""
    async with running() as broker:
        body = b'{"groupName":"G","retryMaxTimes":3}'
        assert (await broker.ask_later(200, body=body)).code == 0
        assert b'"G"' in broker.disk.read("config/subscriptionGroup.json")
        assert json.loads(broker.ask(352, {"group": "G"}).body)["retryMaxTimes"] == 3
        assert broker.ask(352, {"group": "H"}).code == 26
        listed = json.loads(broker.ask(201).body)["subscriptionGroupTable"]
        assert "G" in listed
        broker.parts.topics.put(TopicConfig("T"))
        ext = {"group": "G", "topic": "T"}
        assert json.loads(broker.ask(353, ext).body)["readable"] is True
        assert json.loads(broker.ask(353, {**ext, "readable": "false"}).body)["readable"] is False
        assert broker.ask(353, {"group": "X", "topic": "T"}).code == 26
        broker.parts.offsets.commit("G", "T", 0, 0)
        await broker.ask_later(207, {"groupName": "G", "cleanOffset": "true"})
        assert broker.parts.groups.get("G") is None
        assert broker.parts.offsets.topics_of("G") == []
        assert (await broker.ask_later(200, body=b'{"groupName":"a b"}')).code == 29


async def test_progress_of_a_group(autojump_clock):
    """208: what is there, consumed, pulled, and when the last consumed message was stored."""
    async with running() as broker:
        broker.parts.topics.put(TopicConfig("T", read_queue_nums=2, write_queue_nums=2))
        first = broker.put()
        broker.put()
        broker.parts.groups.find_or_create("G")
        broker.parts.offsets.commit("G", "T", 0, 1)
        broker.parts.offsets.pulled("G", "T", 0, 2)
        stats = java((await broker.ask_later(208, {"consumerGroup": "G"})).body)
        assert stats["offsetTable"] == {
            "T/0": {
                "brokerOffset": 2, "consumerOffset": 1, "pullOffset": 2,
                "lastTimestamp": first.store_timestamp_ms,
            },
            "T/1": {"brokerOffset": 0, "consumerOffset": 0, "pullOffset": 0, "lastTimestamp": 0},
        }  # fmt: skip
        assert java((await broker.ask_later(208, {"consumerGroup": "X"})).body)["offsetTable"] == {}
        whole = java((await broker.ask_later(317, {"isOrder": "false"})).body)
        assert (whole["totalDiff"], whole["totalInflightDiff"]) == (1, 1)


async def test_a_reset_moves_the_group_and_tells_the_next_pull(autojump_clock):
    """222 by time, to the end, to an offset; outside the queue it is refused and nothing moves."""
    async with running() as broker:
        broker.parts.topics.put(TopicConfig("T", read_queue_nums=1, write_queue_nums=1))
        times = []
        for _ in range(3):
            times.append(broker.put().store_timestamp_ms)
            await trio.sleep(1)
        offsets = broker.parts.offsets
        offsets.commit("G", "T", 0, 3)

        async def reset(**more):
            ext = {"topic": "T", "group": "G", "timestamp": "-1", "isForce": "true", **more}
            return await broker.ask_later(222, ext)

        assert java((await reset(timestamp=str(times[1]))).body)["offsetTable"] == {"T/0": 1}
        assert (offsets.query("G", "T", 0), offsets.take_reset("G", "T", 0)) == (1, 1)
        await reset()
        assert offsets.query("G", "T", 0) == 3
        await reset(queueId="0", offset="2")
        assert offsets.query("G", "T", 0) == 2
        for bad in ({"queueId": "0", "offset": "9"}, {"queueId": "7"}):
            assert (await reset(**bad)).code == 1
        assert (await reset(topic="U")).code == 17
        assert offsets.query("G", "T", 0) == 2
        flat = await broker.ask_later(
            222, {"topic": "T", "group": "G", "timestamp": "-1", "isForce": "true"}, language=1
        )
        assert json.loads(flat.body)["offsetTable"][0]["offset"] == 3


async def test_offsets_are_cloned_and_exported(autojump_clock):
    """314 copies a group's places; 43 and 45 are the tables as slaves read them."""
    async with running() as broker:
        broker.parts.topics.put(TopicConfig("T"))
        broker.parts.offsets.commit("G", "T", 0, 5)
        assert broker.ask(314, {"srcGroup": "G", "destGroup": "H", "topic": "T"}).code == 0
        assert broker.parts.offsets.query("H", "T", 0) == 5
        assert java(broker.ask(43).body)["offsetTable"] == {"T@G": {"0": 5}, "T@H": {"0": 5}}
        assert java(broker.ask(45).body)["offsetTable"]["1"] == 0


async def test_runtime_information_has_every_key_that_tools_need(autojump_clock):
    """The exporter drops the whole sample for one missing or unreadable key."""
    longs = [
        "bootTimestamp",
        "brokerVersion",
        "putMessageTimesTotal",
        "putMessageSizeTotal",
        "putMessageEntireTimeMax",
        "getMessageEntireTimeMax",
        "dispatchMaxBuffer",
        "dispatchBehindBytes",
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "msgPutTotalTodayNow",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "msgGetTotalTodayNow",
        "pageCacheLockTimeMills",
        "earliestMessageTimeStamp",
        "startAcceptSendRequestTimeStamp",
        "remainTransientStoreBufferNumbs",
        "commitLogMinOffset",
        "commitLogMaxOffset",
        "sendThreadPoolQueueSize",
        "sendThreadPoolQueueCapacity",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueSize",
        "pullThreadPoolQueueCapacity",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueSize",
        "queryThreadPoolQueueCapacity",
        "queryThreadPoolQueueHeadWaitTimeMills",
    ]
    async with running() as broker:
        stored = broker.put(level=3)
        table = json.loads((await broker.ask_later(28)).body)["table"]
        assert {name: int(table[name]) for name in longs}
        for name in ("commitLogDiskRatio", "consumeQueueDiskRatio", "putMessageAverageSize"):
            assert 0 <= float(table[name]) <= 1 or name == "putMessageAverageSize"
        for name in ("putTps", "getFoundTps", "getMissTps", "getTotalTps", "getTransferredTps"):
            assert len(table[name].split(" ")) == 3
        assert table["scheduleMessageOffset_3"] == "0,1"
        assert table["earliestMessageTimeStamp"] == str(stored.store_timestamp_ms)
        assert table["brokerVersionDesc"].startswith("V5_")
        assert table["brokerActive"] == "true"
        assert all(isinstance(value, str) for value in table.values())


async def test_settings_are_shown_and_a_few_may_change(autojump_clock):
    """26 has what tools read; 25 changes all of the given hot ones, or none."""
    async with running() as broker:
        shown = dict(
            line.split("=", 1) for line in broker.ask(26).body.decode().splitlines()
        )  # fmt: skip
        assert (shown["brokerName"], shown["listenPort"]) == ("broker-a", "10911")
        assert json.loads(broker.ask(26).ext["version"]).keys() == {
            "counter", "stateVersion", "timestamp",
        }  # fmt: skip
        settings, topics = broker.parts.settings, broker.parts.topics
        version = topics.data_version
        assert broker.ask(25, body=b"brokerPermission=4\nunknown=1\n").code == 0
        assert settings.broker_permission == 4
        assert topics.data_version > version
        for body, code in (
            (b"brokerPermission=6\nstorePathRootDir=/", 16),
            (b"brokerPermission=6\nfileReservedTime=1", 1),
            (b"brokerPermission=9", 1),
            (b"longPollingEnable=maybe", 1),
            (b"traceOn=false", 1),
        ):
            assert broker.ask(25, body=body).code == code
        assert settings.broker_permission == 4
        assert broker.ask(25, body=b"fileReservedTime=72").code == 0
        assert broker.ask(25, body=b"defaultTopicQueueNums=3").code == 0
        assert topics.create_for_send("T", "TBW102", 8).write_queue_nums == 3


async def test_counters_by_name(autojump_clock):
    """315: minute, hour and day; a counter that never moved is 1."""
    async with running() as broker:
        stats = broker.parts.stats
        stats.topic("T").puts, stats.topic("T").put_bytes = 30, 300
        stats.totals.puts = 30
        stats.tick(stats.started + 10)
        body = broker.ask(315, {"statsName": "TOPIC_PUT_SIZE", "statsKey": "T"}).body
        minute = json.loads(body)["statsMinute"]
        assert minute == {"sum": 300, "tps": 30.0, "avgpt": 10.0}
        broker_wide = {"statsName": "BROKER_PUT_NUMS", "statsKey": "DefaultCluster"}
        assert json.loads(broker.ask(315, broker_wide).body)["statsDay"]["sum"] == 30
        assert broker.ask(315, {"statsName": "TOPIC_PUT_NUMS", "statsKey": "U"}).code == 1


async def test_connections_are_listed(autojump_clock):
    """203, 204, 328, 343, 345, 300 after one heartbeat; without one they say so."""
    async with running() as broker:
        assert broker.ask(203, {"consumerGroup": "G"}).code == 206
        assert broker.ask(204, {"producerGroup": "P"}).code == 1
        broker.ask(34, body=json.dumps(HEARTBEAT).encode(), version=400, language=9)
        consumers = json.loads(broker.ask(203, {"consumerGroup": "G"}).body)
        assert consumers["connectionSet"] == [
            {"clientAddr": "10.9.9.9:5000", "clientId": "c", "language": "GO", "version": 400}
        ]
        assert consumers["subscriptionTable"]["T"]["subString"] == "*"
        producers = json.loads(broker.ask(204, {"producerGroup": "P"}).body)
        assert [one["clientId"] for one in producers["connectionSet"]] == ["c"]
        assert json.loads(broker.ask(328).body)["data"]["P"][0]["remoteIP"] == "10.9.9.9:5000"
        assert json.loads(broker.ask(343, {"group": "G"}).body)["topicList"] == ["T"]
        one = json.loads(broker.ask(345, {"group": "G", "topic": "T"}).body)
        assert one["subscriptionData"]["topic"] == "T"
        assert json.loads(broker.ask(300, {"topic": "T"}).body)["groupList"] == ["G"]
        assert "SCHEDULE_TOPIC_XXXX" in json.loads(broker.ask(305).body)["topicList"]


async def test_a_question_is_passed_on_to_the_client(autojump_clock):
    """307: the same fields go to the client, its answer comes back as it is."""
    async with running() as broker:
        session = FakeSession()
        broker.ask(34, body=json.dumps(HEARTBEAT).encode(), session=session)
        session.reply = Command(0, flag=1, body=b'{"properties":{}}', remark="r")
        ext = {"consumerGroup": "G", "clientId": "c", "jstackEnable": "true", "more": "x"}
        answer = await broker.ask_later(307, ext)
        assert (answer.code, answer.remark, answer.body) == (0, "r", b'{"properties":{}}')
        assert (session.sent[-1].code, session.sent[-1].ext) == (307, ext)
        assert (await broker.ask_later(307, {**ext, "clientId": "d"})).code == 1
        session.reply = trio.ClosedResourceError("gone")
        assert (await broker.ask_later(307, ext)).code == 1


async def test_a_client_that_does_not_answer_costs_ten_seconds(autojump_clock):
    """207, and nobody else waits."""

    class Silent(FakeSession):
        async def call(self, command):
            await trio.sleep_forever()

    async with running() as broker:
        broker.ask(34, body=json.dumps(HEARTBEAT).encode(), session=Silent())
        begin = trio.current_time()
        answer = await broker.ask_later(307, {"consumerGroup": "G", "clientId": "c"})
        assert (answer.code, round(trio.current_time() - begin)) == (207, 10)


async def test_a_client_is_made_to_consume_one_message(autojump_clock):
    """309: the broker puts the stored message into the body, and its own name beside."""
    async with running() as broker:
        session = FakeSession()
        broker.ask(34, body=json.dumps(HEARTBEAT).encode(), session=session)
        session.reply = Command(0, flag=1)
        stored = broker.put(body=b"look")
        host = encode_host("10.0.0.1:10911")
        ext = {
            "consumerGroup": "G", "clientId": "c",
            "msgId": message_id(host, stored.physical_offset),
        }  # fmt: skip
        assert (await broker.ask_later(309, ext)).code == 0
        assert decode_record(session.sent[-1].body).body == b"look"
        assert session.sent[-1].ext["brokerName"] == "broker-a"
        wrong = message_id(host, stored.physical_offset + 1)
        assert (await broker.ask_later(309, {**ext, "msgId": wrong})).code == 1
        assert (await broker.ask_later(309, {**ext, "msgId": "zz"})).code == 1


async def test_filters_are_checked_for_clients(autojump_clock):
    """46: tags are fine, SQL92 is refused before the consumer starts."""
    async with running() as broker:
        for kind, code in (("TAG", 0), ("SQL92", 1)):
            body = {
                "clientId": "c", "group": "G",
                "subscriptionData": {"topic": "T", "subString": "a", "expressionType": kind},
            }  # fmt: skip
            assert broker.ask(46, body=json.dumps(body).encode()).code == code
        for code in (306, 316, 329):
            assert broker.ask(code).code == 0


async def test_no_request_of_a_stranger_crashes_the_broker(autojump_clock):
    """Every route, with nothing and with nonsense, in each serialisation: an answer each time."""
    async with running() as broker:
        values = ("", "x", "-1", "99999999999999999999", "true", "%RETRY%", "\x00")
        names = [
            "topic",
            "consumerGroup",
            "producerGroup",
            "group",
            "queueId",
            "offset",
            "timestamp",
            "isForce",
            "clientId",
            "msgId",
            "statsName",
            "statsKey",
            "isOrder",
            "srcGroup",
            "destGroup",
            "groupName",
            "maxNum",
            "key",
            "beginTimestamp",
            "endTimestamp",
            "delayLevel",
            "commitOffset",
            "clientID",
        ]
        codes = [code for code in broker.dispatcher.routes if code not in PULLS]
        for code in sorted(codes):
            for serialize in Serialize:
                for value in values:
                    for body in (b"", b"{}", b"\xff\x00"):
                        ext = dict.fromkeys(names, value)
                        answer = await broker.ask_later(code, ext, body, serialize=serialize)
                        assert isinstance(answer.code, int), f"{RequestCode(code).name} {value!r}"
        assert broker.ask(26).code == 0


PULLS = {RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE}
"""They may be held; their own tests are elsewhere."""
