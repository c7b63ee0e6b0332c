"""docs/testing.md, word for word: every block is a file, and every test in it passes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import broker_trio.client.blocking
import broker_trio.testing.plugin
import broker_trio.testing.simulated
import broker_trio.testing.threaded

pytest_plugins = ["pytester"]
IMPORTED = (broker_trio.client.blocking, broker_trio.testing)  # a pytest in here forgets its own

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCK = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)
SECTIONS = {
    text.partition("\n")[0]: BLOCK.findall(text)
    for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)
}
FIRST = dict(SECTIONS["A first test"])


def test_every_block_names_its_file():
    """No code stands on the page that no test runs."""
    assert sum(map(len, SECTIONS.values())) == len(re.findall(r"```(?:python|toml)\n", PAGE))


@pytest.mark.parametrize("section", [name for name, blocks in SECTIONS.items() if blocks])
def test_the_tests_of_a_section_pass(pytester, section):
    """As a reader would paste them: its blocks are files in one folder, with the first settings."""
    files = {"pyproject.toml": FIRST["pyproject.toml"], **dict(SECTIONS[section])}
    for name, text in files.items():
        (pytester.path / name).write_text(text)
    pytester.syspathinsert()
    options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error"]
    if "anyio_mode" in files["pyproject.toml"]:
        options += ["-p", "no:trio"]  # readers of this section have one plugin, not both
    found = pytester.runpytest_inprocess(*options)
    tests = sum(
        len(re.findall(r"^(?:async )?def test_", text, re.MULTILINE)) for text in files.values()
    )
    found.assert_outcomes(passed=tests)
    assert tests


@pytest.mark.slow
def test_the_command_for_other_languages_says_where_it_is():
    """One line of JSON when it is ready, and it ends on SIGTERM."""
    (command,) = re.findall(r"```\n(broker-trio up .*)\n```", PAGE)
    words = [sys.executable, "-m", "broker_trio", *command.split()[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=dict(os.environ)) as up:
        assert up.stdout is not None
        ready = json.loads(up.stdout.readline())
        up.terminate()
        up.communicate(timeout=120)
    assert len(ready["nameservers"]) == len(ready["brokers"]) == 1
    assert up.returncode == 0
