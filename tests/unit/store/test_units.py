"""Searching units: every way to search finds the same place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.store.units import (
    PRE_BLANK,
    UNIT,
    UNIT_BYTES,
    Search,
    decode_unit,
    end_near,
    first_at_or_after,
)


def drive(search: Search, units: list[bytes]) -> tuple[int, list[int]]:
    """The answer, and which units it looked at."""
    seen = []
    try:
        at = next(search)
        while True:
            seen.append(at)
            at = search.send(units[at])
    except StopIteration as found:
        return int(found.value), seen


@given(
    blanks=st.integers(0, 5),
    used=st.integers(0, 300),
    unused=st.integers(0, 300),
    physical_offset=st.integers(0, 320),
    near=st.integers(-3, 700),
)
def test_both_searches_find_the_first(
    blanks: int, used: int, unused: int, physical_offset: int, near: int
) -> None:
    """Pre-blanks are before everything, unused slots after it; the guess changes no answer."""
    units = [PRE_BLANK] * blanks + [UNIT.pack(k, 1, 0) for k in range(used)]
    units += [bytes(UNIT_BYTES)] * unused
    expected = blanks + min(physical_offset, used)
    assert drive(first_at_or_after(0, len(units), physical_offset), units)[0] == expected
    assert drive(end_near(0, len(units), physical_offset, near), units)[0] == expected


def test_a_good_guess_stays_near() -> None:
    """From a guess just before the end nothing far away is looked at."""
    units = [UNIT.pack(k, 1, 0) for k in range(1_000)] + [bytes(UNIT_BYTES)] * 299_000
    answer, seen = drive(end_near(0, len(units), 1 << 40, 990), units)
    assert answer == 1_000
    assert max(seen) < 1_010
    assert len(seen) < 10


@pytest.mark.parametrize("data", [b"", bytes(20), UNIT.pack(-1, 5, 0), UNIT.pack(5, -1, 0)])
def test_unused_slots(data: bytes) -> None:
    """What is no entry decodes to nothing."""
    assert decode_unit(data) is None
