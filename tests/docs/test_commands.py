"""docs/commands.md: every line is typed against a real cluster, in the page's order."""

import re
import shlex
from pathlib import Path

from tests.unit.cli.live import live
from tests.unit.client.admin.cluster import Running

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def lines() -> list[tuple[list[str], int]]:
    """Words and expected exit code of each command of the page."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            told = re.search(r"# exits with (\d)", line)
            program, *words = shlex.split(line, comments=True)
            assert program == "broker-trio"
            found.append((words, int(told[1]) if told else 0))
    return found


async def give_up(cluster: Running) -> None:
    """Two dead letters of the page's group."""
    for number in range(2):
        message_id = await cluster.send("orders", b"bad", uniq=f"U{number}")
        await cluster.kill_off("billing", message_id, cause="timeout of the bank")


def test_every_command_of_the_page_works() -> None:
    """Each ends as the page says."""
    commands = lines()
    assert len(commands) > 30
    with live() as cluster:
        for words, code in commands:
            if words == ["dlq", "list"]:
                cluster.do(give_up)
            once = ["--times", "1"] if "--watch" in words else []
            cluster.run(*words, *once, code=code)
