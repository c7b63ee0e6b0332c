"""The broker's JSON files: Apache's shape byte for byte, Apache's tolerance on the way in."""

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire.bodies.config_files import (
    TopicsFile,
    decode_consumer_offsets_file,
    decode_delay_offsets_file,
    decode_groups_file,
    decode_topics_file,
    encode_consumer_offsets_file,
    encode_delay_offsets_file,
    encode_groups_file,
    encode_topics_file,
)

VERSION = DataVersion(state_version=0, timestamp=1795406085767, counter=2)
HEAD = """{
\t"dataVersion":{
\t\t"counter":2,
\t\t"stateVersion":0,
\t\t"timestamp":1795406085767
\t},
"""


def test_consumer_offsets_look_like_apache_s() -> None:
    """Integer keys are bare and share a line; empty tables are `{}`."""
    table = {"T@G": {0: 12, 1: 7}, "%RETRY%G@G": {0: 0}, "E@G": {}}
    text = HEAD + (
        '\t"offsetTable":{\n'
        '\t\t"T@G":{0:12,1:7\n\t\t},\n'
        '\t\t"%RETRY%G@G":{0:0\n\t\t},\n'
        '\t\t"E@G":{}\n'
        "\t}\n}"
    )
    assert encode_consumer_offsets_file(VERSION, table) == text.encode()
    loaded = decode_consumer_offsets_file(text.encode())
    assert (loaded.data_version, loaded.offset_table) == (VERSION, table)


def test_delay_offsets_look_like_apache_s() -> None:
    """Levels are bare integer keys."""
    text = HEAD + '\t"offsetTable":{1:100,2:20\n\t}\n}'
    assert encode_delay_offsets_file(VERSION, {1: 100, 2: 20}) == text.encode()
    assert decode_delay_offsets_file(text.encode()).offset_table == {1: 100, 2: 20}


def test_topics_look_like_apache_s() -> None:
    """A member a line, tabs, alphabetical order."""
    table = {"T": TopicConfig("T", attributes={"message.type": "FIFO"})}
    text = HEAD + (
        '\t"topicConfigTable":{\n\t\t"T":{\n\t\t\t"attributes":{\n'
        '\t\t\t\t"message.type":"FIFO"\n\t\t\t},\n'
        '\t\t\t"order":false,\n\t\t\t"perm":6,\n\t\t\t"readQueueNums":8,\n'
        '\t\t\t"topicFilterType":"SINGLE_TAG",\n\t\t\t"topicName":"T",\n'
        '\t\t\t"topicSysFlag":0,\n\t\t\t"writeQueueNums":8\n\t\t}\n\t}\n}'
    )
    assert encode_topics_file(VERSION, table) == text.encode()
    assert decode_topics_file(text.encode()) == TopicsFile(VERSION, table)


def test_groups_round_trip() -> None:
    """Groups and forbidden bits come back; the shape of spec §5.2 is read."""
    table = {"G": SubscriptionGroupConfig("G", retry_max_times=3)}
    loaded = decode_groups_file(encode_groups_file(VERSION, table, {"G": {"T": 1}}))
    assert loaded.data_version == VERSION
    assert loaded.subscription_group_table == table
    assert loaded.forbidden_table == {"G": {"T": 1}}


def test_names_are_escaped() -> None:
    """Quotes, control characters and other scripts survive the printer."""
    table = {'a"b\\\n\u00e9\U0001f600@G': {0: 1}}
    assert (
        decode_consumer_offsets_file(encode_consumer_offsets_file(VERSION, table)).offset_table
        == table
    )


def test_unknown_members_and_quoted_keys() -> None:
    """Files of other releases and other writers load."""
    text = b'{"offsetTable":{"T@G":{"0":12,"1":null}},"pullOffsetTable":{},"dataVersion":null}'
    loaded = decode_consumer_offsets_file(text)
    assert loaded.offset_table == {"T@G": {0: 12}}
    assert loaded.data_version == DataVersion()


def test_an_empty_table_is_not_damage() -> None:
    """`{}` written by a person on purpose means an empty table."""
    assert decode_topics_file(b"{}\n") == TopicsFile()


@pytest.mark.parametrize(
    "data",
    [b"", b" \n", bytes(4096), b"{", b"[]", b"null", b'{"offsetTable":[]}', b'{"offsetTable":{"T'],
)
def test_damage_is_never_an_empty_table(data: bytes) -> None:
    """Nothing, zeroes, half a file or another type is RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_consumer_offsets_file(data)
