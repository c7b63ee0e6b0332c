"""The verbs that add and take away: what they refuse, what they plan, what their modules do."""

import importlib
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ops.playbooks import PLAYBOOKS, plugin, tree
from tests.unit.ops.test_playbooks_modules import NS, Played, run

f = plugin("filter_plugins/verbs.py")
UNIT = "broker-trio-broker@%s.service"
NAMESERVER = "broker-trio-nameserver.service"


def host(address: str, *units: str, release: str = "1-a", **variables: Any) -> dict[str, Any]:
    """A host as preflight read it; brokers that run were told of 10.0.0.1 only."""
    facts: dict[str, Any] = {"units": dict.fromkeys(units, "active")}
    facts["release"] = release if units else ""
    instances = [unit[unit.index("@") + 1 : -len(".service")] for unit in units if "@" in unit]
    facts |= {"told": {each: ["10.0.0.1:9876"] for each in instances}, "late": [], "emptied": []}
    return {"ansible_host": address, "host_now": {"facts": facts}, **variables}


def cluster(*more: tuple[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A nameserver and a pair that run, and whatever else."""
    member = {"broker_name": "broker-a"}
    return {
        "ns1": host("10.0.0.1", NAMESERVER),
        "a0": host("10.0.0.2", UNIT % "broker-a-1", broker_id=0, **member),
        "a1": host("10.0.0.3", UNIT % "broker-a-2", broker_id=1, **member),
        **dict(more),
    }


def scale(
    hostvars: dict[str, Any], nameservers: list[str], *, run: list[str] | None = None
) -> tuple[list[str], str]:
    """What speaks against it, and the plan."""
    brokers = [name for name in hostvars if name not in nameservers]
    everybody = nameservers + brokers
    new = f.added(hostvars, nameservers, brokers)
    problems = f.scale_problems(hostvars, everybody, run or everybody, new, True, "1-a")
    return problems, f.scale_plan(hostvars, everybody, new)


def test_a_pair_is_added_without_restarting_anybody() -> None:
    """The plan is one line; who is new is whoever has no unit on its host."""
    b0 = host("10.0.0.4", broker_name="broker-b", broker_id=0)
    b1 = host("10.0.0.5", broker_name="broker-b", broker_id=1)
    problems, plan = scale(cluster(("b0", b0), ("b1", b1)), ["ns1"])
    assert problems == []
    assert plan == "plan: add broker broker-b; nobody is restarted"


def test_a_nameserver_is_told_to_everybody() -> None:
    """Those that run are restarted one by one, and the plan says so before."""
    problems, plan = scale(cluster(("ns2", host("10.0.0.9"))), ["ns1", "ns2"])
    assert problems == []
    assert "add nameserver ns2; 3 hosts restarted one at a time" in plan


def test_a_nameserver_whose_adding_was_cut_short_is_still_new() -> None:
    """It runs; brokers were not told of it, or were told by a file that they did not begin with."""
    hosts = cluster(("ns2", host("10.0.0.9", NAMESERVER)))
    names = (["ns1", "ns2"], ["a0", "a1"])
    assert f.added(hosts, *names)["nameservers"] == ["ns2"]
    for member in ("a0", "a1"):
        facts = hosts[member]["host_now"]["facts"]
        facts["told"] = {each: ["10.0.0.1:9876", "10.0.0.9:9876"] for each in facts["told"]}
    assert f.added(hosts, *names)["nameservers"] == []
    hosts["a1"]["host_now"]["facts"]["late"] = ["broker-a-2"]
    row = {"missing": ["no broker-a-1 at 10.0.0.3:10911"]}
    hosts["ns1"]["scale_seen"] = {"seen": {"10.0.0.9:9876": row}}
    assert f.added(hosts, *names)["nameservers"] == ["ns2"]
    row["missing"] = []  # late by another change of its file
    assert f.added(hosts, *names)["nameservers"] == []


def test_site_names_scale_out_for_a_nameserver_that_brokers_do_not_know() -> None:
    """Not on bare hosts, nor where everybody knows everybody."""
    groups = {"nameservers": ["ns1", "ns2"], "brokers": ["a0", "a1"]}
    hosts = cluster(("ns2", host("10.0.0.9")))
    assert f.strange_nameservers(hosts, groups) == [
        "ns2 is a nameserver that the running broker-a-1 does not know: scale_out.yml adds it"
    ]
    assert f.strange_nameservers(hosts, {**groups, "nameservers": ["ns1"]}) == []
    for name in ("a0", "a1"):
        hosts[name]["host_now"]["facts"]["units"] = {}
    assert f.strange_nameservers(hosts, groups) == []
    (first,) = [each for each in tree(PLAYBOOKS / "site.yml") if each["name"] == "Preflight"]
    assert "bt_strange_nameservers" in first["vars"]["preflight_more"]


def test_two_nameservers_at_once_are_refused() -> None:
    """Of one and two more, the two would be a majority that knows no pair."""
    more = (("ns2", host("10.0.0.9")), ("ns3", host("10.0.0.8")))
    (problem,), _ = scale(cluster(*more), ["ns1", "ns2", "ns3"])
    assert problem.startswith("2 nameservers at once (ns2, ns3): add them one by one")


def test_nothing_to_add_a_limit_and_another_release_are_named() -> None:
    """Each in the operator's words, with what to run instead."""
    (problem,), _ = scale(cluster(), ["ns1"])
    assert problem.startswith("the inventory has nothing that does not run already")
    bare = {"ns1": host("10.0.0.1"), "a": host("10.0.0.2", broker_name="a", broker_id=0)}
    (problem,), _ = scale(bare, ["ns1"])
    assert problem == "nothing runs yet: site.yml deploys a new cluster"
    more = cluster(("ns2", host("10.0.0.9")))
    more["a0"]["host_now"]["facts"]["release"] = "0-z"
    problems, _ = scale(more, ["ns1", "ns2"], run=["ns2"])
    assert problems == [
        "--limit leaves out a0, a1, ns1: everybody must hear of who is new",
        "the bundle is 1-a and 0-z and 1-a runs: upgrade.yml first, or -e runtime_release=0-z",
    ]


def test_topics_that_a_new_pair_lacks_are_named() -> None:
    """Those that fewer brokers have than others; clients need no restart."""
    topics = '{"topics": [{"topic": "orders", "brokers": 1}, {"topic": "bills", "brokers": 2}]}'
    said = f.scale_said(topics, {"nameservers": [], "brokers": ["broker-b"]})
    assert said[0] == "clients find the brokers at their next look, 30 s at most"
    assert said[1].startswith("not on every broker: orders; broker-trio topic create NAME")
    assert "clients go on" in f.scale_said("", {"nameservers": ["ns2"], "brokers": []})[0]


def test_a_restart_says_its_order() -> None:
    """Nameservers, slaves, masters; those of the run only."""
    groups = {
        "nameservers": ["ns1"],
        "brokers_restart_slave": ["a1"],
        "brokers_restart_master": ["a0"],
    }
    plan = f.restart_plan(groups, ["a0", "a1", "ns1"])
    assert plan == "plan: restart ns1, a1, a0, one at a time; a master hands over before"
    assert f.restart_plan(groups, ["a1"]).startswith("plan: restart a1, one at a time")
    tagged = f.restart_plan(groups, ["ns1", "a1"], ["restart_brokers"])
    assert tagged.startswith("plan: restart a1, one at a time")


def test_health_takes_no_silence_for_an_answer() -> None:
    """Reasons of all that were asked; a host that was not reached, and a module that fell over."""
    fine = {"missing": [], "role": "master"}
    assert f.unwell([{"skipped": True}, {"results": [fine]}]) == []
    assert f.unwell([{"results": [fine, {"missing": ["pair broker-a: x"]}]}]) == [
        "pair broker-a: x"
    ]
    assert f.unwell([{"unreachable": True, "msg": "no route"}]) == ["cannot be asked: no route"]
    assert f.unwell([{"failed": True, "msg": "MODULE FAILURE"}]) == [
        "cannot be asked: MODULE FAILURE"
    ]
    for task in tree(PLAYBOOKS / "health.yml")[0]["tasks"][:2]:
        assert task["check_mode"] is False


def test_a_pair_that_was_found_empty_is_not_drained_again() -> None:
    """Its note counts while a member is down; a pair that is not there has nothing, either."""
    hosts = cluster()
    members = f.inventory.all_instances(hosts, ["a0", "a1"])
    assert not f.emptied(hosts, members)
    first, second = (hosts[name]["host_now"]["facts"] for name in ("a0", "a1"))
    second["emptied"] = ["broker-a-2"]
    assert not f.emptied(hosts, members)  # both serve: somebody started them again
    first["units"] = {}
    assert f.emptied(hosts, members)
    second["emptied"] = []
    assert not f.emptied(hosts, members)  # it is down, and may hold anything
    second["units"], first["told"], second["told"] = {}, {}, {}
    assert f.emptied(hosts, members)


def test_a_record_of_the_lost_is_known_by_its_nameservers() -> None:
    """Then a restored store needs an order to own."""
    told = '{"witnesses": {"ns1": {"record": %s}, "ns2": {"record": null}}}'
    assert f.recorded(told % '{"epoch": [1, "e"]}')
    assert not f.recorded(told % "null")
    assert not f.recorded("")


def test_what_brokers_were_told_is_read_from_their_files(tmp_path: Path) -> None:
    """And who began with another file than is there now."""
    module = plugin("library/rmq_host.py")
    config = tmp_path / "broker-a-1.toml"
    config.write_text('broker_name = "broker-a"\nnameservers = ["h:1", "i:2"]\n')
    (tmp_path / "nameserver.toml").write_text('name = "ns1"\n')
    assert module.told(f"{tmp_path}/*.toml") == {"broker-a-1": ["h:1", "i:2"]}
    stamp = tmp_path / "started-broker-a-1"
    stamp.write_text(f"release /opt/x/1\n{module.digest_of(str(config))}  {config}\n")
    late = lambda: module.late(["broker-a-1", "broker-b-1"], f"{tmp_path}/started-%s")  # noqa: E731
    assert late() == []
    config.write_text("other\n")
    assert late() == ["broker-a-1"]


SERVING = {
    "kind": "nameserver", "address": NS[0], "http": "", "broker_name": "", "pair": False,
    "expect": "serving", "members": [], "timeout": 0, "advice": "scale_out.yml ends it",
}  # fmt: skip


def test_a_look_warns_of_what_a_run_would_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody changed anything that could make it true; the run itself ends with the advice."""
    row = f'{{"nameservers": [{{"nameserver": "{NS[0]}", "missing": ["no broker-a-0 at h:1"]}}]}}'
    for check in (True, False):
        played = Played({"cluster nameservers": (0, row, "")}, **SERVING)
        played.check_mode = check
        result = run("rmq_state", played, monkeypatch)
        assert result.get("failed", False) is not check
        assert result["missing"] == [f"{NS[0]} shows no broker-a-0 at h:1"]
        if check:
            assert played.warned == [f"a run would wait for: {NS[0]} shows no broker-a-0 at h:1"]
        else:
            assert result["msg"].endswith("no broker-a-0 at h:1; scale_out.yml ends it")


# -- write permission ----------------------------------------------------------------------------

ROUTE = '{"brokers": [{"name": "broker-b", "perm": "%s"}]}'


class PerNameserver(Played):
    """Answers that differ from nameserver to nameserver: {(nameserver, words): answer}."""

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        words, _, rest = " ".join(command[1:]).partition(" -n ")
        nameserver = rest.split()[0]
        self.asked.append(f"{words} @{nameserver}" if ";" not in nameserver else words)
        return self.answers.get(self.asked[-1], (0, "{}", ""))


def drained(first: str, second: str, **params: Any) -> PerNameserver:
    words = "topic route broker-b"
    answers = {
        f"{words} @{NS[0]}": (0, ROUTE % first, ""),
        f"{words} @{NS[1]}": (0, ROUTE % second, ""),
        "cluster info broker-b": (0, '{"msgPutTotalTodayNow": "5"}', ""),
    }
    wanted = {"broker_name": "broker-b", "state": "drained", "quiet_for": 0, "timeout": 1}
    return PerNameserver(answers, **{**wanted, **params})


def test_only_nameservers_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shows it writable, the other does not any more."""
    played = drained("rwi", "ri")
    result = run("rmq_write_perm", played, monkeypatch)
    assert result["changed"]
    assert result["before"] == {NS[0]: "rw", NS[1]: "r"}
    assert result["diff"]["after"] == {NS[0]: "r", NS[1]: "r"}
    assert played.asked[2:] == [f"cluster drain broker-b @{NS[0]}"]


def test_a_broker_as_wanted_is_unchanged_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drained is also that nobody puts any more; where somebody does, it is said after a while."""
    clock = [0.0]
    library = types.SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda s: clock.append(clock.pop() + s)
    )
    quiet = plugin("library/rmq_write_perm.py").quiet
    monkeypatch.setitem(quiet.__globals__, "time", library)
    puts = iter(["1", "2", "2", "2", "2"])
    still = types.SimpleNamespace(must=lambda *_: {"msgPutTotalTodayNow": next(puts)})
    assert quiet(still, "broker-b", 3, 90) == 4
    busy = types.SimpleNamespace(must=lambda *_: {"msgPutTotalTodayNow": str(clock[0])})
    assert quiet(busy, "broker-b", 3, 5) is None
    result = run("rmq_write_perm", drained("ri", "ri"), monkeypatch)
    assert not result["changed"]


def test_check_mode_tells_the_permission_and_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both directions."""
    for state, changed in (("drained", True), ("open", False)):
        played = drained("rw", "rw", state=state)
        played.check_mode = True
        assert run("rmq_write_perm", played, monkeypatch)["changed"] is changed
        assert [words for words in played.asked if "route" not in words] == []


def test_a_nameserver_that_does_not_show_the_broker_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A drain at some of them would let producers write by the others."""
    played = drained("rw", "rw")
    played.answers[f"topic route broker-b @{NS[1]}"] = (4, "", "nobody")
    result = run("rmq_write_perm", played, monkeypatch)
    assert result["failed"]
    assert f"broker-b is not shown by {NS[1]}" in result["msg"]


HELD = {
    "unread": [{"group": "billing", "topic": "orders", "messages": 7}],
    "unowned": [{"group": "", "topic": "audit", "messages": 2}],
    "dead_letters": [{"group": "billing", "topic": "%DLQ%billing", "messages": 1}],
    "delayed": 3,
}


def test_what_speaks_against_it_is_said_line_by_line() -> None:
    """Topics that may be lost are named one by one; a delay cannot be abandoned."""
    reasons = plugin("library/rmq_holdings.py").reasons_of
    assert reasons(HELD, []) == [
        "group billing has 7 unread messages of orders",
        "2 messages of audit, which no group reads",
        "1 dead letters of group billing (%DLQ%billing)",
        "3 messages wait for their delay",
    ]
    assert reasons(HELD, ["audit", "%DLQ%billing", "orders"]) == ["3 messages wait for their delay"]


# -- destroy -------------------------------------------------------------------------------------


def gone(monkeypatch: pytest.MonkeyPatch, *paths: Path | str, check: bool = False) -> Any:
    played = Played({}, paths=[str(path) for path in paths])
    played.check_mode = check
    return run("rmq_gone", played, monkeypatch)


def test_paths_go_and_the_second_run_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check mode tells the same and leaves everything; a link goes without what it points to."""
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "file").write_text("x")
    (tmp_path / "kept").write_text("x")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "kept")
    for check in (True, False):
        result = gone(monkeypatch, tmp_path / "store", tmp_path / "none", check=check)
        assert result["removed"] == [str(tmp_path / "store")]
        assert (tmp_path / "store").exists() is check
    assert not gone(monkeypatch, tmp_path / "store")["changed"]
    assert (tmp_path / "kept").read_text() == "x"


