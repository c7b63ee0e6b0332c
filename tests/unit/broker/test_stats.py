"""Counters and their windows."""

import pytest

from broker_trio.broker.stats import BrokerStats, Window
from broker_trio.testing.sim_clock import ManualClock


def test_a_window_gives_sum_and_rate_of_its_span():
    """Ten a second for ten minutes: the same rate in every span, sums by length."""
    window = Window(0.0)
    for tick in range(1, 61):
        window.sample(tick * 10.0, tick * 100)
    assert window.span(10.0) == (100, 10.0)
    assert window.span(60.0) == (600, 10.0)
    assert window.span(600.0) == (6000, 10.0)


def test_a_short_history_gives_the_rate_of_what_there_is():
    """Half a minute after the start, the hour's rate is that of the half minute."""
    window = Window(0.0)
    for tick in range(1, 4):
        window.sample(tick * 10.0, tick * 50)
    assert window.span(3600.0) == pytest.approx((150, 5.0))


def test_a_day_is_kept_in_bounded_memory():
    """A week of ticks leaves samples of ten minutes and of a day."""
    window = Window(0.0)
    for tick in range(1, 7 * 8640):
        window.sample(tick * 10.0, tick)
    assert len(window._fine) <= 62
    assert len(window._coarse) <= 146
    assert window.span(86_400.0).sum == pytest.approx(8640, rel=0.01)


def test_counters_get_a_window_when_they_move():
    """A topic that nobody sends to costs no window and has no statistics."""
    clock = ManualClock()
    stats = BrokerStats(clock)
    stats.topic("idle")
    stats.topic("T").puts += 30
    clock.advance(10)
    stats.tick(clock.monotonic())
    assert not stats.has("TOPIC_PUT_NUMS", "idle")
    assert stats.span("TOPIC_PUT_NUMS", "T", 60.0) == (30, 3.0)


def test_what_is_deleted_stays_in_the_sum():
    """Totals never fall; a topic's and group's counters move to the shared one."""
    clock = ManualClock()
    stats = BrokerStats(clock)
    stats.topic("T").puts += 5
    stats.group_topic("G", "T").gets += 3
    stats.group_topic("G", "U").gets += 4
    stats.tick(10.0)
    stats.forget_topic("T")
    assert (stats.other_topics.puts, stats.other_groups.gets) == (5, 3)
    stats.forget_group("G")
    assert (stats.other_groups.gets, stats.groups) == (7, {})
    assert not stats.has("TOPIC_PUT_NUMS", "T")


def test_beyond_the_limit_counters_share_one_object():
    """Names invented by clients cannot grow the process."""
    stats = BrokerStats(ManualClock(), topics_max=1, groups_max=1)
    first = stats.topic("T")
    assert stats.topic("T") is first
    assert stats.topic("U") is stats.topic("V") is stats.other_topics
    stats.group_topic("G", "T")
    assert stats.group_topic("H", "T") is stats.other_groups


def test_the_day_changes_at_midnight():
    """Yesterday's total is what stood in this morning's place."""
    clock = ManualClock(start_ms=86_400_000 * 20_000 + 86_390_000)
    stats = BrokerStats(clock)
    stats.totals.puts = 7
    stats.tick(clock.monotonic())
    assert stats.morning.puts == 0
    clock.advance(20)
    stats.tick(clock.monotonic())
    stats.totals.puts = 9
    assert (stats.morning.puts, stats.yesterday.puts) == (7, 0)
    clock.advance(86_400)
    stats.tick(clock.monotonic())
    assert (stats.morning.puts, stats.yesterday.puts) == (9, 7)
