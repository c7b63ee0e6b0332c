"""The contract of a subscription towards its program."""

import pytest
import trio

from broker_trio.client.consumer_errors import GroupTaken, NotSubscribed
from broker_trio.client.consumer_events import MessageFailed
from broker_trio.client.delivered import Delivered
from broker_trio.client.errors import ClientError, Unreachable
from broker_trio.client.events import Event
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from broker_trio.wire.bodies.offsets import decode_consumer_status, encode_reset_offset
from broker_trio.wire.bodies.running import decode_running_info
from broker_trio.wire.command import Command, Serialize

from .clients import TOPIC, Member, client, committed, numbered, send, until


def test_each_handles_many_at_once_and_waits_for_the_slow_ones() -> None:
    """`concurrency` handlers; leaving waits for those that run, then everything is committed."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(40))
        now = most = done = 0

        async def handle(_message: Delivered) -> None:
            nonlocal now, most, done
            now += 1
            most = max(most, now)
            await trio.sleep(1.0)
            now -= 1
            done += 1

        async with client(cluster, "c1") as mq, trio.open_nursery() as nursery:
            async with mq.subscribe(TOPIC, group="g", start="first", concurrency=8) as sub:
                nursery.start_soon(sub.each, handle)
                await trio.sleep(2.5)
            assert (now, done, most) == (0, 24, 8)
        assert sum((await committed(cluster, "g")).values()) == 24

    simulate(20, scenario)


def test_an_exception_of_the_program_comes_out_as_it_is() -> None:
    """Never in a group of one; of a handler, only where it was asked for."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["m0"])
        events: list[Event] = []
        async with client(cluster, "c1", on_event=events.append) as mq:
            with pytest.raises(KeyError):
                async with mq.subscribe(TOPIC, group="g", start="first"):
                    raise KeyError
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with mq.subscribe(
                    TOPIC, group="g", start="first", on_error="raise", retries_max=3
                ) as sub:
                    async for message in sub:
                        async with message:
                            _ = 1 / 0
            (failed,) = (event for event in events if isinstance(event, MessageFailed))
            assert (failed.attempt, type(failed.error)) == (1, ZeroDivisionError)
        again = await Member(cluster, "c2", start="first").joined()
        await until(lambda: [(body, n) for *_, body, n in again.got] == [("m0", 2)], 30)
        await again.stop()

    simulate(21, scenario)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_handler_comes_out_as_it_is(kind: type[BaseException]) -> None:
    """In no group; the group is left at once, and what was in hand comes to the next member."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["m0"])
        began = trio.current_time()
        with pytest.raises(kind):  # noqa: PT012
            async with (
                client(cluster, "c1") as mq,
                mq.subscribe(TOPIC, group="g", start="first") as sub,
            ):
                async for message in sub:
                    async with message:
                        raise kind
        assert trio.current_time() - began < 5.0
        again = await Member(cluster, "c2", start="first").joined()
        await until(lambda: [each[3] for each in again.got] == ["m0"], 60)
        await again.stop()

    simulate(22, scenario)


def test_one_client_is_one_member() -> None:
    """A second subscription in the same group is refused; after leaving, the group is free."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["m0"])
        async with client(cluster, "c1") as mq:
            async with mq.subscribe(TOPIC, group="g") as sub:
                with pytest.raises(GroupTaken, match="group g is subscribed to"):
                    async with mq.subscribe(TOPIC, group="g"):
                        raise AssertionError
                async with mq.subscribe(TOPIC, group="g2"):
                    pass
            async with mq.subscribe(TOPIC, group="g"):
                pass
            with pytest.raises(NotSubscribed):
                aiter(mq.subscribe(TOPIC, group="g3"))
            with pytest.raises(StopAsyncIteration):
                await anext(sub)

    simulate(22, scenario)


def test_messages_that_are_never_entered_are_a_mistake_that_is_told() -> None:
    """Instead of a program that stands still: half a minute after nothing more could be out."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(4))
        async with client(cluster, "c1") as mq:
            async with mq.subscribe(TOPIC, group="g", start="first", concurrency=3) as sub:
                with pytest.raises(ClientError, match=r"3 messages are out .* none of them was"):
                    async for _message in sub:
                        pass
                began = trio.current_time()
            assert trio.current_time() - began < 1.0, "leaving waits for nobody then"
        assert sum((await committed(cluster, "g")).values()) == 0

    simulate(23, scenario)


def test_a_program_without_a_cluster_hears_it_at_once() -> None:
    """No route, nobody answers: a typed error within the timeouts, and nothing left behind."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        async with client(cluster, "c1") as mq:
            began = trio.current_time()
            with pytest.raises(Unreachable):
                async with mq.subscribe(TOPIC, group="g"):
                    raise AssertionError
            assert trio.current_time() - began <= 5.0

    simulate(24, scenario)