def test_of_a_mounted_folder_the_contents_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is the mount's, and stays."""
    (tmp_path / "volume" / "commitlog").mkdir(parents=True)
    ismount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda p: str(p).endswith("/volume") or ismount(p))
    both = gone(monkeypatch, tmp_path / "volume/commitlog", tmp_path / "volume")  # twice the same
    assert both["removed"] == [str(tmp_path / "volume/commitlog")]
    assert list((tmp_path / "volume").iterdir()) == []
    assert not gone(monkeypatch, tmp_path / "volume")["changed"]


@pytest.mark.parametrize("path", ["/", "/etc", "/var/..", "relative/path"])
def test_the_root_and_what_is_shallow_is_never_removed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an inventory says."""
    assert gone(monkeypatch, path)["failed"]


def test_destroy_wants_the_name_and_begins_with_asking_for_it() -> None:
    """The first task of the first play refuses; nothing that changes comes before it."""
    first = tree(PLAYBOOKS / "destroy.yml")[0]["tasks"][0]
    assert first["ansible.builtin.assert"]["that"] == "destroy_problems | length == 0"
    assert "cluster | default('') == cluster_name" in first["vars"]["destroy_problems"]
    assert "when" not in first


# -- support bundle ------------------------------------------------------------------------------

support = plugin("library/rmq_support.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('admin_secret = "abc"', "admin_secret = [redacted]"),
        ("  password: hunter2  # ours", "  password: [redacted]"),
        ('listen = "10.0.0.1:9876"', 'listen = "10.0.0.1:9876"'),
        ('{"pair_key": "k"}', '{"pair_key": "k"}'),  # of one line JSON: by the secret's own value
        ("log: the value s3cr3t-of-pair is bad", "log: the value [redacted] is bad"),
    ],
)
def test_secrets_are_replaced_by_name_and_by_value(text: str, expected: str) -> None:
    """What is called a secret, and what is one, wherever it stands."""
    assert support.redacted(text, ["s3cr3t-of-pair"]) == expected


def test_credentials_are_read_to_be_hidden(tmp_path: Path) -> None:
    """Their contents; none that is so short that it would hide half of every text."""
    (tmp_path / "a.pair-key").write_text("a long secret of a pair\n")
    (tmp_path / "b").write_text("x")
    assert support.secrets_in(str(tmp_path)) == ["a long secret of a pair"]


READING = {"preflight", "status", "health", "support_bundle"}


class Exited(Exception):
    """What a process would have ended with, and what it said."""


@pytest.fixture
def begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A run of a playbook begins, on one inventory: its callback, which holds what it took."""
    recap, said, all_begun = plugin("callback_plugins/recap_json.py"), list[str](), list[Any]()
    monkeypatch.setattr(recap.tempfile, "gettempdir", lambda: str(tmp_path))

    def ended(code: int) -> None:
        raise Exited(code, said[-1])

    monkeypatch.setattr(recap.os, "_exit", ended)

    def begin(book: str, *, check: bool = False, inventory: str = "mine") -> Any:
        options = types.SimpleNamespace(CLIARGS={"inventory": (inventory,), "check": check})
        monkeypatch.setattr(recap, "context", options)
        begun = recap.CallbackModule()
        all_begun.append(begun)
        begun._display = types.SimpleNamespace(error=said.append)
        begun.v2_playbook_on_start(types.SimpleNamespace(_file_name=f"/x/{book}.yml"))
        return begun

    yield begin
    for each in all_begun:
        if each.lock is not None:
            each.lock.close()


