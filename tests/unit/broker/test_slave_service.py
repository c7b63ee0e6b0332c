"""A slave as clients meet it: what it serves, where it sends them, what it leaves to the master."""

import pytest
import trio

from broker.fakes import FakeSession, running
from broker.test_pull import pull_fields
from broker_trio.broker.config import PullSection
from broker_trio.broker.replication.role import Lone
from broker_trio.broker.replication.slave_service import OWNERS_ONLY, SlaveService
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import Parked, Request
from broker_trio.wire.command import Command

WHY = "this broker is slave, not the master (epoch 2)"


class Stream:
    """A slave's stream; `source` is set while a master is attached."""

    def __init__(self) -> None:
        self.source: object | None = None


def slave_of(broker, *, owns: bool = False, master: bool = False, in_sync: int = 0) -> Stream:
    """Make it a replica."""
    role, stream = Lone(), Stream()
    role.owns, stream.source = owns, object() if master else None
    service = SlaveService(
        role, stream, 2, "sync", lambda: Refused(ResponseCode.NO_PERMISSION, WHY), lambda: in_sync
    )
    broker.parts.pull.join_pair(service)
    broker.parts.runtime.replica = service
    broker.parts.topics.put_many([TopicConfig("T")])
    broker.service = service
    return stream


def pull(broker, *, code: int = 11, **changes: str):
    """A pull: its answer, or the list into which it will come."""
    answers = []
    command = Command(code, ext=pull_fields(**changes))
    asked = Request(FakeSession(), command, 0.0, lambda _request, one: answers.append(one))
    result = broker.dispatcher.dispatch(asked)
    return answers if isinstance(result, Parked) else result


async def test_a_slave_serves_what_it_has_and_names_the_master(autojump_clock):
    """Messages with the hint to broker 0; without any, after a moment, the client is sent there."""
    async with running("held") as broker:
        slave_of(broker, master=True)
        broker.put()
        found = pull(broker)
        assert (found.code, found.ext["suggestWhichBrokerId"]) == (0, "0")
        answers = pull(broker, queueOffset="1")
        await trio.sleep(0.45)
        assert answers == []
        await trio.sleep(0.1)
        (answer,) = answers
        assert (answer.code, answer.ext["nextBeginOffset"]) == (20, "1")
        assert pull(broker, queueOffset="1", sysFlag="4").code == 20


async def test_a_pull_that_waits_at_a_slave_gets_what_arrives(autojump_clock):
    """Also in the moment before it would be sent to the master."""
    async with running("held") as broker:
        slave_of(broker, master=True)
        answers = pull(broker)
        broker.put()
        assert [one.code for one in answers] == [0]


async def test_without_a_master_pulls_wait_as_long_as_they_ask(autojump_clock):
    """The slave stands in for it: long polling, and 19 at the end."""
    async with running("held") as broker:
        slave_of(broker)
        answers = pull(broker, suspendTimeoutMillis="3000")
        await trio.sleep(2.9)
        assert answers == []
        await trio.sleep(0.2)
        assert [one.code for one in answers] == [19]


@pytest.mark.parametrize("offset", [7, 1_000])
async def test_a_slave_corrects_no_offset(autojump_clock, offset):
    """Beyond its end it waits for what its master may have told already; the owner says 21."""
    async with running("held") as broker:
        slave_of(broker)
        broker.put()
        answer = pull(broker, queueOffset=str(offset), sysFlag="4")
        assert (answer.code, answer.ext["nextBeginOffset"]) == (19, str(offset))
        answer = pull(broker, queueId="1", queueOffset=str(offset), sysFlag="4")
        assert (answer.code, answer.ext["nextBeginOffset"]) == (19, str(offset))
        slave_of(broker, owns=True)
        answer = pull(broker, queueOffset=str(offset), sysFlag="4")
        assert (answer.code, answer.ext["nextBeginOffset"]) == (21, "1")


FAR = 1 << 20


