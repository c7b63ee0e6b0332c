"""What operators change through tools."""

import json

import pytest

from broker_trio.model.codes import RequestCode
from broker_trio.namesrv.kv import FILE
from namesrv.fakes import MASTER, Nameserver

PUT, GET, DELETE = (
    RequestCode.PUT_KV_CONFIG,
    RequestCode.GET_KV_CONFIG,
    RequestCode.DELETE_KV_CONFIG,
)
UPDATE, SHOW = RequestCode.UPDATE_NAMESRV_CONFIG, RequestCode.GET_NAMESRV_CONFIG


async def test_key_values_over_the_wire() -> None:
    """A value that was put is there, on disk too, until it is deleted; then 22."""
    server = Nameserver()
    ext = {"namespace": "n", "key": "k", "value": "v"}
    assert (await server.ask_later(PUT, ext)).code == 0
    assert json.loads(server.disk.files[FILE]) == {"configTable": {"n": {"k": "v"}}}
    assert server.ask(GET, {"namespace": "n", "key": "k"}).ext == {"value": "v"}
    listed = server.ask(RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "n"})
    assert json.loads(listed.body) == {"table": {"k": "v"}}
    assert (await server.ask_later(DELETE, {"namespace": "n", "key": "k"})).code == 0
    assert server.ask(GET, {"namespace": "n", "key": "k"}).code == 22


def test_unknown_namespace_is_22() -> None:
    """Neither a value nor a list comes from a namespace that nobody made."""
    server = Nameserver()
    assert server.ask(GET, {"namespace": "n", "key": "k"}).code == 22
    assert server.ask(RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "n"}).code == 22


def test_wipe_and_add_write_perm_count_topics() -> None:
    """205 and 327 answer how many topics they changed, under their wire names."""
    server = Nameserver()
    server.register("A", "B", "C")
    ext = {"brokerName": "broker-a"}
    wiped = server.ask(RequestCode.WIPE_WRITE_PERM_OF_BROKER, ext)
    assert wiped.ext == {"wipeTopicCount": "3"}
    assert [queue.perm for queue in server.app.table.topics.queues_of("A")] == [4]
    assert server.ask(RequestCode.ADD_WRITE_PERM_OF_BROKER, ext).ext == {"addTopicCount": "3"}
    assert [queue.perm for queue in server.app.table.topics.queues_of("A")] == [6]


def test_delete_topic_answers_success_for_anything() -> None:
    """216 takes a topic away, in one cluster or all; an unknown one is success too."""
    server = Nameserver()
    server.register("A", "B")
    code = RequestCode.DELETE_TOPIC_IN_NAMESRV
    assert server.ask(code, {"topic": "A", "clusterName": "other"}).code == 0
    assert "A" in server.app.table.topics
    assert server.ask(code, {"topic": "A"}).code == 0
    assert server.ask(code, {"topic": "A"}).code == 0
    assert server.app.table.topics.names() == ["B"]


def test_hot_switches_change_together() -> None:
    """318 with known switches changes them all, and 319 shows the new values."""
    server = Nameserver()
    assert server.ask(UPDATE, body=b"orderMessageEnable=true\nenableTopicList = FALSE\n").code == 0
    assert server.app.hot.now.order_message_enable is True
    assert server.app.hot.now.enable_topic_list is False
    shown = server.ask(SHOW).body.decode().splitlines()
    assert "orderMessageEnable=true" in shown
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    "key",
    [
        "kvConfigPath",
        "configStorePath",
        "configBlackList",
        "rocketmqHome",
        "listenPort",
        "nonsense",
    ],
)
def test_anything_but_a_hot_switch_is_16(key: str) -> None:
    """Paths, addresses, black-listed and unknown keys are refused, and nothing else changes."""
    server = Nameserver()
    response = server.ask(UPDATE, body=f"orderMessageEnable=true\n{key}=/etc/passwd\n".encode())
    assert (response.code, key in (response.remark or "")) == (16, True)
    assert server.app.hot.now.order_message_enable is False


@pytest.mark.parametrize("body", [b"orderMessageEnable=maybe", b"orderMessageEnable", b"\xff=true"])
def test_switch_that_is_no_boolean_is_refused(body: bytes) -> None:
    """A value that is neither true nor false, or no text at all, is refused with code 1."""
    server = Nameserver()
    assert server.ask(UPDATE, body=body).code == 1
    assert server.app.hot.now.order_message_enable is False


def test_configuration_text_shows_ports_and_paths() -> None:
    """319 shows what tools look for, one key=value a line."""
    shown = dict(line.split("=", 1) for line in Nameserver().ask(SHOW).body.decode().splitlines())
    assert shown["listenPort"] == "9876"
    assert shown["kvConfigPath"].endswith("/kvConfig.json")
    assert shown["deleteTopicWithBrokerRegistration"] == "false"
    assert MASTER not in shown.values()
