"""What the inventory's mistakes are called, and what is computed from an inventory without any."""

import tomllib
from typing import Any

import pytest

from tests.unit.ops.playbooks import plugin

f = plugin("filter_plugins/broker_trio.py")
KEY = "sixteen characters or more"
SETTINGS: dict[str, Any] = {
    "broker": {"store": {"retention_hours": {}, "flush_disk_type": {}}, "log_json": {}},
    "nameserver": {"routes": {"scan_interval_s": {}}},
}


def cluster(**hosts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Host variables and groups of two nameservers and these brokers."""
    common = {"allow_insecure_listen": True, "broker_pair_key": KEY}
    found: dict[str, Any] = {
        "ns1": {"ansible_host": "10.0.0.1", **common},
        "ns2": {"ansible_host": "10.0.0.2", **common},
    }
    for number, (name, values) in enumerate(hosts.items(), 3):
        found[name] = {"ansible_host": f"10.0.0.{number}", **common, **values}
    return found, {"nameservers": ["ns1", "ns2"], "brokers": list(hosts)}


def pair_of(first: int, second: int) -> tuple[dict[str, Any], dict[str, list[str]]]:
    return cluster(
        a0={"broker_name": "broker-a", "broker_id": first},
        a1={"broker_name": "broker-a", "broker_id": second},
    )


def problems(found: tuple[dict[str, Any], dict[str, list[str]]]) -> list[str]:
    hostvars, groups = found
    known = ["broker_mode", "broker_pair_key", "broker_settings", "nameserver_settings"]
    said: list[str] = f.cluster_problems(hostvars, groups, known, SETTINGS)
    return said


def test_a_good_inventory_has_no_problems() -> None:
    """A pair, and a broker alone, are both right."""
    assert problems(pair_of(0, 1)) == []
    assert problems(cluster(a={"broker_name": "broker-a", "broker_id": 0})) == []


def test_two_masters_are_found() -> None:
    """A pair has exactly one first master; the text says who claims it."""
    assert problems(pair_of(0, 0)) == [
        "broker broker-a wants exactly one broker_id 0, has 2 (0 on a0, 0 on a1)"
    ]


def test_one_mistake_does_not_hide_another() -> None:
    """Two masters are a pair, too: their keys are looked at."""
    hostvars, groups = pair_of(0, 0)
    hostvars["a1"]["broker_pair_key"] = "short"
    assert len(problems((hostvars, groups))) == 2


def test_every_mistake_is_said_at_once() -> None:
    """One run of preflight tells all of them, in the operator's words."""
    hostvars, groups = pair_of(0, 1)
    hostvars["a1"].update(
        ansible_host="10.0.0.3", broker_pair_key="short", broker_mod="sync", allow_insecure_listen=0
    )
    del hostvars["ns2"]["ansible_host"]
    assert problems((hostvars, groups)) == [
        "no address of ns2: set ansible_host or cluster_address",
        "address 10.0.0.3:10911 is there twice",
        "accounts and TLS do not exist yet: set allow_insecure_listen: true to serve without them",
        "no broker_pair_key of at least 16 characters for pair broker-a on a1 "
        "(keep it in the vault)",
        "a1: unknown variable broker_mod, is it broker_mode?",
    ]


def test_keys_that_no_program_reads_are_found_before_anything_changes() -> None:
    """Of both programs, at any depth, with the nearest that there is."""
    hostvars, groups = pair_of(0, 1)
    hostvars["a1"]["broker_settings"] = {
        "store": {"retention_hour": 3, "flush_disk_type": "SYNC_FLUSH"}, "log_json": {"a": 1},
    }  # fmt: skip
    hostvars["ns2"]["nameserver_settings"] = {"routes": 3, "scan_interval_s": 5.0}
    hostvars["ns1"]["nameserver_settings"] = ["routes"]
    assert problems((hostvars, groups)) == [
        "a1: unknown key log_json.a in broker_settings",
        "a1: unknown key store.retention_hour in broker_settings, is it store.retention_hours?",
        "ns1: nameserver_settings is no dictionary of sections",
        "ns2: routes in nameserver_settings is a section: scan_interval_s",
        "ns2: unknown key scan_interval_s in nameserver_settings",
    ]


def test_a_host_that_cannot_be_read_is_one_mistake_among_the_others() -> None:
    """Its answer is in the line, with what must be there; what can be read is judged."""
    read = {"failed": True, "msg": "The module interpreter '/usr/bin/python3' was not found."}
    (found,) = f.problems_read(read, MINE, ["brokers"], {}, SEEN_AT)
    assert found.startswith("cannot be read: The module interpreter '/usr/bin/python3' was not f")
    assert found.endswith("python3 3.11 or newer")
    assert f.problems_read({"unreachable": True}, MINE, ["brokers"], {}, SEEN_AT) != []
    assert f.problems_read({"facts": FACTS}, MINE, ["brokers"], {}, SEEN_AT) == []


FACTS = {
    "python": "3.11",
    "systemd": 252,
    "asked_at": 1000.0,
    "clock": 1004.0,
    "taken": {},
    "has_address": True,
    "has_nft": True,
    "volumes": {"/var/lib/broker-trio/broker-a-1": {"is_root": False, "free": 50, "total": 100}},
}
SEEN_AT = 1008.0  # when the controller has the answer
MINE = {"ansible_host": "10.0.0.3", "broker_name": "broker-a", "broker_id": 0}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"python": "3.9"}, "python3 is 3.9, wanted is 3.11 or newer"),
        ({"python": "3.12"}, "python3 is 3.12, the bundle is for 3.11"),
        ({"systemd": 241}, "systemd is 241, wanted is 247 or newer"),
        ({"clock": 910.0}, "the clock is -90.0 s from the controller's"),
        ({"clock": 999.0}, "the clock is -1.0 s from the controller's"),
        ({"clock": 1090.0}, "the clock is +82.0 s from the controller's"),
        ({"clock": 999.6}, None),
        ({"clock": 1008.4}, None),
        ({"taken": {"10911": "java.service"}}, "port 10911 is taken by java.service"),
        ({"has_address": False}, "10.0.0.3 is no address of this host"),
        ({"has_nft": False}, "nft is missing: install nftables, or set base_firewall: false"),
    ],
)
def test_what_a_host_shows_is_named(changed: dict[str, Any], expected: str | None) -> None:
    """Each mistake is one line with the value, the limit and what to do."""
    found = f.host_problems({**FACTS, **changed}, MINE, ["brokers"], {"python": "3.11"}, SEEN_AT)
    assert len(found) == (expected is not None)
    assert expected is None or found[0].startswith(expected)