@pytest.mark.parametrize("book", sorted(path.stem for path in PLAYBOOKS.glob("*.yml")))
def test_one_run_at_a_time_changes_a_cluster(book: str, begins: Callable[..., Any]) -> None:
    """Every verb but those that read; a look, and another cluster's run, are free."""
    first = begins("site")
    if book in READING:
        assert begins(book).lock is None
    else:
        with pytest.raises(Exited) as told:
            begins(book)
        text = f"another run changes this cluster: process {os.getpid()}, site.yml"
        assert told.value.args == (3, f"{text}; wait for its end")
    assert begins(book, check=True).lock is None
    other = begins(book, inventory="yours")
    first.lock.close()
    second = begins(book)
    for each in (other, second):
        assert (each.lock is None) == (book in READING)


def test_nobody_to_look_at_is_no_success(tmp_path: Path) -> None:
    """A lab that is not up, a wrong file: Ansible would skip everything and end with 0."""
    empty = tmp_path / "hosts.yml"
    empty.write_text("all: {children: {nameservers: {}, brokers: {}}}\n")
    words = ["-i", str(empty), f"{PLAYBOOKS}/health.yml"]
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), *words],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "ANSIBLE_CONFIG": f"{PLAYBOOKS}/ansible.cfg", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no host in this inventory" in done.stderr


