"""How every run of a pair ends: heal, get whole by doing what `pair status` says, read, judge.

    healed ─▶ all that is down starts ─▶ a careful operator follows the instructions until both
    copies count ─▶ proof: sends succeed ─▶ consumers reach the end ─▶ both logs are compared
       ─▶ both brokers end (power, kill or stop, at once) ─▶ start ─▶ whole again ─▶ drain
       ─▶ stop or kill ─▶ the files of both open and can be made anew ─▶ checkers

From the last fault on everything has WHOLE_S virtual seconds; then 30 more for each client.
"""

from collections.abc import Sequence
from typing import Final

import trio

from broker_trio.store.store import Store
from broker_trio.testing.checkers.consumers import LIVE_S
from broker_trio.testing.checkers.pair import CopiesAreOne
from broker_trio.testing.checkers.store_files import check_store_files
from broker_trio.testing.checkers.verdict import Checker, Verdict, Violation, judge
from broker_trio.testing.cluster.closing import LOOK_S, QUIET_S, end_of, prove
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.pair import NAME, Pair
from broker_trio.testing.cluster.pair_operator import Operator
from broker_trio.testing.cluster.reading import check_keys, drain, note_offsets, until_routed

WHOLE_S: Final = 150.0
"""From the last fault until both copies count again, an operator's looks every 3 s included."""
OPERATOR_S: Final = 3.0


async def conclude_pair(
    pair: Pair,
    operator: Operator,
    consumers: Sequence[SimConsumer],
    checkers: Sequence[Checker],
    *,
    topics: tuple[str, ...],
    wait_s: float = 0.0,
) -> Verdict:
    """End a run as the drawing says and judge it. Raises `Violation`."""
    rng = pair.world.rng("closing")
    pair.healed()
    await pair.start()
    await until_whole(pair, operator)
    pair.history.healed_at = trio.current_time()
    await prove(pair, topics)
    await trio.sleep(wait_s)
    await _until_caught_up(pair, consumers)
    await trio.sleep(QUIET_S)
    copies = CopiesAreOne()
    await _compare(pair, copies)
    await note_offsets(pair, consumers)
    for consumer in consumers:
        consumer.node.kill()
        await consumer.node.stopped()
    power = ("power",) if pair.mode.letter != "C" else ()  # both at once: more than C promises
    await _end_both(pair, rng.choice((*power, "kill", "stop")))
    await pair.start()
    await until_whole(pair, operator)
    await until_routed(pair, topics[0], LIVE_S)
    await drain(pair, topics)
    await check_keys(pair)
    await note_offsets(pair, consumers)
    await _compare(pair, copies)
    await _end_both(pair, rng.choice(("kill", "stop")))
    for name in pair.broker_names:
        await check_store_files(pair.node(name), pair.store, pair.history, NAME)
    return judge(pair.history, [*checkers, copies])


async def until_whole(pair: Pair, operator: Operator) -> None:
    """Somebody looks every few seconds and does what is said. Raises `Violation`."""
    deadline = trio.current_time() + WHOLE_S
    while not pair.is_whole():
        if trio.current_time() > deadline:
            states = {name: pair.replica(name) for name in pair.broker_names}
            told = [
                f"{name}: {replica and replica.machine.describe(trio.current_time())}, "
                f"{replica and replica.machine.state}"
                for name, replica in states.items()
            ]
            raise Violation(
                "I19",
                f"{WHOLE_S:g} s after the last fault the pair is not whole; told "
                f"{operator.told[-5:]}; " + "; ".join(told),
            )
        await operator.follow()
        with trio.move_on_after(OPERATOR_S):
            while not pair.is_whole():  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.05)


async def _until_caught_up(pair: Pair, consumers: Sequence[SimConsumer]) -> None:
    deadline = trio.current_time() + LIVE_S
    while trio.current_time() < deadline:
        if all(_is_at_end(pair, consumer) for consumer in consumers):
            return
        await trio.sleep(LOOK_S)


def _is_at_end(pair: Pair, consumer: SimConsumer) -> bool:
    app = pair.running_apps().get(pair.owner())
    if app is None or app.parts is None:
        return False
    return all(
        consumer.reached.get((NAME, topic, queue.queue_id), 0) >= queue.max_offset
        for topic in consumer.topics
        for queue in app.parts.store.queues.queues_of(topic)
    )


async def _compare(pair: Pair, copies: CopiesAreOne) -> None:
    """Both logs, byte for byte, once the slave has all."""
    await until_whole_and_level(pair)
    one, two = (_store(pair, name) for name in pair.broker_names)
    begin = max(one.log.min_offset, two.log.min_offset)
    end = min(one.log.max_offset, two.log.max_offset)
    if one.log.max_offset != two.log.max_offset:
        copies.difference = f"the logs end at {one.log.max_offset} and {two.log.max_offset}"
    first, second = await bytes_of(one, begin, end), await bytes_of(two, begin, end)
    copies.compared += end - begin
    if first != second:
        at = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        copies.difference = f"the logs differ at {begin + at}, between {begin} and {end}"


async def until_whole_and_level(pair: Pair) -> None:
    """Until the slave's log ends where its master's does, or 10 s."""
    with trio.move_on_after(10.0):
        while True:
            apps = [app.parts.store.log for app in pair.running_apps().values() if app.parts]
            if len(apps) == 2 and apps[0].flushed_offset == apps[1].flushed_offset:
                return
            await trio.sleep(0.05)


def _store(pair: Pair, name: str) -> Store:
    parts = pair.apps[name].parts
    assert parts is not None
    return parts.store


async def bytes_of(store: Store, begin: int, end: int) -> bytes:
    """The log's bytes, as they lie there."""
    data = bytearray()
    while begin < end:
        part = await store.log.read(begin, end - begin)
        assert part, f"no byte at {begin}"
        data += part
        begin += len(part)
    return bytes(data)


async def _end_both(pair: Pair, how: str) -> None:
    """At once, or in order where they are asked to stop."""
    pair.world.log("end", how)
    if how != "stop":
        for name in pair.broker_names:
            pair.kill(name, power=how == "power")
    for name in pair.broker_names:
        await end_of(pair, name, how)