def test_a_store_does_not_fill_the_root_disk_unasked() -> None:
    """A data folder on the root's file system is refused unless the inventory says so by name."""
    volume = {"is_root": True, "free": 50, "total": 100}
    facts = {**FACTS, "volumes": {"/var/lib/broker-trio/broker-a-1": volume}}
    (found,) = f.host_problems(facts, MINE, ["brokers"], {}, SEEN_AT)
    assert "would fill the root disk: mount a volume there, or set broker_on_root_disk" in found
    told = {**MINE, "broker_on_root_disk": True}
    assert f.host_problems(facts, told, ["brokers"], {}, SEEN_AT) == []


def test_instances_of_a_host_take_ports_ten_apart() -> None:
    """Several processes on a host have their own names, folders, units and ports."""
    two = {
        "ansible_host": "10.0.0.3",
        "broker_instances": [
            {"broker_name": "broker-a", "broker_id": 0},
            {"broker_name": "broker-b", "broker_id": 1, "broker_data": "/srv/b"},
        ],
    }
    first, second = f.instances_of(two)
    assert (first["instance"], first["address"], first["data"]) == (
        "broker-a-1", "10.0.0.3:10911", "/var/lib/broker-trio/broker-a-1",
    )  # fmt: skip
    assert (second["replica"], second["http"], second["data"]) == (
        "broker-b/2", "10.0.0.3:10923", "/srv/b",
    )  # fmt: skip
    assert f.ports_of(two, ["brokers"]) == [10909, 10911, 10912, 10913, 10919, 10921, 10922, 10923]


