"""The README, word for word: its commands run, its files are accepted, its links lead somewhere."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def shell(command, cwd, **environment):
    """A README command as written, but for `uv run`: the tests are in the environment already."""
    words = command.replace("uv run broker-trio", f"{sys.executable} -m broker_trio")
    words = re.sub(r"^broker-trio", f"{sys.executable} -m broker_trio", words)
    return subprocess.run(
        words, shell=True, cwd=cwd, env={**os.environ, **environment}, timeout=180,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """`up` on free ports in a temporary folder; what it said when it was ready."""
    command = [
        sys.executable, "-m", "broker_trio", "up", "--ephemeral", "--json",
        "--nameserver-port", "0", "--broker-port", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as up:
        assert up.stdout is not None
        yield json.loads(up.stdout.readline())
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=120)
    assert up.returncode == 0


def test_the_first_two_commands_are_the_promised_ones():
    """A newcomer pastes these two lines and nothing else."""
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    assert blocks[0] == "pip install uv && uv run broker-trio up\n"
    assert "pip install uv && uv run pytest\n" in blocks


@pytest.mark.slow
def test_sending_and_reading_back_works_as_written(cluster, tmp_path):
    """The lines go in, come out in some order of queues, and each has its receipt."""
    produce, consume = re.search(r"(printf .*)\n(uv run .* consume .*)\n", README).groups()
    where = {"BROKER_TRIO_NAMESERVER": cluster["nameservers"][0]}
    sent = shell(produce, tmp_path, **where)
    assert (sent.returncode, sent.stdout.count("replicated")) == (0, 3), sent.stderr
    got = shell(consume, tmp_path, **where)
    assert (got.returncode, sorted(got.stdout.split())) == (0, ["one", "three", "two"]), got.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", re.findall(r"^\| `(broker-trio [^`]*)`", README, re.MULTILINE))
def test_every_command_of_the_table_runs(command, cluster, tmp_path):
    """What the table promises to show is shown."""
    where = {"BROKER_TRIO_NAMESERVER": cluster["nameservers"][0]}
    shell("broker-trio topic create orders", tmp_path, **where)
    done = shell(command, tmp_path, **where)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "query" in command


@pytest.mark.slow
def test_the_configuration_files_are_accepted(tmp_path):
    """Both files of the README pass --check, and a misspelt key names the nearest one."""
    for text in re.findall(r"```toml\n(.*?)```", README, re.DOTALL):
        name = re.match(r"# (\S+)", text)[1]
        (tmp_path / name).write_text(text)
    for command in re.findall(
        r"^uv run broker-trio \w+ --config .* --check$", README, re.MULTILINE
    ):
        done = shell(command, tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "broker.toml").write_text('brokr_name = "x"\n')
    wrong = shell("broker-trio broker --config broker.toml --check", tmp_path)
    assert wrong.returncode == 1
    assert "broker_name" in wrong.stderr


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    """Every relative link of a document names a file or folder of the tree."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_compatibility_is_what_the_dispatch_tables_say():
    """docs/compatibility.md is generated; whoever adds a route generates it anew."""
    done = subprocess.run(
        [sys.executable, "-m", "broker_trio.testing.compatibility"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert (ROOT / "docs/compatibility.md").read_text() == done.stdout
