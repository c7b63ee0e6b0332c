"""Heartbeats: Apache's sample, both versions, and subscriptions that are not believed."""

import msgspec
import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hashes import tags_code
from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.client import (
    CheckClientConfig,
    ConsumerSubscription,
    decode_check_client_config,
    decode_consumer_list,
    decode_consumer_subscription,
    encode_check_client_config,
    encode_consumer_list,
    encode_consumer_subscription,
)
from broker_trio.wire.bodies.heartbeat import (
    ConsumerData,
    HeartbeatData,
    ProducerData,
    decode_heartbeat,
    encode_heartbeat,
)
from broker_trio.wire.command import Serialize

# Spec §3.4, produced by Apache's classes.
SAMPLE = (
    b'{"clientID":"10.0.0.9@123#456","heartbeatFingerprint":0,"withoutSub":false,'
    b'"producerDataSet":[{"groupName":"PG"}],'
    b'"consumerDataSet":[{"groupName":"CG","consumeType":"CONSUME_PASSIVELY",'
    b'"messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,'
    b'"subscriptionDataSet":[{"classFilterMode":false,"codeSet":[65],"expressionType":"TAG",'
    b'"subString":"A||B","subVersion":1795406086327,"tagsSet":["A"],"topic":"T1"}]}]}'
)
SUBSCRIPTION = SubscriptionData(
    "T1", "A||B", frozenset({"A"}), frozenset({65}), sub_version=1795406086327
)
HEARTBEAT = HeartbeatData(
    client_id="10.0.0.9@123#456",
    producer_data_set=[ProducerData("PG")],
    consumer_data_set=[ConsumerData("CG", subscription_data_set=[SUBSCRIPTION])],
)
BOTH = pytest.mark.parametrize("serialize", [Serialize.JSON, Serialize.ROCKETMQ, Serialize.CBOR])


def subscribed(members: str) -> SubscriptionData:
    """The one subscription of a heartbeat that has these members."""
    text = '{"clientID":"c","consumerDataSet":[{"groupName":"G","subscriptionDataSet":[{%s}]}]}'
    data = decode_heartbeat((text % members).encode(), Serialize.JSON)
    return data.consumer_data_set[0].subscription_data_set[0]


def test_apache_s_sample() -> None:
    """Every member of the sample arrives."""
    assert decode_heartbeat(SAMPLE, Serialize.JSON) == HEARTBEAT


@BOTH
def test_round_trip(serialize: Serialize) -> None:
    """What a client of ours sends is what a broker reads."""
    assert decode_heartbeat(encode_heartbeat(HEARTBEAT, serialize), serialize) == HEARTBEAT


def test_version_two_without_subscriptions() -> None:
    """A fingerprint and `withoutSub` come through; the lists may be missing or null."""
    text = b'{"clientID":"c","heartbeatFingerprint":77,"withoutSub":true,"consumerDataSet":null}'
    data = decode_heartbeat(text, Serialize.JSON)
    assert data == HeartbeatData(client_id="c", heartbeat_fingerprint=77, without_sub=True)


def test_codes_are_our_own() -> None:
    """A client's `codeSet` is not believed: it is the hashes of its tags."""
    sent = subscribed('"topic":"T","tagsSet":["A","TagA"],"codeSet":[1,2,3],"subString":"A||TagA"')
    assert sent.code_set == {65, 2598919}


def test_tags_come_from_the_expression_where_there_are_none() -> None:
    """Clients that send the expression alone are filtered all the same."""
    sent = subscribed('"topic":"T","subString":" A || B "')
    assert sent.tags_set == {"A", "B"}
    assert sent.code_set == {tags_code("A"), tags_code("B")}


@pytest.mark.parametrize("expression", ['"*"', '""', "null"])
def test_everything_has_no_codes(expression: str) -> None:
    """`*`, an empty and a missing expression let everything pass."""
    assert subscribed(f'"topic":"T","subString":{expression},"codeSet":[9]').code_set == frozenset()


def test_sql_has_no_codes() -> None:
    """An SQL92 subscription keeps its expression and no code of the client's."""
    sent = subscribed('"topic":"T","subString":"a > 1","expressionType":"SQL92","codeSet":[9]')
    assert (sent.sub_string, sent.code_set) == ("a > 1", frozenset())


def test_old_clients_omit_members() -> None:
    """Defaults stand in for expressionType, codeSet, tagsSet and the version."""
    assert subscribed('"topic":"T"') == SubscriptionData("T")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"clientID":"c","consumerDataSet":{}}',
        b'{"clientID":"c","consumerDataSet":[{}]}',
        b'{"clientID":"c","consumerDataSet":[7]}',
        b'{"clientID":"c","producerDataSet":[{"groupName":{}}]}',
        b'{"clientID":"c","heartbeatFingerprint":"x"}',
        b'{"clientID":"c","consumerDataSet":[{"groupName":"G","subscriptionDataSet":'
        b'[{"topic":"T","subString":"||"}]}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_no_heartbeat(text: bytes) -> None:
    """Anything else is a RemoteProtocolError, whatever the serialisation."""
    for serialize in Serialize:
        with pytest.raises(RemoteProtocolError):
            decode_heartbeat(text, serialize)


@BOTH
def test_consumer_list(serialize: Serialize) -> None:
    """The members of a group go out and come back in order."""
    data = encode_consumer_list(["b@2", "a@1"], serialize)
    assert decode_consumer_list(data, serialize) == ["b@2", "a@1"]
    if serialize is not Serialize.CBOR:
        assert data == b'{"consumerIdList":["b@2","a@1"]}'


@BOTH
def test_check_client_config(serialize: Serialize) -> None:
    """46 carries the subscription as the client made it."""
    body = CheckClientConfig("c", "CG", None, SubscriptionData("T", "a>", expression_type="SQL92"))
    assert (
        decode_check_client_config(encode_check_client_config(body, serialize), serialize) == body
    )
    text = b'{"clientId":"cid","group":"CG","namespace":null,"subscriptionData":{"topic":"T"}}'
    read = decode_check_client_config(text, Serialize.JSON)
    assert read == CheckClientConfig("cid", "CG", None, SubscriptionData("T"))


@BOTH
def test_consumer_subscription(serialize: Serialize) -> None:
    """345's answer leaves out what is not known."""
    body = ConsumerSubscription("CG", "T")
    data = encode_consumer_subscription(body, serialize)
    assert decode_consumer_subscription(data, serialize) == body
    if serialize is not Serialize.CBOR:
        assert msgspec.json.decode(data) == {"group": "CG", "topic": "T"}
