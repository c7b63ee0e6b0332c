"""What moves on a terminal while a command works, and what is left of it elsewhere."""

import io
from contextlib import redirect_stderr

import pytest
import trio
from rich.text import Text

from broker_trio.cli.dlq import progress
from broker_trio.cli.ledger.watch import read_line, watch_reader
from broker_trio.cli.moving import moving_line
from broker_trio.ops.ledger.read import Progress


class Terminal(io.StringIO):
    """A stderr that says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """80 columns, with cursor movements."""
    made = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return made


def shown(terminal: Terminal) -> str:
    """Without what moves the cursor and colours."""
    return Text.from_ansi(terminal.getvalue().replace("\r", "\n")).plain


def test_the_line_replaces_itself_and_is_gone_at_the_end(terminal: Terminal) -> None:
    """What is said stays above it; the last thing is that it is erased."""
    with redirect_stderr(terminal), moving_line() as line:
        line.show("1 of 3")
        line.say("a broker is back")
        line.show("2 of 3")
    text = shown(terminal)
    assert text.index("1 of 3") < text.index("a broker is back") < text.rindex("2 of 3")
    assert terminal.getvalue().endswith("\x1b[2K")


def test_what_shows_nothing_prints_nothing(terminal: Terminal) -> None:
    """Work that is done before the first look leaves no blank line."""
    with redirect_stderr(terminal), moving_line():
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("kind", ["a pipe", "dumb"])
def test_where_nothing_can_move_only_turns_are_told(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A log of a drill, a terminal without a cursor."""
    if kind == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    with redirect_stderr(terminal), moving_line() as line:
        line.show("1 of 3")
        line.say("a broker is back")
    assert terminal.getvalue() == "a broker is back\n"


def test_a_bar_counts_what_is_done(terminal: Terminal) -> None:
    """Of the total, with the time that is left."""
    with redirect_stderr(terminal), progress(4, "sent back", as_json=False) as advance:
        for _ in range(3):
            advance()
    text = shown(terminal)
    assert "sent back" in text
    assert "3/4" in text
    assert "-:--:--" in text or "0:00:0" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_no_bar_for_programs(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """With --json, or where stderr is a file."""
    if not as_json:
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    with redirect_stderr(terminal), progress(4, "sent back", as_json=as_json) as advance:
        advance()
    assert terminal.getvalue() == ""


async def test_a_reading_tells_how_far_it_is(terminal: Terminal, autojump_clock: object) -> None:
    """Queues, messages and their share, from the progress that the reader keeps."""
    reading = Progress()
    reading.queues, reading.queues_done, reading.expected = 8, 2, 200
    reading.messages, reading.found = 50, 49
    assert read_line(reading) == "2/8 queues  50 messages (25%)  49 numbered  0 damaged"
    with redirect_stderr(terminal), trio.move_on_after(1):
        await watch_reader(reading)
    assert "2/8 queues  50 messages (25%)" in shown(terminal)
