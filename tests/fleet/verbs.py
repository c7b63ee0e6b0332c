"""One small cluster for the tests of verbs that add, save and take away: a pair and a nameserver.

    small    deployed, with messages in it        every file leaves it whole
    grown    ns2 and the pair broker-b added to it under load, once
    saved    a backup of broker-a, once

    look ──▶ traces before = traces after        a look changes nothing, on no host, in no record
    look ──▶ run: the same changes of the same hosts, the plan said before the first

Files may run alone or together: what they need of each other they make when it is missing. The lab
is tied to this process, so that it goes with it.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.ops.lab.plan import Counts, make_plan
from tests.fleet.plays import ROOT, TOPIC, Fleet, Ledger, Play

GROUP = "billing"
READER = "bookkeeping"  # read a part of the kept messages
KEPT = "bills"  # a topic of its own for what must still be there at the end
SENT = [f"message {number}" for number in range(200)]
CLUSTER = "lab"
PLAN = re.compile(r"""^ *"?msg"?: (?:>-)?\s*['"]?plan: """, re.MULTILINE)
CHANGED = re.compile(r"^changed: \[", re.MULTILINE)
made: dict[str, Any] = {}

# What a verb may leave on a host. Of what programs write by themselves the names only, without
# contents and times; none of what is there for the moment of a rename.
TRACES = r"""
for path in /opt/broker-trio /etc/broker-trio /etc/systemd/system /etc/sysctl.d /var/backups; do
  [ -e $path ] && find $path -xdev -maxdepth 3 -printf '%p %y %m %u %l\n'
done | grep -v -e __pycache__ -e /lib
etc="/etc/broker-trio /etc/systemd/system /etc/sysctl.d /run/broker-trio"
find $etc -type f -exec sha256sum {} +
find /var/lib/broker-trio -xdev -maxdepth 3 -printf '%p %y %u\n' | grep -v -E '[.](tmp|part|bak) '
find /var/tmp -maxdepth 1 -name 'broker-trio*'
systemctl show -p Id,ActiveState,UnitFileState,MainPID 'broker-trio-*'
getent passwd broker-trio; getent group broker-trio
nft list tables
"""


class Small(Fleet):
    """A fleet whose inventory may leave hosts of the lab out."""

    left_out: frozenset[str] = frozenset()
    told: frozenset[str] | None = None  # the nameservers that clients are told of, other than all
    members = ("broker-a0", "broker-a1")  # of broker-a, today

    def inventory(self) -> Path:
        place = super().inventory()
        file = place / "hosts.yml"
        tree = yaml.safe_load(file.read_text())
        for group in tree["all"]["children"].values():
            for name in self.left_out & set(group.get("hosts") or {}):
                del group["hosts"][name]
        file.write_text("---\n" + yaml.safe_dump(tree))
        return place

    @property
    def hosts(self) -> list[str]:
        """Nameservers and brokers of the inventory."""
        groups = ("nameservers", "brokers")
        listed = [h.name for h in self.lab.plan.hosts if h.group in groups]
        return [name for name in listed if name not in self.left_out]

    def address(self, host: str) -> str:
        return self.lab.plan.host(host).address

    @property
    def nameservers(self) -> str:
        hosts = [h for h in self.lab.plan.hosts if h.group == "nameservers"]
        known = [h for h in hosts if h.name not in self.left_out]
        if self.told is not None:
            known = [h for h in hosts if h.name in self.told]
        return ";".join(f"{h.address}:9876" for h in known)

    def read(self, group: str, count: int) -> list[str]:
        """What a new group reads of the kept messages, from the first one on."""
        words = ("consume", KEPT, "--group", group, "--from-first", "--count", str(count))
        return self.program(*words).splitlines()

    def holdings(self, broker: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.program("cluster", "holdings", broker, "--json"))
        return told

    def has(self, host: str, path: str) -> bool:
        return not self.lab.execute(host, "test", "-e", path, check=False).returncode

    def slave(self) -> str:
        """The host of broker-a's other copy."""
        (other,) = set(self.members) - {self.master()}
        return other

    # -- what a look promises ----------------------------------------------------------------------

    def traces(self) -> dict[str, list[str]]:
        """What a verb could change: of each host, and of the cluster as it shows itself."""
        found = {
            host: sorted(self.lab.execute(host, "sh", "-c", TRACES, check=False).stdout.split("\n"))
            for host in self.hosts
        }
        told = self.program("cluster", "list", "--json", code=None)
        rows = json.loads(told or "{}").get("brokers", [])
        found["brokers"] = sorted(f"{row['broker']} {row['address']} {row['role']}" for row in rows)
        for name in sorted({row["broker"] for row in rows}):
            kept = json.loads(self.program("pair", "status", name, "--json", code=None) or "{}")
            replicas = kept.get("replicas", {}).values()
            found[name] = sorted(str(each["kept"]["settled"]["epoch"]) for each in replicas)
            route = json.loads(self.program("topic", "route", name, "--json", code=None) or "{}")
            found[name] += [str(row["perm"]) for row in route.get("brokers", [])]  # drained or not
        listed = self.program("topic", "list", "--long", "--json", code=None)
        rows = json.loads(listed or "{}").get("topics", [])
        found["topics"] = sorted(f"{row['topic']} {row['brokers']}" for row in rows)
        return found

    def look(self, book: str, *words: str, **extra: object) -> Play:
        """`--check --diff` of a verb: nothing is anywhere that was not there before."""
        before = self.traces()
        look = self.play(book, "--check", "--diff", *words, **extra)
        after = self.traces()
        for what, lines in before.items():
            assert sorted(set(lines) ^ set(after[what])) == [], what
        assert look.recap["check"] is True
        return look

    def rehearsed(self, book: str, *words: str, **extra: object) -> tuple[Play, Play]:
        """A look, and the run that does what the look said."""
        look = self.look(book, *words, **extra)
        play = self.play(book, *words, **extra)
        agree(look, play)
        return look, play

    @contextmanager
    def beside(self, book: str, seen: str, *words: str, **extra: object) -> Iterator[Path]:
        """While a playbook runs that has said `seen`; killed at the end, wherever it is."""
        command, environment = self.command(book, *words, **extra)
        log = Path(environment["BROKER_TRIO_RECAP"]).with_suffix(".log")
        with log.open("wb") as out:
            run = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            said = lambda: seen in log.read_text(errors="replace") or run.poll() is not None  # noqa: E731
            wait_until(said, f"{book} to say {seen!r}", 600)
            assert run.poll() is None, log.read_text()[-4000:]
            yield log
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def agree(look: Play, play: Play) -> None:
    """What the look said would change is what the run changed; the plan was said before."""
    only = {
        "said, not done": sorted(look.changed_tasks - play.changed_tasks),
        "done, not said": sorted(play.changed_tasks - look.changed_tasks),
    }
    assert only == {"said, not done": [], "done, not said": []}
    for each in (look, play):
        plan, change = PLAN.search(each.output), CHANGED.search(each.output)
        assert plan is not None, each.output[-3000:]
        assert change is None or plan.start() < change.start()


def unharmed(report: dict[str, Any]) -> None:
    """No send failed, nothing is lost or doubled.

    Sends without an answer in time, of which a busy machine has some, are judged by what is there.
    """
    told = {key: report[key] for key in ("failed", "unknown", "reasons", "causes")}
    assert report["verdict"] == "pass", told
    assert report["failed"] == 0, told
    assert report["lost"]["count"] == report["duplicated"]["count"] == 0, told


def once(name: str, make: Callable[[], Any]) -> Any:
    """Made by whichever file asks first."""
    if name not in made:
        made[name] = make()
    return made[name]


@dataclass
class Growth:
    """What adding a nameserver and a pair said, and what a producer noticed of it."""

    refused: Play  # site.yml, with the new nameserver in the inventory
    look: Play
    play: Play
    starts: tuple[str, str]
    ledger: Ledger


@dataclass
class Saved:
    """A backup on the controller, what its run said, and what had been acknowledged before it."""

    look: Play
    play: Play
    folder: Path
    ledger: Ledger
    places: dict[str, int]  # the group's place in each queue of the kept messages


@pytest.fixture
def small(lab_can_run: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Deployed, with messages of which nobody has read any."""

    def deploy() -> Small:
        name = "verbs"
        lab = Lab(f"{name}-{tmp_path_factory.getbasetemp().name}"[:30].rstrip("-"))
        lab.up(make_plan(lab.name, Counts(pairs=1, nameservers=1)), tied=True)
        fleet = Small(lab, bundle, tmp_path_factory.mktemp(name))
        fleet.variables = {"topics": [{"name": each, "queues": 4} for each in (TOPIC, KEPT)]}
        fleet.play("site")
        fleet.program("produce", KEPT, text="".join(each + "\n" for each in SENT))
        return fleet

    fleet: Small = once("small", deploy)
    return fleet


@pytest.fixture
def grown(small: Small) -> Growth:
    """ns2 and broker-b, added while a producer sends that was told of ns1 only."""

    def grow() -> Growth:
        small.lab.add("ns2", "nameservers")
        small.lab.add("broker-b0", "brokers")
        small.lab.add("broker-b1", "brokers")
        refused = small.play("site", good=False)
        small.told = frozenset({"ns1"})
        look = small.look("scale_out")
        with small.load("scale-out") as ledger:
            before = started(small)
            play = small.play("scale_out")
            wait_until(lambda: stored(small, "broker-b"), "the producer to find broker-b", 180)
        small.told = None
        return Growth(refused, look, play, (before, started(small)), ledger)

    growth: Growth = once("grown", grow)
    return growth


def stored(fleet: Small, broker: str) -> bool:
    """Whether messages of the load are at this broker."""
    rows = json.loads(fleet.program("topic", "describe", TOPIC, "--json"))["queues"]
    return any(row["broker"] == broker and row["messages"] for row in rows)


def started(fleet: Small) -> str:
    """When broker-a's processes began."""
    words = ("systemctl", "show", "-p", "ActiveEnterTimestampMonotonic")
    return "".join(
        fleet.lab.execute(host, *words, f"broker-trio-broker@broker-a-{number}").stdout
        for number, host in enumerate(fleet.members, 1)
    )


def places_now(fleet: Small) -> dict[str, int]:
    """Where the reader is in each queue, as the master says."""
    told = fleet.program("offset", "show", READER, "--topic", KEPT, "--json")
    rows = json.loads(told)["queues"]
    return {str(row["queue"]): row["consumer_offset"] for row in rows if row["consumer_offset"] > 0}


def places_on_disk(fleet: Small) -> dict[str, int]:
    """The same in the slave's file, which it writes every five seconds."""
    host = fleet.slave()
    number = fleet.members.index(host) + 1
    file = f"/var/lib/broker-trio/broker-a-{number}/config/consumerOffset.json"
    text = fleet.lab.execute(host, "cat", file, check=False).stdout
    table = re.search(
        rf'"{KEPT}@{READER}":\{{([^}}]*)\}}', text
    )  # numbers are Apache's keys: no JSON
    return {key: int(place) for key, place in re.findall(r"(\d+):(\d+)", table[1] if table else "")}


@pytest.fixture
def saved(small: Small) -> Saved:
    """A backup of broker-a under load: what was acknowledged before it, and how far a group was."""

    def save() -> Saved:
        place = small.folder / "backups"
        with small.load("kept") as ledger:
            pass
        small.program("consume", KEPT, "--group", READER, "--from-first", "--count", "90")
        places = places_now(small)
        assert sum(places.values()) == 90, places
        wait_until(lambda: places_on_disk(small) == places, "places on the slave's disk", 120)
        with small.load("beside-backup"):
            look = small.look("backup", pair="broker-a", backup_to=str(place))
            assert not place.exists()
            play = small.play("backup", pair="broker-a", backup_to=str(place))
        (folder,) = place.iterdir()
        return Saved(look, play, folder, ledger, places)

    found: Saved = once("saved", save)
    return found