def test_what_its_own_broker_cannot_take_back_another_one_takes() -> None:
    """It is not reachable any more: the message is sent to the group's %RETRY% elsewhere."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world, brokers=2)
        await cluster.start()
        await send(cluster, numbered(16))
        failing = dict.fromkeys(numbered(16), 1)
        member = Member(cluster, "c1", start="first", handle_s=2.0, fail=failing)
        await member.joined()
        await trio.sleep(1.0)
        world.network.cut("b0", "c1")
        await until(lambda: len({body for *_, body, n in member.got if n == 2}) == 16, 100)
        again = [(queue.broker_name, queue.topic) for _, queue, _, _, n in member.got if n == 2]
        assert set(again) == {("b1", "%RETRY%g")}
        await member.stop()

    simulate(25, scenario)


def test_what_brokers_ask_of_a_consumer_is_answered() -> None:
    """220 sets queues elsewhere, 221 and 307 tell; a stranger's group and nonsense are refused."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(8))
        async with (
            client(cluster, "c1") as mq,
            mq.subscribe(TOPIC, group="g", start="first", ordered=True) as sub,
        ):
            seen: list[str] = []

            def ask(code: RequestCode, body: bytes = b"", **ext: str) -> Command:
                command = Command(code, ext=dict(ext), body=body, serialize=Serialize.JSON)
                answer = mq.session._asked("10.0.0.2:10911", command)
                assert answer is not None
                return answer

            async for message in sub:
                async with message:
                    seen.append(message.body.decode())
                if len(seen) == 8:
                    break
            status, told = RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, {"group": "g"}
            answer = ask(status, topic=TOPIC, **told)
            table = decode_consumer_status(answer.body, Serialize.JSON).message_queue_table
            queues = [MessageQueue(TOPIC, "b0", number) for number in range(4)]
            assert table == dict.fromkeys(queues, 2)
            running = RequestCode.GET_CONSUMER_RUNNING_INFO
            info = decode_running_info(
                ask(running, consumerGroup="g", clientId=mq.client_id).body, Serialize.JSON
            )
            assert info.properties["PROP_CONSUMEORDERLY"] == "true"
            assert info.mq_table[queues[0]].locked
            assert {each.topic for each in info.subscription_set} == {TOPIC, "%RETRY%g"}
            reset = RequestCode.RESET_CONSUMER_CLIENT_OFFSET
            fields = {"topic": TOPIC, "timestamp": "0", "isForce": "true"}
            body = encode_reset_offset({queues[1]: 0, queues[2]: 1}, Serialize.JSON)
            assert ask(reset, body, group="g", **fields).code == ResponseCode.SUCCESS
            async for message in sub:
                async with message:
                    seen.append(message.body.decode())
                if len(seen) == 11:
                    break
            assert set(seen[8:]) < set(seen[:8])
            for refused in (
                ask(status, topic=TOPIC, group="other"),
                ask(status, topic=TOPIC),
                ask(reset, b"[", group="g", **fields),
                ask(reset, b"{}", group="other", **fields),
                ask(running, consumerGroup="other", clientId="x"),
            ):
                assert refused.code == ResponseCode.SYSTEM_ERROR
                assert refused.remark
        assert sum((await committed(cluster, "g")).values()) == 8

    simulate(26, scenario)


def test_a_handler_that_is_cancelled_lets_its_message_come_again() -> None:
    """A deadline around `async with message`: it goes back, and the subscription lives on."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["m0", "m1"])
        async with client(cluster, "c1") as mq:
            attempts: list[tuple[bytes, int]] = []
            async with mq.subscribe(TOPIC, group="g", start="first") as sub:
                async for message in sub:
                    with trio.move_on_after(1.0):
                        async with message:
                            attempts.append((message.body, message.attempt))
                            if message.body == b"m0" and message.attempt == 1:
                                await trio.sleep_forever()
                    if len(attempts) == 3:
                        break
        assert sorted(attempts) == [(b"m0", 1), (b"m0", 2), (b"m1", 1)]

    simulate(27, scenario)


def test_a_topic_made_by_a_first_message_can_be_subscribed_to_at_once() -> None:
    """Nameservers hear of it a moment later: joining waits that long."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        world.network.set_delay("b0", "ns0", (0.4, 0.5))
        async with client(cluster, "c0") as mq:
            await mq.send("new", "hello")
        async with (
            client(cluster, "c1") as mq,
            mq.subscribe("new", group="g", start="first") as sub,
        ):
            async for message in sub:
                async with message:
                    assert message.body == b"hello"
                    break

    simulate(28, scenario)
