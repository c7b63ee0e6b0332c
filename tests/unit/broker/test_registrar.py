"""Keeping nameservers informed: when, with what, and what happens to those that do not answer."""

import json
import random
from itertools import pairwise

import pytest
import trio

from broker.fakes import Tables
from broker_trio.broker.registrar import Identity, Registrar, masked
from broker_trio.model.codes import RequestCode
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.client import Unreachable
from broker_trio.wire.command import Command
from broker_trio.wire.record import body_crc

NS = ("n1:9876", "n2:9876")
IDENTITY = Identity("C", "b", 0, "10.0.0.1:10911", "10.0.0.1:10912")


class FakeClient:
    """Nameservers as functions of the command; None hangs for ever."""

    def __init__(self):
        self.asked = []
        self.dropped = []
        self.behaviour = dict.fromkeys(NS, "ok")

    async def call(self, address, command):
        self.asked.append((trio.current_time(), address, command))
        await trio.lowlevel.checkpoint()
        match self.behaviour[address]:
            case "hang":
                await trio.sleep_forever()
            case "down":
                raise Unreachable(address, "refused", sent=False)
            case "no":
                return Command(1, flag=1, remark="not now")
        return Command(0, flag=1)

    async def drop(self, address):
        self.dropped.append(address)

    def times(self, address=NS[0]):
        return [at for at, asked, _ in self.asked if asked == address]


class Kit:
    def __init__(self, nameservers=NS):
        self.start = trio.current_time()
        self.tables = Tables().load()
        self.topics = self.tables.topics
        self.topics.create_system_topics("C", "b")
        self.client = FakeClient()
        self.registrar = Registrar(
            self.client, self.topics, self.tables.settings, self.tables.clock, random.Random(1),
            IDENTITY, nameservers,
        )  # fmt: skip

    def statuses(self):
        return [status.registered for status in self.registrar.statuses]


@pytest.fixture
async def kit(nursery):
    kit = Kit()
    await nursery.start(kit.registrar.run)
    return kit


async def test_it_counts_as_started_once_each_nameserver_has_answered(autojump_clock, nursery):
    """Two that answer in the same moment cost no wait: the second one's answer is not missed."""
    kit = Kit()
    await nursery.start(kit.registrar.run)
    assert trio.current_time() - kit.start < 1.0
    assert kit.statuses() == [True, True]


async def test_the_whole_table_goes_to_every_nameserver(autojump_clock, kit):
    """Header, body and checksum are what a nameserver wants; status says that it took them."""
    assert [address for _, address, _ in kit.client.asked] in (list(NS), list(NS)[::-1])
    command = kit.client.asked[0][2]
    assert command.code == RequestCode.REGISTER_BROKER
    assert command.ext["brokerAddr"] == "10.0.0.1:10911"
    assert command.ext["brokerId"] == "0"
    assert command.ext["bodyCrc32"] == str(body_crc(command.body))
    table = json.loads(command.body)["topicConfigSerializeWrapper"]["topicConfigTable"]
    assert table.keys() == kit.topics.table.keys()
    assert kit.statuses() == [True, True]


async def test_registrations_repeat_after_10_and_then_every_25_seconds(autojump_clock, kit):
    """The second one comes early; all have ten percent of seeded jitter."""
    await trio.sleep(200)
    times = kit.client.times()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 9 <= gaps[0] <= 11
    assert len(gaps) >= 6
    assert all(22 <= gap <= 28 for gap in gaps[1:])


async def test_changes_are_registered_at_once_and_together(autojump_clock, kit):
    """A hundred new topics in one go cost one registration, with all of them in it."""
    before = len(kit.client.times())
    for number in range(100):
        kit.topics.put(TopicConfig(f"T{number}"))
    await kit.registrar.synced()
    assert len(kit.client.times()) == before + 1
    assert b'"T99"' in kit.client.asked[-1][2].body
    assert [status.version for status in kit.registrar.statuses] == [kit.topics.data_version] * 2


async def test_a_hanging_nameserver_delays_nobody_else(autojump_clock, kit):
    """It is given up after 6 s with its connection, the other one is up to date all the time."""
    kit.client.behaviour[NS[1]] = "hang"
    kit.topics.put(TopicConfig("T"))
    await trio.sleep(5)
    assert kit.registrar.statuses[0].version == kit.topics.data_version
    await trio.sleep(2)
    assert kit.client.dropped == [NS[1]]
    assert kit.statuses() == [True, False]
    assert "6 s" in kit.registrar.statuses[1].last_error


