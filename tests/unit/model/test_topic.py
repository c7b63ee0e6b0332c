"""Topic configurations, data versions, routes and groups under their wire names."""

import msgspec
import pytest

from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.route import BrokerData, MessageQueue, QueueData
from broker_trio.model.topic import DataVersion, TopicConfig


def test_data_versions_are_ordered_by_state_version_counter_timestamp():
    """The counter decides before the timestamp, the state version before both."""
    old = DataVersion(0, 500, 1)
    new = DataVersion(0, 400, 2)
    newest = DataVersion(1, 0, 0)
    assert sorted([newest, new, old]) == [old, new, newest]
    assert old < new <= new < newest
    assert newest > new >= new > old


def test_the_next_data_version_is_newer_and_different():
    """Every change makes a version that nameservers take over, even with a clock that stepped."""
    version = DataVersion(3, 1000, 7)
    assert version.next(900) == DataVersion(3, 900, 8)
    assert version.next(900) > version


def test_topic_config_on_the_wire():
    """Members and defaults are those of the specification's sample."""
    expected = {
        "attributes": {},
        "order": False,
        "perm": 6,
        "readQueueNums": 8,
        "topicFilterType": "SINGLE_TAG",
        "topicName": "T",
        "topicSysFlag": 0,
        "writeQueueNums": 8,
    }
    assert expected == msgspec.to_builtins(TopicConfig("T"))


def test_group_config_on_the_wire():
    """Members and defaults are those of the specification's sample."""
    expected = {
        "attributes": {},
        "brokerId": 0,
        "consumeBroadcastEnable": True,
        "consumeEnable": True,
        "consumeFromMinEnable": True,
        "consumeMessageOrderly": False,
        "consumeTimeoutMinute": 15,
        "groupName": "CG",
        "groupRetryPolicy": {"type": "CUSTOMIZED"},
        "groupSysFlag": 0,
        "notifyConsumerIdsChangedEnable": True,
        "retryMaxTimes": 16,
        "retryQueueNums": 1,
        "whichBrokerWhenConsumeSlowly": 1,
    }
    actual = msgspec.to_builtins(SubscriptionGroupConfig("CG"))
    policy = {name: v for name, v in actual["groupRetryPolicy"].items() if v is not None}
    assert actual.pop("subscriptionDataSet") is None
    assert expected == actual | {"groupRetryPolicy": policy}


@pytest.mark.parametrize(
    ("perm", "expected"), [(6, (True, True)), (4, (True, False)), (2, (False, True))]
)
def test_permission_bits(perm, expected):
    """4 reads, 2 writes."""
    queue_data = QueueData("b", 4, 4, perm)
    assert expected == (queue_data.readable, queue_data.writable)


def test_the_master_has_id_0():
    """A broker name without id 0 has no master."""
    assert BrokerData("c", "b", {0: "m:1", 1: "s:1"}).master == "m:1"
    assert BrokerData("c", "b", {1: "s:1"}).master is None


def test_message_queues_are_keys():
    """A message queue can be a key, sorts by topic, broker and queue, and has its wire names."""
    one, two = MessageQueue("T", "a", 1), MessageQueue("T", "b", 0)
    assert sorted({two, one}) == [one, two]
    assert msgspec.to_builtins(one) == {"topic": "T", "brokerName": "a", "queueId": 1}