@pytest.mark.parametrize(
    ("behind", "loaded", "at_master", "at_slave"),
    [
        (FAR + 1, False, 2, 2),
        (FAR, False, 0, 2),
        (FAR // 16 + 1, True, 2, 2),
        (FAR // 16, True, 0, 2),
        (FAR // 32 + 1, True, 0, 2),
        (FAR // 32, True, 0, 0),
    ],
)
def test_a_reader_far_behind_is_sent_to_the_slave_once(behind, loaded, at_master, at_slave):
    """And comes back when it is near: between the two distances nobody is sent to and fro."""
    role, stream, group = Lone(), Stream(), SubscriptionGroupConfig("G")
    service = SlaveService(role, stream, 2, "sync", lambda: None, lambda: 2)
    role.owns = True
    assert service.reads_at(behind, FAR, group, loaded=loaded) == at_master
    stays = SubscriptionGroupConfig("G", which_broker_when_consume_slowly=0)
    assert service.reads_at(behind, FAR, stays, loaded=loaded) == 0
    alone = SlaveService(role, stream, 2, "sync", lambda: None)
    assert alone.reads_at(behind, FAR, group, loaded=loaded) == 0
    role.owns = False
    assert service.reads_at(behind, FAR, group, loaded=loaded) == 0, "its master is away"
    stream.source = object()
    assert service.reads_at(behind, FAR, group, loaded=loaded) == at_slave


@pytest.mark.parametrize(("far", "late", "suggested"), [(150, False, "2"), (3_000, True, "2"),
                                                        (3_000, False, "0")])  # fmt: skip
async def test_the_hint_is_in_the_answer(autojump_clock, far, late, suggested):
    """Far behind, or a loaded master; near the end it is the master; a lone broker gives none."""
    async with running("held", pull=PullSection(far_behind_bytes=far)) as broker:
        broker.parts.topics.put_many([TopicConfig("T")])
        for _ in range(3):
            broker.put()
        for _ in range(10 if late else 0):
            broker.parts.lag.observe(0.2)
        assert pull(broker, maxMsgNums="1").ext["suggestWhichBrokerId"] == "0"
        slave_of(broker, owns=True, in_sync=2)
        assert pull(broker, maxMsgNums="1").ext["suggestWhichBrokerId"] == suggested
        assert pull(broker, queueOffset="2").ext["suggestWhichBrokerId"] == "0"
    off = PullSection(slave_read_enable=False, far_behind_bytes=far)
    async with running("held", pull=off) as broker:
        slave_of(broker, owns=True, in_sync=2)
        for _ in range(3):
            broker.put()
        assert pull(broker, maxMsgNums="1").ext["suggestWhichBrokerId"] == "0"


async def test_what_the_master_told_of_a_group_is_not_clamped_away(autojump_clock):
    """The slave's queue ends before the group's offset: a late commit does not pull it back."""
    async with running() as broker:
        slave_of(broker)
        broker.put()
        offsets = broker.parts.offsets
        offsets.adopt("T@G", {0: 10}, 0)
        assert offsets.commit_within("G", "T", 0, 12, 1)
        assert offsets.query("G", "T", 0) == 10
        assert offsets.commit_within("G", "T", 0, 9, 1)
        assert offsets.query("G", "T", 0) == 9
        offsets.adopt("T@G", {0: 0}, 0)
        assert offsets.commit_within("G", "T", 0, 12, 1)
        assert offsets.query("G", "T", 0) == 1


async def test_topics_and_groups_are_changed_at_the_master(autojump_clock):
    """16 with the state; reading requests go on, and an owner takes everything."""
    async with running() as broker:
        slave_of(broker)
        routes = [route for part in broker.parts.requests for route in part.routes()]
        for route in map(broker.service.guarded, routes):
            if route.code in OWNERS_ONLY:
                with pytest.raises(Refused) as caught:
                    route.handle(None, None)
                assert caught.value.code == 16
                assert WHY in caught.value.remark
                assert RequestCode(route.code).name in caught.value.remark
        guarded = {route.code for route in routes} & OWNERS_ONLY
        assert guarded == OWNERS_ONLY
        slave_of(broker, owns=True)
        table = {route.code: broker.service.guarded(route) for route in routes}
        body = b'{"groupName":"new"}'
        asked = Request(
            FakeSession(),
            Command(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=body),
            0.0,
            lambda _request, _response: None,
        )
        table[RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP].handle(asked, None)
        assert broker.parts.groups.get("new") is not None


async def test_tools_read_the_role(autojump_clock):
    """brokerRole and brokerId follow it."""
    async with running() as broker:
        told = broker.parts.runtime.properties
        assert (told()["brokerRole"], told()["brokerId"]) == ("ASYNC_MASTER", "0")
        slave_of(broker)
        assert (told()["brokerRole"], told()["brokerId"]) == ("SLAVE", "2")
        slave_of(broker, owns=True)
        assert (told()["brokerRole"], told()["brokerId"]) == ("SYNC_MASTER", "0")
