import pytest
import trio
from trio.testing import MockClock

from broker_trio.runtime.loop_lag import BOUNDS_S, INTERVAL_S, LoopLag


@pytest.mark.parametrize(
    ("late_s", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (0.3, 8), (5.0, 11), (60.0, 12)]
)
def test_lateness_falls_into_its_bucket(late_s: float, bucket: int) -> None:
    """A wake-up counts in the first bucket whose bound it does not pass, or in the last."""
    lag = LoopLag()
    lag.observe(late_s)
    assert [at for at, count in enumerate(lag.buckets) if count] == [bucket]
    assert len(lag.buckets) == len(BOUNDS_S) + 1


def test_sums_are_kept_beside() -> None:
    """Count, sum and maximum describe what was observed; early wake-ups count as on time."""
    lag = LoopLag()
    for late_s in (0.002, 0.001, -0.5):
        lag.observe(late_s)
    assert (lag.count, lag.sum_us, lag.max_us) == (3, 3000, 2000)


def test_a_loop_is_late_while_it_is_not_after_one_pause() -> None:
    """Half a second of wake-ups that are 0.1 s late, and it takes as long to be well again."""
    lag = LoopLag()
    lag.observe(0.3)
    assert not lag.is_late
    for _ in range(8):
        lag.observe(0.1)
    assert lag.is_late
    for _ in range(8):
        lag.observe(0.0)
    assert not lag.is_late


async def test_a_blocked_loop_is_seen(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    """A step that keeps the loop for 0.4 s shows as one wake-up 0.3 s late."""
    lag = LoopLag()
    await nursery.start(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(INTERVAL_S + 0.3)
    await trio.testing.wait_all_tasks_blocked()
    assert lag.count == 1
    assert lag.max_us == pytest.approx(300_000, abs=10)
    mock_clock.jump(INTERVAL_S)
    await trio.testing.wait_all_tasks_blocked()
    assert lag.count == 2
    assert lag.sum_us == pytest.approx(300_000, abs=20)
