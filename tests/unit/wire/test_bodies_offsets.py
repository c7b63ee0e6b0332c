"""Consumer progress, resets and locks: Apache's samples, queue keys, bare keys."""

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import DataVersion
from broker_trio.wire.bodies.lock import (
    LockRequest,
    decode_lock_request,
    decode_lock_result,
    encode_lock_request,
    encode_lock_result,
)
from broker_trio.wire.bodies.offsets import (
    BrokerConsumeStats,
    ConsumerOffsetTable,
    ConsumerStatus,
    ConsumeStats,
    DelayOffsetTable,
    OffsetWrapper,
    QueueTimeSpan,
    decode_broker_consume_stats,
    decode_consume_stats,
    decode_consume_time_span,
    decode_consumer_offsets,
    decode_consumer_status,
    decode_delay_offsets,
    decode_reset_offset,
    encode_broker_consume_stats,
    encode_consume_stats,
    encode_consume_time_span,
    encode_consumer_offsets,
    encode_consumer_status,
    encode_delay_offsets,
    encode_reset_offset,
)
from broker_trio.wire.command import Serialize

JSON, CBOR = Serialize.JSON, Serialize.CBOR
BOTH = pytest.mark.parametrize("serialize", [JSON, CBOR])
QUEUE = MessageQueue("T1", "broker-a", 0)

# Spec §4.4, produced by Apache's classes.
STATS = (
    b'{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:{'
    b'"brokerOffset":10,"consumerOffset":5,"lastTimestamp":0,"pullOffset":0}}}'
)


def test_consume_stats_are_apache_s_text() -> None:
    """Byte for byte and back."""
    stats = ConsumeStats({QUEUE: OffsetWrapper(10, 5)})
    assert encode_consume_stats(stats, JSON) == STATS
    assert decode_consume_stats(STATS, JSON) == stats
    assert decode_consume_stats(encode_consume_stats(stats, CBOR), CBOR) == stats


@BOTH
def test_broker_consume_stats(serialize: Serialize) -> None:
    """317 nests the tables of 208 in a list of maps."""
    stats = BrokerConsumeStats("h:1", [{"CG": [ConsumeStats({QUEUE: OffsetWrapper(2, 1)})]}], 1, 0)
    data = encode_broker_consume_stats(stats, serialize)
    assert decode_broker_consume_stats(data, serialize) == stats


def test_offset_tables_have_bare_keys() -> None:
    """43 and 45 as in spec §5.1; quoted keys are read as well."""
    table = ConsumerOffsetTable(DataVersion(), {"T1@CG": {0: 5}})
    version = b'"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0}'
    assert encode_consumer_offsets(table, JSON) == (
        b"{" + version + b',"offsetTable":{"T1@CG":{0:5}}}'
    )
    delays = DelayOffsetTable(DataVersion(), {1: 100})
    assert encode_delay_offsets(delays, JSON) == b"{" + version + b',"offsetTable":{1:100}}'
    for text in (b'{"offsetTable":{"T1@CG":{0:5}}}', b'{"offsetTable":{"T1@CG":{"0":"5"}}}'):
        assert decode_consumer_offsets(text, JSON) == table
    assert decode_delay_offsets(b'{"offsetTable":{"1":100}}', JSON) == delays


def test_offset_tables_in_cbor() -> None:
    """Integer keys stay integers."""
    table = ConsumerOffsetTable(DataVersion(1, 2, 3), {"T1@CG": {0: 5, 7: 2**62}})
    assert decode_consumer_offsets(encode_consumer_offsets(table, CBOR), CBOR) == table
    delays = DelayOffsetTable(DataVersion(), {18: 1})
    assert decode_delay_offsets(encode_delay_offsets(delays, CBOR), CBOR) == delays


@BOTH
def test_reset_offset(serialize: Serialize) -> None:
    """222 and 220: bare object keys without spaces, or the flat form of the C++ client."""
    data = encode_reset_offset({MessageQueue("T", "b", 0): 7}, serialize)
    assert decode_reset_offset(data, serialize) == {MessageQueue("T", "b", 0): 7}
    if serialize is JSON:
        assert data == b'{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}'
        assert encode_reset_offset({MessageQueue("T", "b", 0): 7}, JSON, for_c=True) == (
            b'{"offsetTable":[{"brokerName":"b","offset":7,"queueId":0,"topic":"T"}]}'
        )


@BOTH
def test_consumer_status(serialize: Serialize) -> None:
    """223 maps client ids to tables."""
    status = ConsumerStatus({}, {"cid": {QUEUE: 9}})
    data = encode_consumer_status(status, serialize)
    assert decode_consumer_status(data, serialize) == status


def test_a_repeated_queue_may_be_a_reference() -> None:
    """fastjson writes `$ref` for an object that it wrote before: as a key it is dropped."""
    text = (
        b'{"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:1,'
        b'{"$ref":"$.messageQueueTable.null"}:2},"consumerTable":{}}'
    )
    assert decode_consumer_status(text, JSON).message_queue_table == {MessageQueue("T", "b", 0): 1}


@BOTH
def test_consume_time_span(serialize: Serialize) -> None:
    """303."""
    spans = [QueueTimeSpan(QUEUE, 1, 2, 3, 4)]
    data = encode_consume_time_span(spans, serialize)
    assert decode_consume_time_span(data, serialize) == spans
    if serialize is JSON:
        assert data == (
            b'{"consumeTimeSpanSet":[{"consumeTimeStamp":3,"delayTime":4,"maxTimeStamp":2,'
            b'"messageQueue":{"brokerName":"broker-a","queueId":0,"topic":"T1"},"minTimeStamp":1}]}'
        )


@BOTH
def test_locks(serialize: Serialize) -> None:
    """41 and 42, and what 41 answers."""
    request = LockRequest("CG", "cid", [MessageQueue("T", "b", 0)], only_this_broker=False)
    data = encode_lock_request(request, serialize)
    assert decode_lock_request(data, serialize) == request
    answer = encode_lock_result(request.mq_set, serialize)
    assert decode_lock_result(answer, serialize) == request.mq_set
    if serialize is JSON:
        assert data == (  # spec §3.7
            b'{"clientId":"cid","consumerGroup":"CG","mqSet":[{"brokerName":"b","queueId":0,'
            b'"topic":"T"}],"onlyThisBroker":false}'
        )
        assert answer == b'{"lockOKMQSet":[{"brokerName":"b","queueId":0,"topic":"T"}]}'


def test_a_lock_request_without_queues() -> None:
    """Java may write null for an empty set."""
    text = b'{"clientId":"c","consumerGroup":"g","mqSet":null}'
    assert decode_lock_request(text, JSON) == LockRequest("g", "c")


@pytest.mark.parametrize("number", [b"1e30", b"9223372036854775808", b'"1e3"', b"1.5", b"[]"])
def test_offsets_are_longs(number: bytes) -> None:
    """What Java's long cannot hold is refused in every body."""
    with pytest.raises(RemoteProtocolError):
        decode_delay_offsets(b'{"offsetTable":{"1":' + number + b"}}", JSON)
    with pytest.raises(RemoteProtocolError):
        decode_consume_time_span(
            b'{"consumeTimeSpanSet":[{"messageQueue":{"topic":"T","brokerName":"b","queueId":'
            + number
            + b"}}]}",
            JSON,
        )
