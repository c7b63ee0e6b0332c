"""The lab's decisions: which hosts, what a cut takes away, what is written into a host."""

from pathlib import Path

import msgspec
import pytest

from broker_trio.cli.lab.processes import weigh
from broker_trio.ops.lab import files, network
from broker_trio.ops.lab.base import HOST_PACKAGES, debootstrap_command, recipe_text
from broker_trio.ops.lab.network import Way
from broker_trio.ops.lab.plan import (
    Counts,
    LabError,
    Mount,
    Plan,
    Volume,
    counts_of,
    make_plan,
    parse_mount,
    parse_size,
    parse_volume,
    size_text,
    with_host,
)

PLAN = make_plan("lab", Counts(pairs=1, nameservers=1))


def names(plan: Plan) -> list[str]:
    return [host.name for host in plan.hosts]


def test_eight_hosts_are_two_pairs_three_nameservers_and_a_monitor() -> None:
    plan = make_plan("lab", counts_of(8))
    assert names(plan) == [
        "ns1", "ns2", "ns3", "broker-a0", "broker-a1", "broker-b0", "broker-b1", "monitor1",
    ]  # fmt: skip
    assert [host.address for host in plan.hosts][::7] == ["10.86.0.11", "10.86.0.18"]


@pytest.mark.parametrize("hosts", range(1, 65))
def test_any_number_of_hosts_is_shared_out(hosts: int) -> None:
    plan = make_plan("lab", counts_of(hosts)) if hosts <= 57 else None
    if plan is None:  # 27 pairs have no letters
        with pytest.raises(LabError, match="at most 26 pairs, not 27"):
            make_plan("lab", counts_of(hosts))
        return
    assert len(plan.hosts) == hosts == len(set(names(plan)))
    assert all(len(host.link) <= 15 for host in plan.hosts)


def test_a_plan_survives_its_file() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PLAN), type=Plan) == PLAN


def test_a_host_added_moves_no_other() -> None:
    plan, host = with_host(PLAN, "broker-b1", "brokers")
    assert plan.hosts[:3] == PLAN.hosts
    assert (host.address, host.pair, host.broker_id) == ("10.86.0.14", "broker-b", 1)


