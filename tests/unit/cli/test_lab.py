"""`lab` where there is none, or can be none: everything that is missing, and what to type next."""

import ctypes
import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker_trio.cli.lab import base, needs, ready
from broker_trio.cli.lab.command import lab
from broker_trio.cli.lab.connect import find_holder
from broker_trio.ops.lab.plan import LabError


@pytest.fixture(autouse=True)
def no_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who never had a lab."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Linux without the programs, for a user without rights."""
    monkeypatch.setattr(needs.sys, "platform", "linux")
    monkeypatch.setattr(needs.shutil, "which", lambda name, path: None)
    monkeypatch.setattr(needs.os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("bare")
def test_all_that_is_missing_is_said_at_once_with_its_packages() -> None:
    with pytest.raises(LabError) as refused:
        needs.check()
    for lack in ("root: this is user 1000", "systemd-nspawn (package systemd-container)", "nft "):
        assert lack in refused.value.message
    assert refused.value.advice == (
        "apt-get install --no-install-recommends debootstrap e2fsprogs iproute2 nftables "
        "openssh-client systemd systemd-container util-linux"
    )


def test_the_kernels_limit_is_said_before_a_host_fails_to_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have taken of 128 inotify instances counts; nine are enough for a host."""
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(needs, "INOTIFY_LIMIT", limit)
    monkeypatch.setattr(needs, "inotify_free", lambda: 126)
    monkeypatch.setattr(needs, "missing_packages", list)
    assert not [lack for lack in needs.missing(14) if "inotify" in lack]
    (lack,) = (lack for lack in needs.missing(15) if "inotify" in lack)
    assert "room for 15 hosts' inotify instances: they take 135, 126 of 128 are free" in lack
    assert needs.advice(15) == "sysctl -w fs.inotify.max_user_instances=1024"
    limit.write_text("1024\n")
    assert needs.advice(15) == "sysctl -w fs.inotify.max_user_instances=1033"


@pytest.mark.skipif(sys.platform != "linux", reason="a lab is on Linux")
def test_inotify_instances_of_a_process_are_counted() -> None:
    """Of a process that is gone, none."""
    here = Path("/proc/self")
    before = needs.inotify_of(here)
    made = ctypes.CDLL(None, use_errno=True).inotify_init1(0)
    assert made >= 0
    try:
        assert needs.inotify_of(here) == before + 1
    finally:
        os.close(made)
    assert needs.inotify_of(Path("/proc/0")) == 0


def test_the_base_is_made_once_and_never_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that fails says what debootstrap said; the next one begins anew; then it is kept."""
    made: list[str] = []
    script = f"test -e {tmp_path}/broken && echo no mirror && exit 7; mkdir $0 && touch $0/tree"
    monkeypatch.setattr(base, "debootstrap_command", lambda target, _: ["sh", "-c", script, target])
    monkeypatch.setattr(base, "strip", lambda tree: made.append(tree.name))
    (tmp_path / "broken").touch()
    with pytest.raises(LabError, match=r"debootstrap exited with 7:\nno mirror"):
        base.ensure_base("", lambda _: None)
    assert not base.base_folder().exists()
    (tmp_path / "broken").unlink()
    half = base.cache_folder() / "building"
    half.mkdir()
    (half / "old").touch()
    said: list[str] = []
    for _ in range(2):
        tree = base.ensure_base("", said.append)
        assert [each.name for each in tree.iterdir()] == ["tree"]
    assert (len(said), made, half.exists()) == (1, ["building"], False)


@pytest.mark.usefixtures("bare")
def test_up_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(lab, ["up", "-n", "2"])
    assert done.exit_code == 1
    assert "a lab cannot run here; missing: root" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_mount_of_what_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "missing", lambda _: [])
    done = CliRunner().invoke(lab, ["up", "-n", "1", "--mount", "/no/such/folder:/srv"])
    assert done.exit_code == 1
    assert "/no/such/folder is not on this machine" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_seen_for_a_moment_is_not_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process in the middle of an exec shows no command line; one that has ended never does."""
    monkeypatch.setattr(ready, "PAUSE_S", 0.0)
    looks, greetings = [False, True, *[False] * 9, True], [*[False] * 11, True]
    monkeypatch.setattr(ready, "greets", lambda _: greetings.pop(0))
    assert ready.wait_for_ssh(["10.86.0.11"], 600, lambda _: looks.pop(0)) == []
    monkeypatch.setattr(ready, "greets", lambda _: False)
    assert ready.wait_for_ssh(["10.86.0.11"], 600, lambda _: False) == ["10.86.0.11"]


@pytest.mark.usefixtures("bare")
def test_needs_is_for_programs_too() -> None:
    done = CliRunner().invoke(lab, ["needs", "--json"])
    told = json.loads(done.output)
    assert (done.exit_code, "debootstrap" in told["packages"]) == (1, True)


def test_commands_without_a_lab_name_the_next_one() -> None:
    for words in (["list"], ["ssh", "ns1"], ["cut", "ns1"], ["poweroff", "ns1"], ["heal"]):
        done = CliRunner().invoke(lab, words)
        assert done.exit_code == 1, done.output
        assert "no lab 'lab' is up" in done.output
        assert "next: broker-trio lab up" in done.output


def test_an_inventory_without_a_lab_is_empty() -> None:
    done = CliRunner().invoke(lab, ["list", "--inventory"])
    told = json.loads(done.output)
    assert (told["brokers"], told["_meta"]) == ({"hosts": []}, {"hostvars": {}})


def test_words_that_do_not_go_together_are_wrong_usage() -> None:
    assert "does not go with --pairs" in CliRunner().invoke(lab, ["up", "-n2", "--pairs=1"]).output
    assert CliRunner().invoke(lab, ["up", "--volume", "data"]).exit_code == 1


def test_a_folder_without_a_lab_has_no_holder(tmp_path: Path) -> None:
    assert find_holder(tmp_path) == 0
