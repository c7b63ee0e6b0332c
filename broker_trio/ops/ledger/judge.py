"""The verdict on a drill, from its ledgers alone: a pure function of the evidence.

                        read back                   not read back
    acknowledged        fine                        lost
    refused             stored though refused       fine
    unknown outcome     fine, counted apart         fine, counted apart
    never sent          phantom                     –

and of what was read back: a message in two places is duplicated; one whose bytes changed is
damaged; one that lies behind a message of the same queue which was *sent only after it was
acknowledged* is out of order; two messages at one place, by two receipts, two readings or one of
each, are a conflict: two brokers gave the same offset away.

Whoever cannot prove a loss does not claim one: a queue that was not read to its end, a message
older than what its queue still holds, and one acknowledged only after the reading began are not
judged, and leave the verdict *inconclusive*. A broken promise makes it *fail* all the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, final

from broker_trio.ops.ledger.evidence import Evidence, Name, Place, Reader, Writer
from broker_trio.ops.ledger.gaps import gaps_of, recovery_of, told
from broker_trio.ops.ledger.records import Outcome, QueueRead
from broker_trio.ops.ledger.report import Demands, Report

GAPS_MAX: Final = 50

Queue = tuple[str, str, int]  # topic, broker, number


def judge(evidence: Evidence, demands: Demands | None = None) -> Report:
    """The verdict. The same evidence gives the same report, whatever the order of its files."""
    return _Case(evidence, demands or Demands()).judged()


@final
class _Case:
    """One judgement at work: the evidence, tables over it, and the report as it grows."""

    def __init__(self, evidence: Evidence, demands: Demands) -> None:
        self.report = Report(writers=len(evidence.writers), notes=list(evidence.notes))
        self._doubts = list(evidence.flaws)
        self._demands = demands
        self._writers = evidence.writers
        self._readers = sorted(
            evidence.readers.values(), key=lambda r: (r.heading.wall_ms, r.heading.reader)
        )
        self._queues: dict[Queue, tuple[QueueRead, Reader]] = {}
        self._places: dict[Name, list[Place]] = {}
        self._lost_at: list[int] = []
        self._why_open: Counter[str] = Counter()

    def judged(self) -> Report:
        self._choose_queues()
        self._collect_found()
        for writer in self._in_order():
            self._count(writer)
            self._judge_writer(writer)
            self._judge_time(writer)
        self._judge_found()
        self._judge_order()
        self._judge_places()
        self._conclude()
        return self.report

    def _in_order(self) -> Iterable[Writer]:
        return [self._writers[key] for key in sorted(self._writers)]

    # -- what was read -------------------------------------------------------------------------

    def _choose_queues(self) -> None:
        """Of each queue the latest complete reading counts; an incomplete one where none is."""
        for reader in self._readers:
            for (broker, number), queue in reader.queues.items():
                key = (reader.heading.topic, broker, number)
                known = self._queues.get(key)
                if known is None or queue.complete or not known[0].complete:
                    self._queues[key] = (queue, reader)
        for topic, broker, number in sorted(self._queues):
            queue, _ = self._queues[topic, broker, number]
            self.report.foreign += queue.foreign
            if queue.holes:
                self.report.notes.append(
                    f"queue {topic} {broker}/{number}: {queue.holes} of its offsets gave no message"
                )
            if not queue.complete:
                self._doubts.append(
                    f"queue {topic} {broker}/{number} was not read to its end: {queue.why}"
                )

    def _collect_found(self) -> None:
        damaged: dict[Place, str] = {}
        for reader in self._readers:
            places = {
                reader.place(found): found
                for found in reader.found
                if self._counts(reader, reader.place(found))
            }
            for place, found in sorted(places.items()):
                self._places.setdefault(Name(found.writer, found.n), []).append(place)
            for bad in reader.damaged:
                damaged[reader.place(bad)] = bad.why
        self.report.read_back = sum(map(len, self._places.values()))
        for place, why in sorted(damaged.items()):
            self.report.damaged.add(f"{place}: {why}")

    def _counts(self, reader: Reader, place: Place) -> bool:
        """Whether this reader's word on this queue is the one that counts."""
        chosen = self._queues.get((place.topic, place.broker, place.queue))
        return chosen is None or chosen[1] is reader

    # -- what was sent -------------------------------------------------------------------------

    def _count(self, writer: Writer) -> None:
        report = self.report
        report.attempts += len(writer.attempts)
        for n in writer.attempts:
            outcome = writer.outcomes.get(n)
            how = "unknown" if outcome is None else outcome.how
            if outcome is not None and how == "ok":
                report.acknowledged += 1
                durability = outcome.durability or "not told"
                report.durability[durability] = report.durability.get(durability, 0) + 1
                continue
            if how == "fail":
                report.failed += 1
            else:
                report.unknown += 1
                report.unknown_stored += Name(writer.heading.writer, n) in self._places
            cause = "the writer ended first" if outcome is None else outcome.cause or how
            report.causes[cause] = report.causes.get(cause, 0) + 1
        if writer.ended is None:
            report.notes.append(
                f"writer {writer.heading.writer} has not ended by itself: killed, or still at work"
            )

    def _judge_writer(self, writer: Writer) -> None:
        for n in sorted(writer.outcomes):
            outcome, name = writer.outcomes[n], Name(writer.heading.writer, n)
            places = self._places.get(name, [])
            if outcome.how == "fail" and places:
                self.report.refused_but_stored.add(f"{name} ({outcome.why}) lies at {places[0]}")
            elif outcome.how == "ok":
                self._judge_acknowledged(writer, name, outcome, places)
            if len(places) > 1 and writer.heading.resend and outcome.tries != 1:
                self.report.repeated += 1
            else:
                self._judge_single(name, places)
        for n in sorted(writer.attempts.keys() - writer.outcomes.keys()):
            name = Name(writer.heading.writer, n)
            if len(self._places.get(name, ())) > 1 and writer.heading.resend:
                self.report.repeated += 1
            else:
                self._judge_single(name, self._places.get(name, []))

    def _judge_single(self, name: Name, places: list[Place]) -> None:
        if len(places) > 1:
            self.report.duplicated.add(f"{name} lies at {', '.join(map(str, places))}")

    def _judge_acknowledged(
        self, writer: Writer, name: Name, outcome: Outcome, places: list[Place]
    ) -> None:
        place = writer.place(outcome)
        if places:
            if outcome.offset >= 0 and place not in places:
                self.report.misplaced.add(f"{name} was told {place}, lies at {places[0]}")
            return
        doubt = self._why_not_judged(outcome, place)
        if doubt:
            self._open(f"{name} at {place}", doubt)
            return
        told_as = f" as {outcome.durability}" if outcome.durability else ""
        self.report.lost.add(f"{name}, acknowledged{told_as} at {place}")
        self._lost_at.append(writer.wall_ms(outcome.t))

    def _why_not_judged(self, outcome: Outcome, place: Place) -> str:
        """Why nothing follows from its absence; empty where it must have been read."""
        chosen = self._queues.get((place.topic, place.broker, place.queue))
        if chosen is None:
            return "its queue was never read"
        queue, reader = chosen
        if not queue.complete:
            return "its queue was not read to its end"
        if 0 <= place.offset < queue.low:
            return "its queue begins behind it by now"
        if place.offset >= queue.high and outcome.wall_ms >= reader.heading.wall_ms:
            return "it was acknowledged after the last reading began"
        return ""

    def _open(self, what: str, why: str) -> None:
        self._why_open[why] += 1
        self.report.not_judged.add(f"{what}: {why}")

    def _judge_time(self, writer: Writer) -> None:
        report, demands = self.report, self._demands
        if not writer.attempts:
            return
        gaps = gaps_of(writer)
        report.rto_s = max(report.rto_s or 0.0, gaps[0].seconds)
        report.gaps.extend(told(gaps, writer, demands.gap_s))
        brokers = {o.broker for o in writer.outcomes.values() if o.how == "ok"}
        for broker in sorted(brokers):
            longest = gaps_of(writer, broker)[0].seconds
            known = report.rto_by_broker.get(broker, 0.0)
            report.rto_by_broker[broker] = max(known, longest)
        fault = demands.fault_wall_ms
        if fault is not None and writer.heading.t <= writer.at(fault) <= writer.ends_at():
            report.recoveries.append(recovery_of(writer, fault, demands.quiet_s))

    # -- what lies there -----------------------------------------------------------------------

    def _judge_found(self) -> None:
        """Messages that nobody sent, and those of whom nobody told us."""
        for name in sorted(self._places):
            writer = self._writers.get(name.writer)
            if writer is None:
                self.report.other_writers += len(self._places[name])
            elif name.n not in writer.attempts:
                where = f"{name} at {self._places[name][0]}"
                if writer.cut:
                    self._open(where, "its ledger is damaged")
                else:
                    self.report.phantom.add(f"{where}: its ledger knows no such attempt")

    def _judge_order(self) -> None:
        """In each queue, of one writer: nothing lies before what was acknowledged before its birth.

        In the order of offsets, the latest begin of an attempt so far is after the end of the one
        at hand exactly if some message in front of it was sent after it was acknowledged.
        """
        lines: dict[tuple[str, Queue], list[tuple[int, int]]] = {}
        for name, places in self._places.items():
            if name.writer in self._writers:
                topic, broker, number, offset = min(places)
                key = (name.writer, (topic, broker, number))
                lines.setdefault(key, []).append((offset, name.n))
        for (by, queue), line in sorted(lines.items()):
            self._judge_line(self._writers[by], queue, sorted(line))

    def _judge_line(self, writer: Writer, queue: Queue, line: list[tuple[int, int]]) -> None:
        latest, ahead = float("-inf"), 0
        for offset, n in line:
            outcome, attempt = writer.outcomes.get(n), writer.attempts.get(n)
            if outcome is not None and outcome.how == "ok" and latest > outcome.t:
                self.report.out_of_order.add(
                    f"{Name(writer.heading.writer, n)} at {Place(*queue, offset)} lies behind "
                    f"#{ahead}, sent {latest - outcome.t:.3f} s after it was acknowledged"
                )
            if attempt is not None and attempt.t > latest:
                latest, ahead = attempt.t, n

    def _judge_places(self) -> None:
        """Who is said to be where: by receipts, and by every reading, also those overtaken."""
        said: dict[Place, Name] = {}
        for place, name in self._said():
            known = said.setdefault(place, name)
            if known != name:
                self.report.conflicts.add(f"{place} is {known} and {name}")

    def _said(self) -> Iterator[tuple[Place, Name]]:
        for writer in self._in_order():
            for n in sorted(writer.outcomes):
                outcome = writer.outcomes[n]
                if outcome.how == "ok" and outcome.offset >= 0:
                    yield writer.place(outcome), Name(writer.heading.writer, n)
        for reader in self._readers:
            for found in reader.found:
                yield reader.place(found), Name(found.writer, found.n)

    # -- the verdict ---------------------------------------------------------------------------

    def _conclude(self) -> None:
        report, demands = self.report, self._demands
        report.rpo_messages = report.lost.count
        if self._lost_at:
            report.rpo_s = (max(self._lost_at) - min(self._lost_at)) / 1_000
        report.gaps.sort(key=lambda gap: (-gap.seconds, gap.writer))
        del report.gaps[GAPS_MAX:]
        broken = self._broken()
        self._doubt()
        report.reasons = [*broken, *self._doubts]
        if broken:
            report.verdict = "fail"
        else:
            report.verdict = "inconclusive" if self._doubts else "pass"
        assert not (report.verdict == "pass" and report.lost.count > demands.lost_max)

    def _broken(self) -> list[str]:
        report, demands, broken = self.report, self._demands, []
        for name, found in report.broken():
            allowed = demands.lost_max if name == "lost" else 0
            if found.count > allowed:
                limit = f", allowed {allowed}" if allowed else ""
                broken.append(f"{found.count} {name}{limit}")
        limit_s = demands.rto_max_s
        if limit_s is not None and report.rto_s is not None and report.rto_s > limit_s:
            broken.append(f"no send acknowledged for {report.rto_s:.3f} s, allowed {limit_s:g} s")
        for recovery in report.recoveries:
            if recovery.seconds is None:
                text = f"writer {recovery.writer}: sends never went well again after the fault"
                broken.append(text)
        return broken

    def _doubt(self) -> None:
        report, doubts = self.report, self._doubts
        if not self._writers:
            doubts.append("no ledger of a writer was given")
        elif not report.acknowledged:
            doubts.append("nothing was acknowledged, so nothing could be lost")
        if not self._readers:
            doubts.append("nothing was read back: run `broker-trio ledger read`")
        elif all(reader.ended is None for reader in self._readers):
            doubts.append("no reading came to its end")
        if self._demands.fault_wall_ms is not None and not report.recoveries:
            doubts.append("no writer was at work when the fault came")
        for why, count in self._why_open.most_common():
            doubts.append(f"{count} messages could not be judged: {why}")
