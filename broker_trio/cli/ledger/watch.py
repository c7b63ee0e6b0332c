"""What a running ledger shows: one line that moves on a terminal, and a line a turn for the worse.

    00:12  2,417 attempts  2,389 acknowledged  20 failed  8 unknown   longest gap 4.21 s
    no acknowledgement for 1.0 s: 10.0.0.7:10911 refused: SERVICE_NOT_AVAILABLE: …
    acknowledged again after 4.21 s

All of it goes to stderr: stdout is for the result. Where stderr is no terminal (a drill's log) only
the turns are told.
"""

from typing import TYPE_CHECKING, Final

import trio

from broker_trio.cli.moving import moving_line

if TYPE_CHECKING:
    from broker_trio.ops.ledger.read import Progress
    from broker_trio.ops.ledger.write import LedgerWriter

LOOK_S: Final = 0.25
GAP_S: Final = 1.0


class Turns:
    """Tells when sends stop being acknowledged and when they are again. Pure: `now` is given."""

    def __init__(self, gap_s: float = GAP_S) -> None:
        self._gap_s = gap_s
        self._gap_since: float | None = None

    def look(self, now: float, last_ok: float, last_gap_s: float, why: str) -> str | None:
        """A line for the log, or None.

        `last_ok`: the last acknowledgement, or the beginning; `last_gap_s`: how long the last wait
        was that is worth telling of; `why`: the last failure.
        """
        if self._gap_since is None:
            if now - last_ok < self._gap_s:
                return None
            self._gap_since = last_ok
            cause = f": {why}" if why else ""
            return f"no acknowledgement for {now - last_ok:.1f} s{cause}"
        if last_ok == self._gap_since:
            return None
        self._gap_since = None
        return f"acknowledged again after {last_gap_s:.2f} s"


def written_line(writer: "LedgerWriter", now: float) -> str:
    """How far a run is."""
    tally = writer.tally
    seconds = int(now - writer.begun)
    return (
        f"{seconds // 60:02}:{seconds % 60:02}  {tally.attempts:,} attempts  "
        f"{tally.ok:,} acknowledged  {tally.fail:,} failed  {tally.unknown:,} unknown   "
        f"longest gap {tally.longest_gap_s:.2f} s"
    )


def read_line(progress: "Progress") -> str:
    """How far a reading is."""
    share = progress.messages / progress.expected if progress.expected else 0.0
    return (
        f"{progress.queues_done}/{progress.queues} queues  {progress.messages:,} messages "
        f"({share:.0%})  {progress.found:,} numbered  {progress.damaged:,} damaged"
    )


async def watch_writer(writer: "LedgerWriter") -> None:
    """Until cancelled."""
    turns = Turns(max(GAP_S, 3 / writer.plan.rate if writer.plan.rate else 0.0))
    with moving_line() as line:
        while True:
            await trio.sleep(LOOK_S)
            now, tally = trio.current_time(), writer.tally
            last_ok = writer.begun if tally.last_ok is None else tally.last_ok
            told = turns.look(now, last_ok, tally.last_gap_s, tally.last_why)
            if told is not None:
                line.say(told)
            line.show(written_line(writer, now))


async def watch_reader(progress: "Progress") -> None:
    """Until cancelled."""
    with moving_line() as line:
        while True:
            await trio.sleep(LOOK_S)
            line.show(read_line(progress))
