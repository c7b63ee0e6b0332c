"""Where two logs of a pair part: the last place at which both hold the same bytes.

    mine    |--- none ---|--- 1 by a ---|------ 2 by b ------|  end
    theirs  |--- none ---|--- 1 by a ---------|- 3 by a -|
                                        ^ common: here the newest line that both have ends first

An epoch has one owner, who writes each place once: where two lists have the same line (epoch and
start), the logs are equal as far as both write in it, and so is everything before. What was written
before the first line has no epoch; only the checksum speaks for it.
"""

from collections.abc import Sequence

from broker_trio.model.pair import NO_EPOCH, Epoch, EpochStart


def common_point(
    mine: Sequence[EpochStart], my_end: int, theirs: Sequence[EpochStart], their_end: int
) -> int:
    """The physical offset up to which both logs are equal by their epoch lists."""
    ends, their_ends = _ends(mine, my_end), _ends(theirs, their_end)
    for line in reversed(ends):
        if line in their_ends:
            return min(ends[line], their_ends[line])
    raise AssertionError("the line of no epoch is in both")


def end_of(epoch: Epoch, lines: Sequence[EpochStart], log_end: int) -> int:
    """Where in this log the bytes of that epoch and of all before it end; its end for none."""
    later = (line.start for line in lines if line.epoch > epoch != NO_EPOCH)
    return min(later, default=log_end)


def _ends(lines: Sequence[EpochStart], log_end: int) -> dict[EpochStart, int]:
    """Each line with bytes, and where it ends."""
    written = [line for line in lines if line.start < log_end]
    table = [EpochStart(NO_EPOCH, 0), *written]
    starts = [line.start for line in written]
    return dict(zip(table, [*starts, log_end], strict=True))
