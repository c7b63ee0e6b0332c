"""Routes: whom to ask, when an answer is believed, and what goes on while nobody answers."""

import anyio
import pytest

from broker_trio.client.errors import NoPermission, NoRoute, Unreachable
from broker_trio.client.events import (
    Event,
    NameserversBack,
    NameserversLost,
    RouteChanged,
    RouteLost,
)
from broker_trio.model.codes import RequestCode
from broker_trio.model.route import TopicRouteData
from tests.unit.client.fake_net import DOWN, SILENT, FakeNet

ROUTE = RequestCode.GET_ROUTEINFO_BY_TOPIC


@pytest.fixture
def net() -> FakeNet:
    made = FakeNet(brokers=2, nameservers=3)
    made.topic("t")
    return made


async def test_a_kept_route_is_not_asked_for_again(net: FakeNet):
    """One question; everybody who asks meanwhile shares it."""
    async with net.client() as mq, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(mq.session.routes.get, "t")
    assert net.times("ns0:9876", ROUTE) == 1


async def test_nameservers_that_are_down_are_passed_over(net: FakeNet):
    """One by one until one answers, which is asked first from then on."""
    async with net.client() as mq:
        net.mood = {"ns0:9876": DOWN, "ns1:9876": DOWN}
        await mq.session.routes.get("t")
        net.topic("u")
        await mq.session.routes.get("u")
    assert net.times("ns2:9876", ROUTE) == 2
    assert net.times("ns0:9876", ROUTE) == 0


async def test_a_topic_is_unknown_only_when_nobody_knows_it(net: FakeNet):
    """A nameserver that has just started knows nothing yet."""
    net.knows = {"ns0:9876": set(), "ns1:9876": set()}
    async with net.client() as mq:
        assert len((await mq.session.routes.get("t")).queue_datas) == 2
        with pytest.raises(NoRoute, match="unknown to 3 of 3 nameservers") as caught:
            await mq.session.routes.get("u")
        assert caught.value.certain
        net.down("ns1:9876")
        await anyio.sleep(0.01)
        with pytest.raises(NoRoute, match="unknown to 2 of 3 nameservers; ns1:9876: ") as caught:
            await mq.session.routes.get("v")
        assert not caught.value.certain


async def test_a_kept_route_goes_on_while_nobody_answers(net: FakeNet):
    """Refreshing gives what is kept; both changes are told once."""
    events: list[Event] = []
    async with net.client(on_event=events.append, nameserver_timeout_s=0.5) as mq:
        routes = mq.session.routes
        kept = await routes.get("t")
        net.down(*net.nameservers)
        await anyio.sleep(0.01)
        assert (await routes.refresh("t")).route is kept
        assert (await routes.refresh("t")).route is kept
        with pytest.raises(Unreachable):
            await routes.get("u")
        net.mood.clear()
        await routes.refresh("t")
    kinds = [type(event) for event in events]
    assert kinds.count(NameserversLost) == 1
    assert kinds.count(NameserversBack) == 1


async def test_a_route_is_dropped_when_all_say_that_it_is_gone(net: FakeNet):
    """With one of them silent it is kept."""
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        routes = mq.session.routes
        await routes.get("t")
        del net.topics["t"]
        net.mood["ns2:9876"] = DOWN
        await routes.refresh("t")
        assert routes.known("t") is not None
        net.mood.clear()
        with pytest.raises(NoRoute):
            await routes.refresh("t")
        assert routes.known("t") is None
    assert [event for event in events if isinstance(event, RouteLost)] == [
        RouteLost("t", "unknown to 3 of 3 nameservers")
    ]


async def test_nameservers_that_were_all_away_are_doubted_for_a_while(
    net: FakeNet, autojump_clock: object
):
    """They answer again before the brokers registered anew: the kept route stays, for 30 s."""
    async with net.client() as mq:
        routes = mq.session.routes
        await routes.get("t")
        net.down(*net.nameservers)
        await anyio.sleep(0.01)
        await routes.refresh("t")
        net.mood.clear()
        del net.topics["t"]
        await routes.refresh("t")
        assert routes.known("t") is not None
        await anyio.sleep(61)
        assert routes.known("t") is None, "the next poll but one believes them"