def test_brokers_per_host_are_pairs_on_two_hosts_with_disks_of_their_own() -> None:
    """A number instead of a list: names, ports and stores follow, the same on both hosts."""
    common = {"broker_name": "broker-a", "brokers_per_host": 2, "broker_disks": ["/d1/", "/d2"]}
    first, second = f.instances_of({"ansible_host": "h", "broker_id": 0, **common})
    assert (first["replica"], first["port"], first["data"]) == (
        "broker-a/1", 10911, "/d1/broker-a-1",
    )  # fmt: skip
    assert (second["replica"], second["port"], second["data"]) == (
        "broker-a-2/1", 10921, "/d2/broker-a-2-1",
    )  # fmt: skip
    found = cluster(a0={"broker_id": 0, **common}, a1={"broker_id": 1, **common})
    hostvars, groups = found
    said = f.cluster_problems(
        hostvars, groups, ["broker_pair_key", "brokers_per_host", "broker_disks"], {}
    )
    assert said == []
    assert f.peer_of(hostvars, groups["brokers"], "broker-a-2", 0)["address"] == "10.0.0.4:10921"


def test_two_brokers_do_not_share_a_store() -> None:
    """One `broker_data` for a host with several brokers is a mistake, found before a start."""
    shared = {"broker_name": "broker-a", "broker_id": 0, "brokers_per_host": 2, "broker_data": "/d"}
    hostvars, groups = cluster(a0=shared)
    known = ["broker_pair_key", "broker_data", "brokers_per_host"]
    assert f.cluster_problems(hostvars, groups, known, {}) == [
        "a0: broker-a-1, broker-a-2-1 all have the store /d: "
        "broker_disks, or broker_data of each instance"
    ]


def test_a_cluster_is_new_only_where_all_hosts_were_seen_and_nobody_has_anything() -> None:
    """Records are adopted as empty on the very first day only."""
    bare = {"host_now": {"facts": {"witness": False, "stores": []}}}
    assert f.is_new({"a": bare, "b": bare}, ["a", "b"])
    assert not f.is_new({"a": bare, "b": {}}, ["a", "b"])
    kept = {"host_now": {"facts": {"witness": False, "stores": ["/var/lib/broker-trio/x"]}}}
    assert not f.is_new({"a": bare, "b": kept}, ["a", "b"])


def test_the_plan_is_one_line() -> None:
    """Who is deployed, who is changed, who is compared."""

    def host(release: str, *units: str) -> dict[str, Any]:
        units_now = dict.fromkeys(units, "active")
        return {"host_now": {"facts": {"units": units_now, "release": release}}}

    hostvars = {"a": host(""), "b": host("0.1.0-x", "u"), "c": host("0.2.0-y", "u")}
    assert f.plan_line(hostvars, ["a", "b", "c"], "0.2.0-y") == (
        "plan: 1 deployed with 0.2.0-y (a); 1 changed to 0.2.0-y, one at a time (b); "
        "1 on 0.2.0-y already, compared"
    )


def test_settings_become_toml() -> None:
    """Scalars keep their types, tables nest, and what is read back is what was meant."""
    meant = {
        "name": 'a "b"', "on": True, "n": 3, "x": 0.5, "many": ["a", "b"],
        "store": {"hours": [4], "deep": {"k": "v"}}, "http": {"address": "h:1"},
    }  # fmt: skip
    assert tomllib.loads(f.to_toml(meant)) == meant


def test_a_missing_bundle_is_a_problem_with_the_next_command() -> None:
    """It is told with the other problems of preflight, not as a traceback."""
    assert "broker-trio bundle" in f.bundle_facts("")["problem"]
    assert "/nowhere.tar" in f.bundle_facts("/nowhere.tar")["problem"]
