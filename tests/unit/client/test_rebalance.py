"""Sharing queues: members that see the same lists agree, and nothing is left over or held twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.client.rebalance import (
    Strategy,
    average,
    change,
    circle,
    fixed,
    rendezvous,
    share_of,
)
from broker_trio.model.route import MessageQueue


def queues(count: int, broker: str = "b") -> list[MessageQueue]:
    return [MessageQueue("t", broker, number) for number in range(count)]


def ids(found: list[MessageQueue]) -> list[int]:
    return [queue.queue_id for queue in found]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [(average, [[0, 1], [2, 3], [4]]), (circle, [[0, 3], [1, 4], [2]])],
)
def test_five_queues_of_three_members(strategy: Strategy, expected: list[list[int]]) -> None:
    """The shares that RocketMQ's own clients compute: one of them may be in the group."""
    members = ["c1", "c2", "c3"]
    assert [ids(share_of(strategy, me, queues(5), members)) for me in members] == expected


@pytest.mark.parametrize("strategy", [average, circle, rendezvous])
@given(
    count=st.integers(0, 40),
    members=st.sets(st.text("abc019.@#", min_size=1, max_size=8), min_size=1, max_size=12),
)
def test_every_queue_has_one_owner(strategy: Strategy, count: int, members: set[str]) -> None:
    """Whatever the numbers, and in whatever order the lists came."""
    shares = [share_of(strategy, me, reversed(queues(count)), members) for me in members]
    assert sorted(queue for share in shares for queue in share) == queues(count)
    if strategy is not rendezvous:
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_rendezvous_moves_only_the_queues_of_who_left() -> None:
    """Nobody else loses a queue, and the shares are not absurdly uneven."""
    members = [f"10.0.0.{number}@{number}" for number in range(5)]
    before = {me: share_of(rendezvous, me, queues(100), members) for me in members}
    assert all(8 <= len(share) <= 35 for share in before.values()), before
    after = {me: share_of(rendezvous, me, queues(100), members[1:]) for me in members[1:]}
    assert all(set(before[me]) <= set(after[me]) for me in members[1:])


def test_a_member_that_no_broker_lists_gets_nothing() -> None:
    """Its heartbeat has not arrived: the others do not count with it yet."""
    assert share_of(average, "me", queues(3), ["other"]) == []


def test_fixed_shares_are_what_the_configuration_says() -> None:
    """Queues that do not exist are left out, members that are not named get none."""
    strategy = fixed({"c1": queues(9)})
    assert ids(share_of(strategy, "c1", queues(2), ["c1", "c2"])) == [0, 1]
    assert share_of(strategy, "c2", queues(2), ["c1", "c2"]) == []


def test_a_change_names_what_comes_and_what_goes() -> None:
    """Sorted, so that all members work through it in the same order."""
    assert change(queues(3), queues(4)[2:]) == (queues(4)[3:], queues(2))
