"""A pair saved while it serves, lost, and restored as a new store beside nameservers that remember.

What the playbooks `backup` and `restore` do, by their own modules, with processes instead of hosts.
"""

import getpass
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.pairs import NAME, Pair, wait_for
from tests.unit.ops.playbooks import plugin

SENT = [f"message {number}" for number in range(300)]
SAVED = {
    "program": sys.executable, "broker_name": NAME, "replica": f"{NAME}/2", "pair": True,
    "settings": "", "cluster": "c", "piece_bytes": 16 << 10, "state": "taken",
}  # fmt: skip


class Ended(Exception):
    """A module has answered."""


class Module:
    """An AnsibleModule that runs our program as it is in this environment."""

    check_mode = False

    def __init__(self, **params: Any) -> None:
        self.params, self.result = params, dict[str, Any]()

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        words = [sys.executable, "-m", "broker_trio", *command[1:]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def exit_json(self, **result: Any) -> None:
        self.result = result
        raise Ended

    def fail_json(self, **result: Any) -> None:
        raise AssertionError(result)


def play(name: str, monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    """One module's main, as Ansible runs it on a host."""
    for shared in ("rmq_cli", "rmq_saved"):
        module = plugin(f"module_utils/{shared}.py")
        monkeypatch.setitem(sys.modules, f"ansible.module_utils.{shared}", module)
    library, played = plugin(f"library/{name}.py"), Module(**params)
    monkeypatch.setattr(library, "AnsibleModule", lambda **_: played)
    with pytest.raises(Ended):
        library.main()
    return played.result


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two replicas that fsync both."""
    found = Pair(tmp_path / "pair").start()
    yield found
    found.stop()


def ran(pair: Pair, *words: str, text: str = "") -> list[str]:
    """Lines of a command that must end well."""
    command = [sys.executable, "-m", "broker_trio", *words, "-n", pair.nameserver.address]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.splitlines()


def store_ids(pair: Pair) -> set[str]:
    """Who both replicas say that they are."""
    told = [pair.status(program) for program in (pair.a, pair.b)]
    return {each.kept.store_id for each in told if each is not None and each.kept is not None}


def test_a_lost_pair_comes_back_as_it_was_saved(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was confirmed then, nothing of later; groups read on; both stores are new ones."""
    ran(pair, "topic", "create", "orders", "--queues", "4")
    ran(pair, "produce", "orders", "--quiet", text="".join(f"{each}\n" for each in SENT))
    ran(pair, "consume", "orders", "--group", "billing", "--from-first", "--count", "100")
    before, folder = store_ids(pair), tmp_path / "backup"
    wait_for(lambda: places(pair).count("billing") > 0, "the slave to have the group's place")
    a, b = (program.folder / "store" for program in (pair.a, pair.b))
    where = {"nameservers": [pair.nameserver.address], "address": pair.b.address}
    taken = play("rmq_backup", monkeypatch, data=str(b), folder=str(folder), **where, **SAVED)
    ran(pair, "produce", "orders", "--quiet", text="too late\n")
    for program, data in ((pair.a, a), (pair.b, b)):
        program.stop(kill=True)
        shutil.rmtree(data)
        data.mkdir()
    play("rmq_backup", monkeypatch, folder=str(folder), state="verified")
    owner = {"folder": str(folder), "digest": "", "owner": getpass.getuser(), "state": "restored"}
    restored = play("rmq_restore", monkeypatch, data=str(a), **owner)
    assert restored["end"] == taken["manifest"]["end"]
    pair.a.start()
    pair.b.start()
    assert promoted(pair) == "done"
    pair.wait_whole()
    assert not before & store_ids(pair)
    read = ran(pair, "consume", "orders", "--group", "fresh", "--from-first")
    assert sorted(read) == sorted(SENT)
    assert 200 <= len(ran(pair, "consume", "orders", "--group", "billing")) <= len(SENT)
    ran(pair, "produce", "orders", "--quiet", text="and on\n")


def places(pair: Pair) -> str:
    """The slave's file of consumer offsets."""
    file = pair.b.folder / "store/config/consumerOffset.json"
    return file.read_text() if file.exists() else ""


def promoted(pair: Pair) -> str:
    """What restore.yml does once it sees that nameservers remember others."""
    owner_known = plugin("filter_plugins/verbs.py").owner_known
    addresses = ";".join((pair.a.address, pair.b.address))

    def remembered() -> bool:
        told = pair.command("pair", "status", NAME, "--replica", addresses, "--json")
        return bool(owner_known(told.stdout, f"{NAME}/1") == "other")

    wait_for(remembered, "the restored one to see that others are remembered")
    words = ("--accept-loss", "--reason", "restored", "--replica", addresses, "--yes", "--json")
    done = pair.command("promote", f"{NAME}/1", *words)
    assert done.returncode == 0, done.stderr
    verdict: str = json.loads(done.stdout)["verdict"]
    return verdict