@pytest.mark.parametrize(
    ("name", "group", "cause"),
    [
        ("ns1", "nameservers", "has a host 'ns1' already"),
        ("nameserver-12", "nameservers", "at most 12 characters"),
        ("Ns9", "nameservers", "is no name of a host"),
        ("ns9", "routers", "no group 'routers': there are nameservers, brokers"),
    ],
)
def test_a_host_that_cannot_be_is_refused(name: str, group: str, cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        with_host(PLAN, name, group)


def test_plans_that_cannot_be_are_refused() -> None:
    with pytest.raises(LabError, match="a lab has 1 to 64 hosts, not 0"):
        make_plan("lab", Counts())
    with pytest.raises(LabError, match="at least 64M, not 1M"):
        make_plan("lab", Counts(spares=1), disk=1 << 20)
    with pytest.raises(LabError, match="two volumes or mounts at one path"):
        make_plan("lab", Counts(spares=1), volumes=[Volume("/a", 1 << 30)] * 2)
    with pytest.raises(LabError, match="is no name of a lab"):
        make_plan("../lab", Counts(spares=1))


def test_sizes_are_read_and_told() -> None:
    assert [parse_size(text) for text in ("2G", "512M", "4GiB", "77")] == [
        2 << 30, 512 << 20, 4 << 30, 77,
    ]  # fmt: skip
    assert [size_text(size) for size in (2 << 30, 3 << 20, 77)] == ["2G", "3M", "77"]
    assert parse_volume("/srv/disk2=1G") == Volume("/srv/disk2", 1 << 30)
    for wrong in ("1T", "", "-1", "4 G"):
        with pytest.raises(LabError, match="is no size"):
            parse_size(wrong)
    for wrong in ("/srv", "srv=1G", "/a b=1G", "/../x=1G/"):
        with pytest.raises(LabError):
            parse_volume(wrong)


def test_a_mount_is_read_only_in_every_host_and_in_one_added_later() -> None:
    mount = parse_mount("/opt/a.b:/srv/c")
    assert mount == Mount("/opt/a.b", "/srv/c")
    made = make_plan("lab", Counts(nameservers=1), mounts=[mount])
    plan, added = with_host(
        msgspec.json.decode(msgspec.json.encode(made), type=Plan), "s", "spares"
    )
    for host in (*plan.hosts, added):
        words = files.nspawn_command(host, "/root", {"/data": "/v"}, "br0")
        assert {"--bind-ro=/opt/a.b:/srv/c", "--bind=/v:/data"} < set(words)
    for wrong in ("/opt", "/opt:", ":/opt", "opt:/srv", "/a:/b:/c", "/a b:/c"):
        with pytest.raises(LabError, match="is no mount"):
            parse_mount(wrong)
    with pytest.raises(LabError, match="two volumes or mounts at one path"):
        make_plan("lab", Counts(spares=1), volumes=[Volume("/srv/c", 1 << 30)], mounts=[mount])


def test_a_cut_is_both_ways_one_way_or_from_all() -> None:
    def cut(*others: str, one_way: bool = False, controller: bool = False) -> list[Way]:
        return network.ways(PLAN, "broker-a0", others, one_way=one_way, controller=controller)

    ours, ns1, slave, us = "10.86.0.12", "10.86.0.11", "10.86.0.13", "10.86.0.1"
    assert cut("ns1") == [Way(ours, ns1), Way(ns1, ours)]
    assert cut("ns1", one_way=True) == [Way(ours, ns1)]
    assert cut(one_way=True, controller=True) == [Way(ours, o) for o in (ns1, slave, us)]
    assert len(cut()) == 4
    with pytest.raises(LabError, match="cannot be cut from itself"):
        cut("broker-a0")


def test_cuts_are_told_by_name_once() -> None:
    cut = network.ways(PLAN, "broker-a0", ("ns1",), one_way=False, controller=False)
    one_way = network.ways(PLAN, "broker-a1", (), one_way=True, controller=True)
    assert network.name_ways(PLAN, [*cut, *one_way]) == [
        "broker-a0 <-> ns1",
        "broker-a1 -> ns1",
        "broker-a1 -> broker-a0",
        "broker-a1 -> controller",
    ]


def test_what_the_kernel_lists_is_read_back() -> None:
    listing = """{"nftables": [{"metainfo": {}}, {"set": {"name": "cuts", "elem":
        [{"concat": ["10.86.0.12", "10.86.0.11"]}, {"concat": ["10.86.0.11", "10.86.0.12"]}]}}]}"""
    assert network.cuts_in(listing) == [
        Way("10.86.0.11", "10.86.0.12"),
        Way("10.86.0.12", "10.86.0.11"),
    ]
    assert network.cuts_in('{"nftables": [{"set": {"name": "cuts"}}]}') == []
    way = Way("10.86.0.12", "10.86.0.11")
    assert network.losses_in(network.loss_command([way], 30)) == [(way, 30)]


def test_losses_and_rates_have_bounds() -> None:
    for percent in (0, 100):
        with pytest.raises(LabError, match="1 to 99 percent"):
            network.loss_command([Way("a", "b")], percent)
    for rate in ("10", "0mbit", "10mbit; reboot", "fast"):
        with pytest.raises(LabError, match="is no rate"):
            network.limit_commands("host0", rate)
    assert network.limit_commands("host0", "none") == [
        ["tc", "qdisc", "del", "dev", "host0", "root"]
    ]


def test_a_host_gets_its_name_address_and_keys() -> None:
    host = PLAN.host("broker-a0")
    own = files.host_files(PLAN, host, machine_id="0" * 32, public_key="key", host_key="secret")
    assert own["etc/hostname"].text == "broker-a0\n"
    assert "Address=10.86.0.12/24" in own["etc/systemd/network/10-lab.network"].text
    assert own["etc/ssh/ssh_host_ed25519_key"] == files.File("secret", 0o600)
    assert own["root/.ssh/authorized_keys"].mode == 0o600


def test_the_inventory_says_the_same_as_file_and_as_script() -> None:
    tree = files.inventory(PLAN, "/state/lab")
    script = files.script_form(tree)
    assert script["brokers"] == {"hosts": ["broker-a0", "broker-a1"]}
    assert script["_meta"]["hostvars"]["broker-a1"] == {
        "ansible_host": "10.86.0.13",
        "broker_name": "broker-a",
        "broker_id": 1,
    }
    assert script["all"]["vars"] == tree["all"]["vars"]
    text = files.yaml_text(tree)
    assert '        broker-a1:\n          ansible_host: "10.86.0.13"\n' in text
    assert "    monitors:\n      hosts: {}\n" in text


def test_the_base_is_named_by_all_that_is_in_it() -> None:
    assert all(package in recipe_text() for package in HOST_PACKAGES)
    command = debootstrap_command("/cache/base")
    assert command[-2:] == ["bookworm", "/cache/base"]
    assert debootstrap_command("/cache/base", "URL")[-1] == "URL"


def test_a_group_weighs_as_many_processes_as_it_is_told(tmp_path: Path) -> None:
    """In either version of control groups, up to its limit; what has no processor files is left."""
    (tmp_path / "cpu.shares").write_text("1024")
    weigh(tmp_path, 8)
    assert (tmp_path / "cpu.shares").read_text() == "8192"
    (tmp_path / "cpu.weight").write_text("100")
    weigh(tmp_path, 4_000)
    assert (tmp_path / "cpu.weight").read_text() == "10000"
    assert (tmp_path / "cpu.shares").read_text() == str(1 << 18)
    empty = tmp_path / "empty"
    empty.mkdir()
    weigh(empty, 8)
    assert list(empty.iterdir()) == []
