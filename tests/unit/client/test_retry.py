"""Which queue next, how long, whom to avoid: decisions with `now` as an argument."""

from collections import Counter

import pytest

from broker_trio.client.retry import (
    FaultWindows,
    attempt_s,
    next_queue,
    pause_s,
    queue_of_key,
)
from broker_trio.model.route import MessageQueue

QUEUES = [MessageQueue("t", name, n) for n in range(2) for name in ("a", "b", "c")]


def windows(**failed_at: float) -> FaultWindows:
    made = FaultWindows(1.0, 60.0)
    for name, now in failed_at.items():
        made.failed(name, now)
    return made


def test_queues_take_turns():
    """Without a failure each queue comes as often as any other, brokers alternating."""
    chosen = [next_queue(QUEUES, turn, windows(), (), 0) for turn in range(12)]
    assert chosen == QUEUES * 2


def test_a_suspected_broker_is_passed_over_until_its_window_ends():
    """Its queues are skipped for the window, and have their turn again after it."""
    faults = windows(a=10.0)
    during = {next_queue(QUEUES, turn, faults, (), 10.9).broker_name for turn in range(6)}
    assert during == {"b", "c"}
    assert next_queue(QUEUES, 0, faults, (), 11.0).broker_name == "a"


def test_with_everybody_suspected_the_one_trusted_soonest_is_asked():
    """Sending goes on: avoiding a broker is a preference, not a refusal."""
    faults = windows(b=1.0, a=1.2, c=1.1)
    assert {next_queue(QUEUES, turn, faults, (), 1.5).broker_name for turn in range(6)} == {"b"}


def test_a_retry_goes_to_another_broker():
    """A broker that failed in this send comes last, even where the others are suspected."""
    assert next_queue(QUEUES, 0, windows(), ["a"], 0).broker_name == "b"
    assert next_queue(QUEUES, 0, windows(), ["a", "b"], 0).broker_name == "c"
    assert next_queue(QUEUES, 0, windows(b=0.0, c=0.0), ["a"], 0.5).broker_name == "b"
    assert next_queue(QUEUES, 0, windows(), ["a", "b", "c"], 0) == QUEUES[0]


def test_windows_double_up_to_their_limit_and_end_with_a_success():
    """1, 2, 4 … seconds for failures in a row, 60 at most; one success forgets them."""
    faults, now, lengths = FaultWindows(1.0, 60.0), 0.0, []
    for _ in range(8):
        lengths.append(faults.failed("a", now))
        now += lengths[-1]
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60]
    assert faults.succeeded("a")
    assert not faults.succeeded("a")
    assert faults.failed("a", now) == 1


def test_failures_of_sends_under_way_together_count_once():
    """64 sends that lose one connection learnt one thing: the window is the first one."""
    faults = FaultWindows(1.0, 60.0)
    assert [faults.failed("a", 0.0) for _ in range(64)] == [1.0] * 64
    assert faults.failed("a", 1.0) == 2.0


def test_after_a_window_one_send_looks_and_the_others_wait():
    """The first one chosen moves the window on, so that the next goes elsewhere."""
    faults = windows(a=0.0)
    assert next_queue(QUEUES, 0, faults, (), 1.0).broker_name == "a"
    faults.look("a", 1.0)
    assert next_queue(QUEUES, 0, faults, (), 1.0).broker_name == "b"


def test_suspects_have_a_limit():
    """A client that meets thousands of broker names keeps the last thousand."""
    faults = FaultWindows(1.0, 60.0)
    for number in range(2_000):
        faults.failed(f"b{number}", 0.0)
    assert faults.until("b0", 0.5) == 0
    assert faults.until("b1999", 0.5) == 1


def test_an_ordering_key_stays_on_its_queue_when_others_go():
    """Only the keys of a lost broker move, and they come back with it."""
    keys = [f"k{number}" for number in range(500)]
    before = {key: queue_of_key(QUEUES, key) for key in keys}
    left = [queue for queue in QUEUES if queue.broker_name != "b"]
    after = {key: queue_of_key(left, key) for key in keys}
    assert all(after[key] == queue for key, queue in before.items() if queue in left)
    assert {key: queue_of_key(QUEUES[::-1], key) for key in keys} == before


def test_ordering_keys_spread_over_all_queues():
    """Of 6,000 keys each of six queues gets its 1,000, within 15 %."""
    counts = Counter(queue_of_key(QUEUES, f"customer-{number}") for number in range(6_000))
    assert set(counts) == set(QUEUES)
    assert all(850 < count < 1_150 for count in counts.values()), counts


@pytest.mark.parametrize(
    ("left", "attempts", "expected"),
    [(10.0, 5, 3.0), (30.0, 5, 6.0), (4.0, 4, 3.0), (1.0, 3, 1.0), (7.0, 1, 7.0)],
)
def test_an_attempt_leaves_time_for_the_next(left: float, attempts: int, expected: float):
    """An equal share, three seconds at least, never more than there is."""
    assert attempt_s(left, attempts) == expected


def test_pauses_grow_and_are_jittered():
    """A tenth of a second, then three times as long, at most two; from half to one and a half."""
    assert [pause_s(failures, 0.5) for failures in (1, 2, 3, 4, 5)] == pytest.approx(
        [0.1, 0.3, 0.9, 2.0, 2.0]
    )
    assert pause_s(1, 0.0) == pytest.approx(0.05)
    assert pause_s(1, 1.0) == pytest.approx(0.15)
