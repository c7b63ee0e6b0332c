"""Clients that answer the broker's own questions with nonsense, late, or not at all."""

import pytest
import trio

from broker_trio.model.codes import RequestCode
from broker_trio.testing.simulate import simulate
from broker_trio.wire.command import RESPONSE, Command, Serialize
from broker_trio.wire.serialize import encode
from tests.hostile import asks
from tests.hostile.programs import attacked

ANSWERS = {
    "a code that nobody has": {"code": -7},
    "the largest code": {"code": 2**31 - 1},
    "a field without a name": {"ext": {"": "x", "../x": "\x1b[2J", "n" * 20_000: "v" * 20_000}},
    "a body": {"body": bytes(1 << 20)},
    "a remark": {"remark": "r" * 20_000},
    "control characters": {"remark": "\0\r\n\x1b[2J", "body": b"\xff\0"},
}


def running_info(serialize=Serialize.JSON, body=b""):
    return asks.ask(
        RequestCode.GET_CONSUMER_RUNNING_INFO,
        serialize=serialize,
        body=body,
        consumerGroup="hostile",
        clientId="c",
    )


@pytest.mark.parametrize("serialize", list(Serialize))
def test_whatever_a_client_answers_reaches_its_asker_whole(serialize):
    """A code of our own making or the client's body; the asker's connection survives each, and
    made-up codes do not become counters without end."""

    async def scenario(world):
        async with attacked(world) as target:
            client, asker = await target.peer(), await target.peer(host="tool")
            assert (await client.ask(asks.heartbeat("hostile"))).code == 0
            for what, members in ANSWERS.items():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(answer_one, client, members)
                    answer = await asker.ask(running_info(serialize))
                assert answer.code == (1 if "code" in members else 0), what
                assert answer.body == members.get("body", b"")
            counted = {code for _, code, _ in target.server("broker").stats.by_code}
            assert not counted & {-7, 2**31 - 1}

    async def answer_one(client, members):
        while (asked := await client.next()).code != RequestCode.GET_CONSUMER_RUNNING_INFO:
            """A notification."""
        await client.send(
            Command(**{"code": 0, "opaque": asked.opaque, "flag": RESPONSE, **members})
        )

    simulate(1, scenario)


def test_a_client_that_does_not_answer_costs_207():
    """After 10 s, for the asker alone; a late answer is nobody's."""

    async def scenario(world):
        async with attacked(world) as target:
            client, asker = await target.peer(), await target.peer(host="tool")
            await client.ask(asks.heartbeat("hostile"))
            began = trio.current_time()
            assert (await asker.ask(running_info())).code == 207
            assert 10 <= trio.current_time() - began < 11
            await client.send(*(Command(0, opaque, RESPONSE) for opaque in range(20)))
            assert (await client.ask(asks.ask(26))).code == 0

    simulate(1, scenario)


def test_a_question_that_grows_past_a_frame_is_refused():
    """It came in ROCKETMQ and would leave in JSON, which is longer: 1, and nobody's end."""

    async def scenario(world):
        async with attacked(world) as target:
            client, asker = await target.peer(), await target.peer(host="tool")
            await client.ask(asks.heartbeat("hostile"))
            head = len(encode(running_info(Serialize.ROCKETMQ)))
            largest = running_info(Serialize.ROCKETMQ, bytes((16 << 20) - head))
            answer = await asker.ask(largest)
            assert (answer.code, "cannot be asked" in answer.remark) == (1, True)
            assert (await client.ask(asks.ask(26))).code == 0

    simulate(1, scenario)
