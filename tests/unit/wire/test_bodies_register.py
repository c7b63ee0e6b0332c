"""A broker's registration in its three forms."""

import zlib
from struct import pack

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire.bodies.register import (
    RegisterBrokerBody,
    decode_register_body,
    encode_register_body,
)
from broker_trio.wire.bodies.topic_config import TopicConfigSerializeWrapper
from broker_trio.wire.command import Serialize

JSON, CBOR = Serialize.JSON, Serialize.CBOR
NOW = 479

# Spec §2.2, produced by Apache's classes.
SAMPLE = (
    b'{"filterServerList":[],"topicConfigSerializeWrapper":{'
    b'"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795406085767},'
    b'"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1795406085767},'
    b'"topicConfigTable":{"T1":{"attributes":{"message.type":"NORMAL"},"order":false,"perm":6,'
    b'"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,'
    b'"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}'
)
VERSION = DataVersion(timestamp=1795406085767)
T1 = TopicConfig("T1", attributes={"message.type": "NORMAL"})
BODY = RegisterBrokerBody(
    TopicConfigSerializeWrapper(VERSION, {"T1": T1}, mapping_data_version=VERSION)
)


def compressed(*sections: bytes) -> bytes:
    return zlib.compress(b"".join(sections), 9)


def piece(text: bytes) -> bytes:
    return pack(">i", len(text)) + text


ONE_TOPIC = (
    piece(b'{"counter":1,"stateVersion":0,"timestamp":2}'),
    pack(">i", 1),
    piece(b'T1 8 8 6 SINGLE_TAG {"message.type":"NORMAL"}'),
    piece(b"[]"),
)


def test_apache_s_sample_both_ways() -> None:
    """The plain form, byte for byte."""
    assert decode_register_body(SAMPLE, JSON, version=NOW) == BODY
    assert encode_register_body(BODY, JSON) == SAMPLE


@pytest.mark.parametrize("serialize", [JSON, CBOR])
def test_round_trip(serialize: Serialize) -> None:
    """Both serialisations carry everything."""
    body = RegisterBrokerBody(BODY.topic_config_serialize_wrapper, ["f:1"])
    assert (
        decode_register_body(encode_register_body(body, serialize), serialize, version=NOW) == body
    )


def test_no_body_is_an_empty_table() -> None:
    """Then the version is all zero."""
    body = decode_register_body(b"", JSON, version=NOW)
    assert body.topic_config_serialize_wrapper.topic_config_table == {}
    assert body.topic_config_serialize_wrapper.data_version == DataVersion()


def test_before_3_0_11_the_body_is_the_bare_wrapper() -> None:
    """The same text means another thing from version 37 on."""
    text = b'{"dataVersion":{"counter":3},"topicConfigTable":{"T1":{"topicName":"T1"}}}'
    old = decode_register_body(text, JSON, version=36).topic_config_serialize_wrapper
    assert old.data_version.counter == 3
    assert old.topic_config_table == {"T1": TopicConfig("T1")}
    new = decode_register_body(text, JSON, version=37).topic_config_serialize_wrapper
    assert new.topic_config_table == {}


def test_null_wrapper_is_an_empty_one() -> None:
    """Java writes null where a broker has nothing to say."""
    text = b'{"topicConfigSerializeWrapper":null,"filterServerList":null}'
    assert decode_register_body(text, JSON, version=NOW) == RegisterBrokerBody()


def test_compressed_with_and_without_mapping() -> None:
    """V5_0_0 adds a section; older brokers end before it."""
    mapping = b'{"topic":"T1","bname":"broker-a","totalQueues":4}'
    new = compressed(*ONE_TOPIC, pack(">i", 1), piece(mapping))
    wrapper = decode_register_body(
        new, JSON, version=413, compressed=True
    ).topic_config_serialize_wrapper
    assert wrapper.data_version == DataVersion(timestamp=2, counter=1)
    assert wrapper.topic_config_table == {"T1": T1}
    assert wrapper.topic_queue_mapping_info_map == {
        "T1": {"topic": "T1", "bname": "broker-a", "totalQueues": 4}
    }
    old = decode_register_body(compressed(*ONE_TOPIC), JSON, version=412, compressed=True)
    assert old.topic_config_serialize_wrapper.topic_config_table == {"T1": T1}


def test_compressed_round_trip_loses_what_apache_s_loses() -> None:
    """`order`, `topicSysFlag` and the mapping's version have no place in the compressed form."""
    topics = {"T1": T1, "T2": TopicConfig("T2", 1, 2, 4, "MULTI_TAG", topic_sys_flag=1, order=True)}
    wrapper = TopicConfigSerializeWrapper(
        DataVersion(1, 2, 3), topics, topic_queue_mapping_info_map={"T1": {"topic": "T1"}}
    )
    data = encode_register_body(RegisterBrokerBody(wrapper, ["f:1"]), JSON, compressed=True)
    read = decode_register_body(data, JSON, version=NOW, compressed=True)
    expected = TopicConfigSerializeWrapper(
        DataVersion(1, 2, 3),
        {"T1": T1, "T2": TopicConfig("T2", 1, 2, 4, "MULTI_TAG")},
        topic_queue_mapping_info_map={"T1": {"topic": "T1"}},
    )
    assert read == RegisterBrokerBody(expected, ["f:1"])


@pytest.mark.parametrize(
    "data",
    [
        b"no zlib",
        compressed(*ONE_TOPIC)[:-8],
        compressed(),
        compressed(pack(">i", -1)),
        compressed(pack(">i", 2**31 - 1)),
        compressed(ONE_TOPIC[0], pack(">i", 2**31 - 1)),
        compressed(*ONE_TOPIC),  # the mapping section is missing for this version
        compressed(ONE_TOPIC[0], pack(">i", 1), piece(b"T1 8 8"), *ONE_TOPIC[3:], pack(">i", 0)),
        compressed(ONE_TOPIC[0], pack(">i", 1), piece(b"T1 8 x 6 S {}"), *ONE_TOPIC[3:]),
        compressed(ONE_TOPIC[0], pack(">i", 1), piece(b"\xff 8 8 6 S {}"), *ONE_TOPIC[3:]),
        compressed(piece(b"[]"), *ONE_TOPIC[1:], pack(">i", 0)),
        compressed(*ONE_TOPIC, pack(">i", 1), piece(b'"text"')),
    ],
)
def test_damaged_compressed_bodies(data: bytes) -> None:
    """Cut, negative, absurd or not text: RemoteProtocolError, with nothing allocated for it."""
    with pytest.raises(RemoteProtocolError):
        decode_register_body(data, JSON, version=NOW, compressed=True)


def test_a_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the limit is refused after the limit's worth of work."""
    monkeypatch.setattr("broker_trio.wire.bodies.register.INFLATED_MAX", 1000)
    bomb = zlib.compress(bytes(1_000_000), 9)
    with pytest.raises(RemoteProtocolError, match="more than 1000"):
        decode_register_body(bomb, JSON, version=NOW, compressed=True)
