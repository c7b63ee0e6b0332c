"""One small cluster for the tests of verbs that add, save and take away: a pair and a nameserver.

    small    deployed, with messages in it        every file leaves it whole
    grown    ns2 and the pair broker-b added to it under load, once
    saved    a backup of broker-a, once

Files may run alone or together: what they need of each other they make when it is missing. The lab
is tied to this process, so that it goes with it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import Counts, make_plan
from tests.fleet.plays import TOPIC, Fleet, Ledger, Play

GROUP = "billing"
SENT = [f"message {number}" for number in range(200)]
CLUSTER = "lab"
made: dict[str, Any] = {}


class Small(Fleet):
    """A fleet whose inventory may leave hosts of the lab out."""

    left_out: frozenset[str] = frozenset()

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
    def nameservers(self) -> str:
        hosts = [h for h in self.lab.plan.hosts if h.group == "nameservers"]
        return ";".join(f"{h.address}:9876" for h in hosts if h.name not in self.left_out)

    def read(self, group: str, count: int) -> list[str]:
        """What a new group reads, from the first message on."""
        words = ("consume", TOPIC, "--group", group, "--from-first", "--count", str(count))
        return self.program(*words).splitlines()

    def holdings(self, broker: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.program("cluster", "holdings", broker, "--json"))
        return told

    def has(self, host: str, path: str) -> bool:
        return not self.lab.execute(host, "test", "-e", path, check=False).returncode


def once(name: str, make: Callable[[], Any]) -> Any:
    """Made by whichever file asks first."""
    if name not in made:
        made[name] = make()
    return made[name]


@dataclass
class Growth:
    """What adding a nameserver and a pair said, and what a producer noticed of it."""

    look: Play
    play: Play
    starts: tuple[str, str]
    ledger: Ledger


@pytest.fixture
def small(lab_can_run: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Deployed, with messages of which the group has read none."""

    def deploy() -> Small:
        name = "verbs"
        lab = Lab(f"{name}-{tmp_path_factory.getbasetemp().name}"[:30].rstrip("-"))
        lab.up(make_plan(lab.name, Counts(pairs=1, nameservers=1)), tied=True)
        fleet = Small(lab, bundle, tmp_path_factory.mktemp(name))
        fleet.play("site")
        fleet.program("produce", TOPIC, text="".join(each + "\n" for each in SENT))
        return fleet

    fleet: Small = once("small", deploy)
    return fleet


@pytest.fixture
def grown(small: Small) -> Growth:
    """ns2 and broker-b, added while a producer sends."""

    def grow() -> Growth:
        small.lab.add("ns2", "nameservers")
        small.lab.add("broker-b0", "brokers")
        small.lab.add("broker-b1", "brokers")
        look = small.play("scale_out", "--check", "--diff")
        small.left_out = frozenset({"ns2"})  # the producer was told of ns1 only
        with small.load("scale-out") as ledger:
            small.left_out = frozenset()
            before = started(small)
            play = small.play("scale_out")
        return Growth(look, play, (before, started(small)), ledger)

    growth: Growth = once("grown", grow)
    return growth


def started(fleet: Small) -> str:
    """When broker-a's processes began."""
    words = ("systemctl", "show", "-p", "ActiveEnterTimestampMonotonic")
    return "".join(
        fleet.lab.execute(host, *words, f"broker-trio-broker@broker-a-{number}").stdout
        for host, number in (("broker-a0", 1), ("broker-a1", 2))
    )


@pytest.fixture
def saved(small: Small) -> tuple[Play, Path]:
    """A backup of broker-a on the controller: what the run said, and its folder."""

    def save() -> tuple[Play, Path]:
        place = small.folder / "backups"
        play = small.play("backup", pair="broker-a", backup_to=str(place))
        (folder,) = place.iterdir()
        return play, folder

    found: tuple[Play, Path] = once("saved", save)
    return found
