"""ansible-lint over the whole tree: profile production, strict, offline, without a skip.

    playbooks/ ─▶ parts ─▶ one ansible-lint each, as many at once as there are processors

Each process reads the same roles once more, but none has to read everything: a hundred seconds of
one processor altogether. ansible-lint is in the group `ops`, for nothing else needs what it brings:
`uv run --group ops pytest -m slow tests/unit/ops/test_playbooks_lint.py`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.ops.playbooks import PLAYBOOKS, ROOT

LINT = shutil.which("ansible-lint") or shutil.which(
    "ansible-lint", path=str(Path(sys.executable).parent)
)
PART_SECONDS = 1800  # on a machine that does much else
PARTS = {  # entries of playbooks/, those that take longest first
    "verbs": ["*.yml", "tasks", "vars"],
    "drills": ["drills"],
    "roles": ["roles"],
    "plugins": ["library", "module_utils", "filter_plugins", "callback_plugins"],
    "inventories": ["../inventory"],
}
LINE_CHARS_MAX = 160
IGNORED = {"__pycache__", "README.md", "ansible.cfg"}


def paths_of(patterns: Iterable[str]) -> list[Path]:
    """What the patterns name, below playbooks/."""
    return sorted({path for pattern in patterns for path in PLAYBOOKS.glob(pattern)})


def lint(part: str) -> tuple[str, int, str, float]:
    """One process: its part, exit code, words and seconds."""
    environ = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": f"{Path(str(LINT)).parent}{os.pathsep}{os.environ['PATH']}",
    }
    words = ["--offline", "--profile", "production", "--strict", "--nocolor", "--format=pep8"]
    paths = [os.path.relpath(path, ROOT) for path in paths_of(PARTS[part])]
    began = time.monotonic()
    done = subprocess.run(
        [str(LINT), *words, *paths],
        capture_output=True, text=True, timeout=PART_SECONDS, check=False, env=environ, cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return part, done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_the_parts_are_the_whole_tree() -> None:
    """Whoever adds a folder adds it to a part, or it would never be linted."""
    there = {path for path in PLAYBOOKS.iterdir() if path.name not in IGNORED}
    named = {path for part in PARTS for path in paths_of(PARTS[part])}
    assert {path.resolve() for path in named} == {*there, (ROOT / "inventory").resolve()}


def test_nothing_is_skipped() -> None:
    """No configuration, no comment that silences a rule, no list of files to ignore."""
    silent = [p.name for pattern in (".ansible-lint*", ".yamllint*") for p in ROOT.glob(pattern)]
    files = [*PLAYBOOKS.rglob("*.yml"), *(ROOT / "inventory").rglob("*.yml")]
    assert len(files) > 100
    silence = re.compile(r"#\s*(noqa|yamllint)|skip_ansible_lint")
    silent += [p.name for p in files if silence.search(p.read_text())]
    assert silent == []


def test_lines_are_as_short_as_yamllint_wants() -> None:
    """The mistake that is made most, found without ansible-lint."""
    files = [*PLAYBOOKS.rglob("*.yml"), *(ROOT / "inventory").rglob("*.yml")]
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if len(line) > LINE_CHARS_MAX
    ]
    assert long == []


@pytest.mark.slow
@pytest.mark.skipif(not LINT, reason="uv run --group ops has ansible-lint")
def test_lint_of_production() -> None:
    """Every part passes; what does not is named with its file and line."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lint, PARTS))
    for part, code, _, seconds in done:
        print(f"ansible-lint {part}: exit code {code}, {seconds:.0f} s")  # noqa: T201
    wrong = "\n".join(f"{part}:\n{text[-3000:]}" for part, code, text, _ in done if code)
    if wrong:
        pytest.fail(wrong)
