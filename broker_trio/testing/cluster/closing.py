"""How every run ends: heal, prove that all works, lose power once more, read everything, judge.

    healed ─▶ whatever is down starts ─▶ proof: sends to every topic succeed
       ─▶ consumers reach the end of every queue ─▶ quiet, so that ASYNC_FLUSH has flushed
       ─▶ power off, kill or clean stop of all brokers ─▶ start ─▶ drain; keys are found
       ─▶ stop or kill ─▶ the files open, and derived ones can be made anew ─▶ checkers

The proof is a producer like any other: what it sends is in the history and judged with the rest.
"""

from collections.abc import Sequence
from typing import Final

import trio

from broker_trio.testing.checkers.consumers import LIVE_S
from broker_trio.testing.checkers.store_files import check_store_files
from broker_trio.testing.checkers.verdict import Checker, Verdict, Violation, judge
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.history import Outcome
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.cluster.reading import check_keys, drain, note_offsets

PROOF_COUNT: Final = 4
QUIET_S: Final = 1.0
LOOK_S: Final = 0.25


async def conclude(
    cluster: Cluster,
    consumers: Sequence[SimConsumer],
    checkers: Sequence[Checker],
    *,
    topics: tuple[str, ...],
    wait_s: float = 0.0,
) -> Verdict:
    """End a run as the drawing says and judge it. `topics`: all that clients used.

    `wait_s`: for what is still to come by itself, as delayed messages. Raises `Violation`.
    """
    rng = cluster.world.rng("closing")
    cluster.healed()
    await cluster.start()
    await prove(cluster, topics)
    await trio.sleep(wait_s)
    await _until_caught_up(cluster, consumers)
    await trio.sleep(QUIET_S)
    await note_offsets(cluster, consumers)
    for consumer in consumers:
        consumer.node.kill()
        await consumer.node.stopped()
    await _start_over(cluster, rng.choice(("power", "kill", "stop")))
    await drain(cluster, topics)
    await check_keys(cluster)
    await note_offsets(cluster, consumers)
    end = rng.choice(("power", "kill", "stop"))
    for name in cluster.broker_names:
        await end_of(cluster, name, end)
        await check_store_files(cluster.node(name), cluster.store, cluster.history)
    return judge(cluster.history, checkers)


async def prove(cluster: Cluster, topics: tuple[str, ...]) -> None:
    """New sends to every plain topic work, within 30 s of the last fault."""
    healed_at = cluster.history.healed_at
    for number, topic in enumerate(topic for topic in topics if not topic.startswith("%")):
        proof = SimProducer(cluster, f"proof{number}", topic)
        while True:
            proof.go(PROOF_COUNT)
            await proof.done()
            last = cluster.history.sent[-PROOF_COUNT:]
            if all(sent.outcome is Outcome.ACKED for sent in last):
                break
            if trio.current_time() > healed_at + LIVE_S:
                raise Violation("I19", f"30 s after the last fault: {last[-1]}: {last[-1].reason}")


async def _until_caught_up(cluster: Cluster, consumers: Sequence[SimConsumer]) -> None:
    """Until each consumer has read to every queue's end, or its time is over."""
    deadline = trio.current_time() + LIVE_S
    while trio.current_time() < deadline:
        if all(_is_at_end(cluster, consumer) for consumer in consumers):
            return
        await trio.sleep(LOOK_S)


def _is_at_end(cluster: Cluster, consumer: SimConsumer) -> bool:
    for name, app in cluster.apps.items():
        assert app.parts is not None
        for topic in consumer.topics:
            for queue in app.parts.store.queues.queues_of(topic):
                place = (name, topic, queue.queue_id)
                if consumer.reached.get(place, 0) < queue.max_offset:
                    return False
    return True


async def _start_over(cluster: Cluster, end: str) -> None:
    for name in cluster.broker_names:
        await end_of(cluster, name, end)
        await cluster.up(name)
    await trio.sleep(2 * LOOK_S)  # until it is registered again: routes go with the connection


async def end_of(cluster: Cluster, name: str, end: str) -> None:
    """Let one broker end: asked to stop, killed, or without power."""
    if end == "stop":
        await cluster.stop(name)
    else:
        cluster.kill(name, power=end == "power")
        await cluster.node(name).stopped()
