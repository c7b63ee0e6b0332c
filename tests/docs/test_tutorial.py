"""docs/tutorial.md, from top to bottom: its files written, its commands typed, its outputs seen.

Only ports differ: the page's cluster has 9876, the test's any free one. Programs that go on for
ever get Ctrl-C when they have printed what the page shows.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker_trio.client import blocking

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
UP = "broker-trio up --ephemeral --single"
WITHIN_S = 120.0


@contextmanager
def cluster() -> Iterator[str]:
    """The page's `up` on free ports; its nameserver."""
    words = [*UP.split()[1:], "--json", "--nameserver-port", "0", "--broker-port", "0"]
    with subprocess.Popen([sys.executable, "-m", "broker_trio", *words], stdout=-1) as up:
        try:
            assert up.stdout is not None
            found = re.search(rb'"nameservers":\["([^"]+)"', up.stdout.readline())
            assert found
            yield found[1].decode()
        finally:
            up.send_signal(signal.SIGTERM)
            up.communicate(timeout=WITHIN_S)


class Reader:
    """Someone who works through the page in one folder."""

    def __init__(self, folder: Path, nameserver: str) -> None:
        self.folder, self.nameserver = folder, nameserver
        self.environment = os.environ | {
            "BROKER_TRIO_NAMESERVER": nameserver,
            "PYTHONUNBUFFERED": "1",
        }

    def save(self, text: str) -> None:
        """A block that begins with a file's name."""
        found = re.match(r"# (\S+)\n", text)
        assert found, "a block without a name"
        (self.folder / found[1]).write_text(text.replace("localhost:9876", self.nameserver))

    def type(self, command: str, shown: str | None) -> None:
        """One line of a terminal; `shown` is the block below it."""
        program, *words = command.split()
        if program == "pip" or command == UP:
            return
        if program == "python":
            assert shown, f"{command} without its output"
            self.see(words, shown.splitlines())
            return
        assert program == "broker-trio"
        done = subprocess.run(
            [sys.executable, "-m", "broker_trio", *words], env=self.environment, cwd=self.folder,
            timeout=WITHIN_S, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.stdout
        if words[:2] in (["dlq", "count"], ["dlq", "peek"]):
            assert "no rule for returned" in done.stdout, done.stdout

    def see(self, words: list[str], expected: list[str]) -> None:
        """What a program prints, each customer's lines in the page's order."""
        command = [sys.executable, *words]
        with subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdout=-1, stderr=-1, text=True
        ) as program:
            late = threading.Timer(WITHIN_S, program.kill)
            late.start()
            assert program.stdout is not None
            seen = [line.strip() for _, line in zip(expected, program.stdout, strict=False)]
            if words[0] == "billing.py":
                self.wait_until_acknowledged("billing")  # its last line comes before that
                program.send_signal(signal.SIGINT)
            rest, complaints = program.communicate()
            late.cancel()
        assert by_customer(seen) == by_customer(expected), complaints
        assert rest == ""
        assert program.returncode == 0 or words[0] == "billing.py", complaints

    def wait_until_acknowledged(self, group: str) -> None:
        """Until the group has committed everything that its topics hold."""
        with blocking.connect(self.nameserver) as mq:
            until = time.monotonic() + WITHIN_S
            while lag := mq.wait(mq.client.admin.offsets.lag, group).messages:
                assert time.monotonic() < until, f"{lag} messages wait after {WITHIN_S:g} s"
                time.sleep(0.1)


def by_customer(lines: list[str]) -> dict[str, list[str]]:
    """What one `ordering_key` keeps in order."""
    found = defaultdict(list)
    for line in lines:
        found[line.split()[0]].append(line)
    return found


@pytest.mark.slow
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    """Ordered, retried, dead-lettered, sent back, delayed."""
    with cluster() as nameserver:
        reader = Reader(tmp_path, nameserver)
        for at, (kind, text) in enumerate(BLOCKS):
            if kind == "python":
                reader.save(text)
            elif kind == "sh":
                below, shown = BLOCKS[at + 1] if at + 1 < len(BLOCKS) else ("", "")
                for line in text.splitlines():
                    reader.type(line, shown if below == "text" else None)
            else:
                assert kind == "text"


def test_a_newcomer_begins_with_two_commands() -> None:
    """The first block is what the test's cluster stands for."""
    assert BLOCKS[0] == ("sh", f"pip install broker-trio\n{UP}\n")
