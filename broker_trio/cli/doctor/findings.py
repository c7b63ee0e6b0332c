"""What doctor finds: one sentence a check and subject, its level, and the next command.

    ok      as it should be           warn    works, and will hurt one day
    info    good to know              fail    does not work for somebody right now

A check that is fine everywhere takes one line; one that is not, a line for each subject with its
cause, the value, the limit, and what to do.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

Level = Literal["ok", "info", "warn", "fail"]
WEIGHT: Final[dict[Level, int]] = {"ok": 0, "info": 1, "warn": 2, "fail": 3}
STYLES: Final[dict[Level, str]] = {"ok": "green", "info": "dim", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """One look at one thing. `advice` is empty where nothing is to be done."""

    level: Level
    check: str
    subject: str
    text: str
    advice: str = ""


class Verdict(NamedTuple):
    """How many findings of each level there are."""

    ok: int
    info: int
    warn: int
    fail: int

    @classmethod
    def of(cls, findings: "Iterable[Finding | Line]") -> "Verdict":
        levels = [finding.level for finding in findings]
        return cls(*(levels.count(level) for level in WEIGHT))

    @property
    def text(self) -> str:
        """`9 ok, 1 warning, 2 failures`."""
        parts = [f"{self.ok} ok"]
        parts += [_count(self.info, "note")] if self.info else []
        parts += [_count(self.warn, "warning")] if self.warn else []
        parts += [_count(self.fail, "failure")] if self.fail else []
        return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Line(NamedTuple):
    """One line of the report."""

    level: Level
    what: str
    text: str
    advice: str = ""


def lines_of(findings: list[Finding], *, every: bool) -> list[Line]:
    """The report: checks in their order, fine ones in one line each unless `every`."""
    checks = dict.fromkeys(finding.check for finding in findings)
    lines = []
    for check in checks:
        mine = [finding for finding in findings if finding.check == check]
        fine = [finding for finding in mine if finding.level == "ok"]
        if every or len(fine) == 1:
            shown = mine
        else:
            shown = [finding for finding in mine if finding.level != "ok"]
            if fine:
                subjects = ", ".join(dict.fromkeys(finding.subject for finding in fine))
                lines.append(Line("ok", check, subjects))
        lines += together(shown)
    return lines


def together(findings: list[Finding]) -> list[Line]:
    """A line each; those of one level with one advice share it."""
    lines: list[Line] = []
    for one in findings:
        text = f"{one.subject}: {one.text}"
        last = lines[-1] if lines else None
        if last and one.advice and (last.level, last.advice) == (one.level, one.advice):
            lines[-1] = last._replace(text=f"{last.text}\n{text}")
        else:
            lines.append(Line(one.level, one.check, text, one.advice))
    return lines


def report(lines: list[Line]) -> "RenderableType":
    """The report for people, as wide as the terminal."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        text = Text(line.text)
        if line.advice:
            text.append(f"\nnext: {line.advice}", style="bold")
        table.add_row(Text(line.level, style=STYLES[line.level]), line.what, text)
    return table