def test_workers_do_not_keep_the_lock(begins: Callable[..., Any]) -> None:
    """A run that was killed outright leaves some behind, and they may hang for ever."""
    first, (heard, begun) = begins("upgrade"), os.pipe()
    worker = os.fork()
    if not worker:
        os.write(begun, b".")
        signal.pause()
    try:
        assert os.read(heard, 1) == b"."
        first.lock.close()
        assert begins("site").lock is not None
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        os.close(heard)
        os.close(begun)


def test_modules_here_are_loaded_by_their_own_names() -> None:
    """The shared part of saved stores is a module of Ansible's, as on a host."""
    sys.modules.setdefault("ansible.module_utils.rmq_saved", plugin("module_utils/rmq_saved.py"))
    assert importlib.import_module("ansible.module_utils.rmq_saved").FORMAT == 1


@pytest.mark.parametrize(
    "verb",
    ["scale_out", "decommission", "backup", "restore", "destroy", "restart", "status", "health"],
)
def test_every_play_of_a_verb_has_a_tag(verb: str) -> None:
    """So that a part of it can be run; what asks and refuses always runs."""
    plays = [play for play in tree(PLAYBOOKS / f"{verb}.yml") if "hosts" in play]
    assert [play["name"] for play in plays if not play.get("tags")] == []
    own = {tag for play in plays for tag in play["tags"]} - {"always"}
    assert own
    assert all(tag.startswith((verb, "nameserver_", "broker_", "scale_")) for tag in own)


