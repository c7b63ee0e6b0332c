"""The plain histogram: where values land and what is read back."""

import pytest

from broker_trio.model.histogram import Histogram


def test_a_value_equal_to_a_bound_counts_below_it() -> None:
    """Bounds are inclusive, as Prometheus' `le` is."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.cumulative() == [2, 4, 5]
    assert (histogram.count, histogram.total) == (5, 7.5)


def test_many_equal_values_count_as_if_observed_one_by_one() -> None:
    """`observe_many` equals a loop over `observe`."""
    one, many = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    for _ in range(3):
        one.observe(1.5)
    many.observe_many(1.5, 3)
    assert (one.counts, one.total) == (many.counts, many.total)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 1.0), (0.6, 2.0), (1.0, 4.0)])
def test_a_quantile_answers_the_bound_that_holds_it(share: float, expected: float) -> None:
    """The answer is the lowest bound with enough values at or below it."""
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.quantile(share) == expected


def test_an_empty_histogram_has_quantile_zero() -> None:
    """Nothing observed is answered by 0, not by a bound."""
    assert Histogram((1.0,)).quantile(0.99) == 0.0


@pytest.mark.parametrize("bounds", [(), (2.0, 1.0), (1.0, 1.0)])
def test_bounds_must_rise(bounds: tuple[float, ...]) -> None:
    """A histogram that cannot count is refused where it is made."""
    with pytest.raises(AssertionError):
        Histogram(bounds)