async def test_a_nameserver_that_shows_no_master_is_not_believed_alone(net: FakeNet):
    """It may have woken up just now: who shows most masters is; where nobody does, that is true."""
    async with net.client() as mq:
        net.headless = {"b0@ns0:9876", "b1@ns0:9876", "b1@ns1:9876"}
        route = await mq.session.routes.get("t")
        assert [data.broker_name for data in route.broker_datas if data.master] == ["b0", "b1"]
        assert net.times("ns2:9876", ROUTE) == 1
        net.headless = {"b0", "b1"}
        route = await mq.session.routes.refresh("t")
        assert [data for data in route.route.broker_datas if data.master] == []


async def test_routes_are_polled_and_watchers_told(net: FakeNet, autojump_clock: object):
    """Each 30 seconds, each time beginning with the next nameserver; only changes are told."""
    seen: list[TopicRouteData] = []
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        await mq.session.routes.get("t")
        stop = mq.session.routes.watch("t", seen.append)
        await anyio.sleep(61)
        assert seen == []
        net.topic("t", queues=5)
        await anyio.sleep(30)
        assert [route.queue_datas[0].write_queue_nums for route in seen] == [5]
        stop()
        net.topic("t", queues=6)
        await anyio.sleep(30)
        assert len(seen) == 1
    assert [net.times(address, ROUTE) for address in net.nameservers] == [2, 2, 1]
    assert events.count(RouteChanged("t")) == 3


async def test_a_lost_connection_has_the_routes_asked_again_soon(
    net: FakeNet, autojump_clock: object
):
    """A second later and not at the next poll: the broker may have gone for good."""
    async with net.client() as mq:
        await mq.send("t", b"x")
        asked = sum(net.times(address, ROUTE) for address in net.nameservers)
        next(stream for stream in net.open if stream.address.startswith("b")).cut()
        await anyio.sleep(1.5)
        assert sum(net.times(address, ROUTE) for address in net.nameservers) == asked + 1


async def test_kept_routes_have_a_limit(net: FakeNet):
    """The oldest that nobody watches goes."""
    for number in range(12):
        net.topic(f"t{number}")
    async with net.client(topics_max=10) as mq:
        routes = mq.session.routes
        routes.watch("t0", lambda route: None)
        for number in range(12):
            await routes.get(f"t{number}")
        assert routes.topics == ["t0", *(f"t{number}" for number in range(3, 12))]


async def test_addresses_of_brokers(net: FakeNet):
    """From kept routes, else from the nameserver's list of all; unknown ones are no route."""
    async with net.client() as mq:
        assert await mq.session.broker_address("b1") == "b1:10911"
        assert await mq.session.broker_address("b1", read=True) == "b1:10911"
        with pytest.raises(NoRoute, match=r"^broker b9 is unknown to the nameservers$"):
            await mq.session.broker_address("b9")
    assert net.times("ns0:9876", RequestCode.GET_BROKER_CLUSTER_INFO) == 2


async def test_silent_nameservers_cost_one_timeout_each(net: FakeNet, autojump_clock: object):
    """Two silent ones of three: the answer is there after two timeouts, and stays there."""
    net.mood = {"ns0:9876": SILENT, "ns1:9876": SILENT}
    async with net.client(nameserver_timeout_s=2.0) as mq:
        began = anyio.current_time()
        await mq.session.routes.get("t")
        assert anyio.current_time() - began == pytest.approx(4.0)
        net.topic("u")
        await mq.session.routes.get("u")
        assert anyio.current_time() - began == pytest.approx(4.0)


async def test_a_topic_that_nobody_may_read(net: FakeNet, autojump_clock: object):
    """Told at once, by pullers and subscriptions, from a route that was asked for just now."""
    net.perm = {("t", "b0"): 2, ("t", "b1"): 2}
    async with net.client() as mq:
        began = anyio.current_time()
        with pytest.raises(NoPermission, match="topic t has no route: no read permission on b0"):
            await mq.pull("g").queues("t")
        with pytest.raises(NoPermission):
            async with mq.subscribe("t", group="g"):
                pass
        assert anyio.current_time() == began
        net.perm.clear()
        assert len(await mq.pull("g").queues("t")) == 4  # the kept route is not believed


async def test_one_broker_that_may_be_read_is_enough(net: FakeNet):
    """The queues of the others are left out."""
    net.perm = {("t", "b0"): 2}
    async with net.client() as mq:
        assert {queue.broker_name for queue in await mq.pull("g").queues("t")} == {"b1"}