async def test_a_nameserver_that_comes_back_is_registered_within_seconds(autojump_clock, kit):
    """Attempts go on at growing distances, 11 s at most; refusals count like silence."""
    kit.client.behaviour[NS[0]] = "down"
    kit.registrar.disconnected(NS[0])
    await trio.sleep(300)
    gaps = kit.client.times()[-4:]
    assert max(b - a for a, b in pairwise(gaps)) <= 11
    kit.client.behaviour[NS[0]] = "no"
    await trio.sleep(11)
    assert kit.registrar.statuses[0].last_error == "refused with code 1: not now"
    kit.client.behaviour[NS[0]] = "ok"
    await trio.sleep(11)
    assert kit.statuses() == [True, True]
    assert kit.registrar.statuses[0].last_error == ""


async def test_a_broken_connection_is_made_good_at_once(autojump_clock, kit):
    """Nameservers forget a broker whose connection ends, so that it must not wait 30 s."""
    before = len(kit.client.times())
    kit.registrar.disconnected(NS[0])
    await trio.sleep(0.1)
    assert len(kit.client.times()) == before + 1


async def test_synced_does_not_wait_for_a_nameserver_that_is_down(autojump_clock, kit):
    """An administrator's request is answered although one of two nameservers is gone."""
    kit.client.behaviour[NS[1]] = "down"
    kit.topics.put(TopicConfig("T"))
    with trio.fail_after(5):
        await kit.registrar.synced()
    assert kit.registrar.statuses[0].version == kit.topics.data_version


async def test_unregistering_asks_all_and_hangs_on_none(autojump_clock, kit):
    """104 goes to every nameserver; one that hangs costs 3 s."""
    kit.client.behaviour[NS[0]] = "hang"
    begin = trio.current_time()
    await kit.registrar.unregister()
    assert trio.current_time() - begin == pytest.approx(3)
    codes = [(address, command.code) for _, address, command in kit.client.asked[-2:]]
    assert sorted(codes) == [(address, 104) for address in NS]


async def test_starting_waits_for_the_first_round_only(autojump_clock, nursery):
    """With every nameserver silent the broker starts after 3 s, with none at once."""
    kit = Kit()
    kit.client.behaviour = dict.fromkeys(NS, "hang")
    await nursery.start(kit.registrar.run)
    assert trio.current_time() - kit.start == pytest.approx(3)
    begin = trio.current_time()
    await nursery.start(Kit(()).registrar.run)
    assert trio.current_time() == begin


def test_the_brokers_permission_masks_every_topic():
    """A broker that is read-only shows no writable queue, whatever its topics say."""
    table = {"T": TopicConfig("T", perm=6), "TBW102": TopicConfig("TBW102", perm=7)}
    assert {name: config.perm for name, config in masked(table, 4).items()} == {"T": 4, "TBW102": 5}
    assert masked(table, 6) is table


async def test_a_new_role_is_registered_at_once(autojump_clock, kit):
    """A replica that owns now is the master everywhere, under its store's id."""
    await trio.sleep(1)
    kit.registrar.become(0, "5a" * 16)
    kit.registrar.become(2, "5a" * 16)
    await trio.sleep(0.1)
    last = {address: command for _, address, command in kit.client.asked}
    told = [(last[address].ext["brokerId"], last[address].ext["storeId"]) for address in NS]
    assert told == [("2", "5a" * 16)] * 2


async def test_who_refused_is_asked_again_when_told(autojump_clock, kit):
    """A nameserver that took the record since is asked at once, and only that one."""
    await trio.sleep(1)
    kit.client.behaviour[NS[0]] = "no"
    kit.registrar.become(0, "5a" * 16)
    await trio.sleep(0.1)
    assert kit.statuses() == [False, True]
    kit.client.behaviour[NS[0]] = "ok"
    before = len(kit.client.times(NS[1]))
    for address in NS:
        kit.registrar.again(address)
    await trio.sleep(0.1)
    assert kit.statuses() == [True, True]
    assert len(kit.client.times(NS[1])) == before
