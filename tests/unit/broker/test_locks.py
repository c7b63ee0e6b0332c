"""Queue locks of orderly consumption."""

import json

from broker.fakes import ask
from broker_trio.broker.locks import LOCK_S, Locks
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.dispatch import Dispatcher
from broker_trio.testing.sim_clock import ManualClock

Q = MessageQueue("T", "b", 0)


def test_a_lock_belongs_to_one_client_until_it_is_old():
    """Another client gets it 60 s after the last renewal, not before."""
    locks = Locks(ManualClock())
    assert locks.try_lock("G", Q, "a", 0)
    assert not locks.try_lock("G", Q, "b", LOCK_S)
    assert locks.try_lock("G", Q, "a", LOCK_S)
    assert not locks.try_lock("G", Q, "b", 2 * LOCK_S)
    assert locks.try_lock("G", Q, "b", 2 * LOCK_S + 0.1)


def test_groups_do_not_see_each_others_locks():
    """Two groups consume the same queue orderly, each for itself."""
    locks = Locks(ManualClock())
    assert locks.try_lock("G", Q, "a", 0)
    assert locks.try_lock("H", Q, "b", 0)


def test_only_the_holder_gives_a_lock_back():
    """A late unlock of the previous owner takes nothing from the present one."""
    locks = Locks(ManualClock())
    locks.try_lock("G", Q, "a", 0)
    assert not locks.unlock("G", Q, "b")
    assert locks.unlock("G", Q, "a")
    assert locks.try_lock("G", Q, "b", 0)
    assert locks.held == 1


def test_a_group_holds_locks_only_while_they_are_young():
    """Its plain sends to the retry topic are dead letters just so long."""
    clock = ManualClock()
    locks = Locks(clock)
    assert not locks.group_holds_locks("G")
    locks.try_lock("G", Q, "a", clock.monotonic())
    assert locks.group_holds_locks("G")
    clock.advance(LOCK_S + 1)
    assert not locks.group_holds_locks("G")


def test_expired_locks_make_room_at_the_limit():
    """A full table is cleaned before it refuses."""
    locks = Locks(ManualClock(), locks_max=1)
    assert locks.try_lock("G", Q, "a", 0)
    assert not locks.try_lock("H", Q, "b", 1)
    assert locks.try_lock("H", Q, "b", LOCK_S + 1)
    assert locks.held == 1


def test_the_requests_answer_with_what_was_locked():
    """41 lists the queues that the client has now; 42 gives them back; null sets are empty."""
    dispatcher = Dispatcher(Locks(ManualClock()).routes())
    queues = [{"topic": "T", "brokerName": "b", "queueId": n} for n in range(2)]

    def body(client, mq_set):
        return json.dumps({"consumerGroup": "G", "clientId": client, "mqSet": mq_set}).encode()

    def locked(client, mq_set):
        answer = ask(dispatcher, 41, body=body(client, mq_set))
        return [queue["queueId"] for queue in json.loads(answer.body)["lockOKMQSet"]]

    assert locked("a", queues[:1]) == [0]
    assert locked("b", queues) == [1]
    assert ask(dispatcher, 42, body=body("a", queues)).code == 0
    assert locked("b", queues) == [0, 1]
    assert locked("b", None) == []
