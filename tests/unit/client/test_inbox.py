"""Handing out: queues in turn, ordered ones one message at a time, rests that end by themselves."""

from broker_trio.client.inbox import Inbox
from broker_trio.client.process_queue import Limits, ProcessQueue
from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue


def held(number: int, count: int, *, ordered: bool = False) -> ProcessQueue:
    queue = ProcessQueue(MessageQueue("t", "b", number), 0, ordered=ordered)
    queue.arrived(
        (MessageExt(topic="t", queue_id=number, queue_offset=n, physical_offset=0, size=10)
         for n in range(count)),
        count,
    )  # fmt: skip
    return queue


def take(inbox: Inbox, now: float = 0.0) -> tuple[int, int] | None:
    taken = inbox.take(now)
    return None if taken is None else (taken.source.queue.queue_id, taken.held.message.queue_offset)


def test_queues_take_turns() -> None:
    """A full queue does not starve another one."""
    inbox = Inbox(Limits())
    for number, count in enumerate((3, 1, 2)):
        inbox.add(held(number, count))
    order = [take(inbox) for _ in range(7)]
    assert order == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), None]
    assert inbox.handed == 6


def test_an_ordered_queue_goes_on_when_its_message_is_resolved() -> None:
    """The other queues do not wait for it."""
    inbox = Inbox(Limits())
    first, second = held(0, 2, ordered=True), held(1, 2, ordered=True)
    inbox.add(first)
    inbox.add(second)
    assert [take(inbox) for _ in range(3)] == [(0, 0), (1, 0), None]
    first.resolve(0)
    inbox.mark(first)
    assert [take(inbox) for _ in range(2)] == [(0, 1), None]


def test_a_rest_ends_by_itself_and_once() -> None:
    """Nobody marks the queue when its time has come; `wake_at` says when to look."""
    inbox = Inbox(Limits())
    queue = held(0, 2, ordered=True)
    inbox.add(queue)
    assert (take(inbox), inbox.wake_at()) == ((0, 0), None)
    queue.put_back(0, resume=5.0)
    inbox.mark(queue)
    assert (take(inbox, 4.9), inbox.wake_at()) == (None, 5.0)
    assert (take(inbox, 5.0), inbox.wake_at()) == ((0, 0), None)
    queue.resolve(0)
    inbox.mark(queue)
    assert (take(inbox, 5.1), inbox.wake_at()) == ((0, 1), None)


def test_a_removed_queue_gives_nothing_more() -> None:
    """Also where it stands in line, or rests; the same queue may come again."""
    inbox = Inbox(Limits())
    queue = held(0, 2, ordered=True)
    inbox.add(queue)
    take(inbox)
    queue.put_back(0, resume=5.0)
    inbox.mark(queue)
    assert inbox.remove(queue.queue) is queue
    assert (take(inbox, 9.0), inbox.wake_at(), len(inbox)) == (None, None, 0)
    assert inbox.remove(queue.queue) is None
    inbox.add(held(0, 1))
    assert take(inbox) == (0, 0)


def test_the_prefetch_is_shared_by_the_queues_held() -> None:
    """Twice the queues, half of it each."""
    inbox = Inbox(Limits(100, 1_000, 50))
    assert inbox.limits == (100, 1_000, 50)
    for number in range(4):
        inbox.add(held(number, 0))
    assert inbox.limits == (25, 250, 50)
