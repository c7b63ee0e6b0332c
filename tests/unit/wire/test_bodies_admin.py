"""What administrators are shown: connections, producers, statistics, copies of the log."""

import pytest

from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.connection import (
    Connection,
    ConsumerConnection,
    ProducerInfo,
    decode_consumer_connection,
    decode_producer_connection,
    decode_producer_table,
    encode_consumer_connection,
    encode_producer_connection,
    encode_producer_table,
)
from broker_trio.wire.bodies.stats import (
    BrokerStatsData,
    BrokerStatsItem,
    HAClientInfo,
    HAConnectionInfo,
    HARuntimeInfo,
    decode_broker_stats,
    decode_ha_status,
    encode_broker_stats,
    encode_ha_status,
)
from broker_trio.wire.command import Serialize

JSON, CBOR = Serialize.JSON, Serialize.CBOR
BOTH = pytest.mark.parametrize("serialize", [JSON, CBOR])
ONE = Connection("cid", "1.2.3.4:5", "JAVA", 400)


@BOTH
def test_consumer_connection(serialize: Serialize) -> None:
    """203: the sample of spec §4.5 with one subscription."""
    body = ConsumerConnection(
        [ONE],
        {"T1": SubscriptionData("T1")},
        "CONSUME_PASSIVELY",
        "CLUSTERING",
        "CONSUME_FROM_LAST_OFFSET",
    )
    data = encode_consumer_connection(body, serialize)
    assert decode_consumer_connection(data, serialize) == body
    if serialize is JSON:
        assert data == (
            b'{"connectionSet":[{"clientAddr":"1.2.3.4:5","clientId":"cid","language":"JAVA",'
            b'"version":400}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",'
            b'"consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING",'
            b'"subscriptionTable":{"T1":{"classFilterMode":false,"codeSet":[],'
            b'"expressionType":"TAG","subString":"*","subVersion":0,"tagsSet":[],"topic":"T1"}}}'
        )


@BOTH
def test_producers(serialize: Serialize) -> None:
    """204 and 328; a language without a name is left out."""
    assert decode_producer_connection(encode_producer_connection([ONE], serialize), serialize) == [
        ONE
    ]
    table = {"PG": [ProducerInfo("cid", "1.2.3.4", None, 400, 5)]}
    data = encode_producer_table(table, serialize)
    assert decode_producer_table(data, serialize) == table
    if serialize is JSON:
        assert data == (
            b'{"data":{"PG":[{"clientId":"cid","lastUpdateTimestamp":5,"remoteIP":"1.2.3.4",'
            b'"version":400}]}}'
        )


@BOTH
def test_broker_stats(serialize: Serialize) -> None:
    """315: the sample of spec §4.4."""
    stats = BrokerStatsData(stats_day=BrokerStatsItem(1, 0.5, 2.0))
    data = encode_broker_stats(stats, serialize)
    assert decode_broker_stats(data, serialize) == stats
    if serialize is JSON:
        assert data.startswith(b'{"statsDay":{"avgpt":2.0,"sum":1,"tps":0.5},"statsHour":{')


@BOTH
def test_ha_status(serialize: Serialize) -> None:
    """907: the sample of spec §5.4 with the members of both roles."""
    info = HARuntimeInfo(
        master=True,
        ha_connection_info=[HAConnectionInfo("h:1", 1, 2, in_sync=True)],
        ha_client_runtime_info=HAClientInfo("m:1", max_offset=9),
    )
    data = encode_ha_status(info, serialize)
    assert decode_ha_status(data, serialize) == info
    if serialize is JSON:
        assert data == (
            b'{"haClientRuntimeInfo":{"lastReadTimestamp":0,"lastWriteTimestamp":0,'
            b'"masterAddr":"m:1","masterFlushOffset":0,"maxOffset":9,"transferredByteInSecond":0},'
            b'"haConnectionInfo":[{"addr":"h:1","diff":2,"inSync":true,"slaveAckOffset":1,'
            b'"transferFromWhere":0,"transferredByteInSecond":0}],"inSyncSlaveNums":0,'
            b'"master":true,"masterCommitLogMaxOffset":0}'
        )
