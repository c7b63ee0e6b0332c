"""What holds for every public awaitable: it ends in time whatever is down, and wherever it waits it
can be cancelled without leaving anything behind.

A real cluster in the simulator; hours are free, so that limits can be told to the second.
"""

from collections.abc import Callable

import pytest
import trio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import ClientError
from broker_trio.testing import Options, RocketMQ, open_simulated, run_in_virtual_time
from broker_trio.wire.command import Command

from .cancelling import cancelled_at
from .every_method import METHODS, Call, Scene, outcome, public_methods

WAITS = {"Subscription.__anext__", "Subscription.each"}  # for messages, for as long as it takes
LIMIT_S = 45.0
"""Several questions of 5 s one after the other, each told in the method's own docstring."""


def simulated(scenario: Callable[[RocketMQ], object]) -> None:
    async def main() -> None:
        async with open_simulated(Options(), seed=3) as rocketmq:
            await scenario(rocketmq)  # type: ignore[misc]

    run_in_virtual_time(main, seed=3)


def test_no_method_is_forgotten() -> None:
    """What can be awaited is in the table."""

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect() as mq:
            assert public_methods(mq) - set(METHODS) == set()

    simulated(scenario)


def test_each_works_where_nothing_is_wrong() -> None:
    """The arguments of the table are right."""

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect() as mq:
            scene = await Scene(rocketmq, mq).prepared()
            failures = {name: await outcome(call, scene) for name, call in METHODS.items()}
            assert {name: error for name, error in failures.items() if error} == {}

    simulated(scenario)


@pytest.mark.parametrize("trouble", ["nameservers down", "broker silent", "all silent"])
def test_nothing_hangs_past_its_deadline(trouble: str) -> None:
    """Each ends with a result or a typed error; and works again when the trouble is over."""

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect() as mq:
            scene = await Scene(rocketmq, mq).prepared()
            if trouble != "broker silent":
                await rocketmq.kill_nameserver()
            fault = rocketmq.partition() if trouble != "nameservers down" else None
            slow = {}
            for name, call in METHODS.items():
                if name in WAITS:
                    continue
                began = trio.current_time()
                await outcome(call, scene)
                slow[name] = trio.current_time() - began
            if fault is not None:
                fault.end()
            if trouble != "broker silent":
                await rocketmq.restart_nameserver()
            await trio.sleep(60)  # the broker registers, and the client's windows end
            assert {name: s for name, s in slow.items() if s > LIMIT_S} == {}
            assert (max(slow.values()) > 4.0) is (fault is not None)  # there was silence to end
            assert await outcome(METHODS["Client.send"], scene) is None

    simulated(scenario)


@pytest.mark.parametrize("part", dict.fromkeys(name.partition(".")[0] for name in METHODS))
def test_cancelled_at_each_checkpoint(part: str) -> None:
    """No task is left, and the same client goes on."""

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect() as mq:
            scene = await Scene(rocketmq, mq).prepared()
            for name, method in METHODS.items():
                if name.startswith(f"{part}."):
                    await cancelled_everywhere(scene, name, method)

    simulated(scenario)


async def cancelled_everywhere(scene: Scene, name: str, method: Call) -> None:
    """Once whole, then cancelled at its first wait, at its second, until there is none left."""
    await outcome(method, scene)
    await trio.sleep(1)
    before = trio.lowlevel.current_statistics().tasks_living
    at, going_on = 0, True
    while going_on:
        at += 1
        going_on = await cancelled_at(at, lambda: outcome(method, scene))
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before, (name, at)
        with trio.fail_after(1):
            await scene.mq.send("orders", b"after")
    assert at < 500


GARBAGE = (
    Command(0),
    Command(0, body=b"\xff no format of ours"),
    Command(0, body=b'{"a": 1}'),
    Command(0, body=b"[1]"),
    Command(0, ext=dict.fromkeys(("queueOffset", "queueId", "epoch", "offset", "minOffset"), "x")),
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=["nothing", "bytes", "other", "list", "words"])
def test_an_answer_that_is_none_is_a_typed_error(
    monkeypatch: pytest.MonkeyPatch, garbage: Command
) -> None:
    """Whoever answers nonsense costs the caller a `ClientError`; and the client goes on."""

    async def nonsense(*_: object, **__: object) -> Command:
        await trio.lowlevel.checkpoint()
        return garbage

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect(send_timeout_s=1.0) as mq:
            scene = await Scene(rocketmq, mq).prepared()
            with monkeypatch.context() as broken:
                broken.setattr(Calls, "ask", nonsense)
                for name, call in METHODS.items():
                    if name not in WAITS:
                        await outcome(call, scene)  # anything but a ClientError comes out
            await trio.sleep(60)
            assert await outcome(METHODS["Client.send"], scene) is None

    simulated(scenario)


@pytest.mark.parametrize("garbage", GARBAGE, ids=["nothing", "bytes", "other", "list", "words"])
def test_a_subscription_outlives_answers_that_are_none(
    monkeypatch: pytest.MonkeyPatch, garbage: Command
) -> None:
    """Pulls, heartbeats and commits are tried again; nothing is lost."""
    real = Calls.ask

    async def scenario(rocketmq: RocketMQ) -> None:
        broken = False

        async def ask(*args: object, **named: object) -> Command:
            if broken:
                await trio.sleep(0.1)
                return garbage
            return await real(*args, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(Calls, "ask", ask)
        async with rocketmq.connect() as mq:
            await mq.send("orders", "before")
            async with mq.subscribe("orders", group="g", start="first") as messages:
                async with await anext(messages) as message:
                    assert message.body == b"before"
                broken = True
                await trio.sleep(60)
                broken = False
                await mq.send("orders", "after")
                with trio.fail_after(60):
                    async with await anext(messages) as message:
                        assert message.body == b"after"

    simulated(scenario)


def test_a_silent_cluster_is_told_as_what_it_is() -> None:
    """A typed error that is retriable, or says that the outcome is unknown."""

    async def scenario(rocketmq: RocketMQ) -> None:
        async with rocketmq.connect(send_timeout_s=3.0) as mq:
            await Scene(rocketmq, mq).prepared()
            with rocketmq.partition(), pytest.raises(ClientError) as raised:
                await mq.send("orders", b"x")
            assert raised.value.unknown or raised.value.retriable

    simulated(scenario)