# -- pages ---------------------------------------------------------------------------------------

PAGES = PLAYBOOKS.parent / "docs/operating/verbs"
PARTS = {"nameservers", "brokers", "monitoring", "hosts"}  # of site.yml


def test_every_verb_has_a_page() -> None:
    """What it does, the command, what it prints, what can go wrong."""
    verbs = {path.stem for path in PLAYBOOKS.glob("*.yml")} - PARTS
    assert {path.stem for path in PAGES.glob("*.md")} == verbs
    for path in PAGES.glob("*.md"):
        text = path.read_text()
        assert text.startswith(f"# {path.stem}: "), path.name
        assert f"playbooks/{path.stem}.yml" in text, path.name
        missing = [h for h in ("## What it prints", "## What can go wrong") if h not in text]
        assert missing == [], path.name
        assert "@" not in text, path.name


def options_of(verb: str) -> set[str]:
    """What -e may say, by its file of defaults."""
    return set(tree(PLAYBOOKS / f"vars/{verb}.yml"))


@pytest.mark.parametrize("verb", ["decommission", "backup", "support_bundle", "destroy"])
def test_options_of_a_page_exist(verb: str) -> None:
    """Each row of its table of options is a default of the verb, or what it asks for."""
    text = (PAGES / f"{verb}.md").read_text()
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {row for row in rows if row.startswith((f"{verb}_", "support_"))}
    assert len(named) >= 2
    assert named <= options_of(verb)
