"""`up` before anything runs: which processes, ports and files."""

import errno
import os
import random
import socket
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.config import check as check_broker
from broker_trio.cli.failures import GuardRefused
from broker_trio.cli.main import cli
from broker_trio.cli.up import ports
from broker_trio.cli.up.children import write_key
from broker_trio.cli.up.command import default_folder, locked
from broker_trio.cli.up.plan import Plan, environment_of, make_plan, toml_of
from broker_trio.model.settings import load
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.namesrv.config import check as check_nameserver


def plan_of(folder: Path, *, single: bool = False, **options: int) -> Plan:
    given = {"pairs": 1, "nameservers": 1, "nameserver_port": 9876, "broker_port": 10911}
    return make_plan(
        folder,
        **(given | options),
        single=single,
        free_block=lambda offsets, taken: max((20_000, *taken)) + 10,
    )


def test_further_processes_take_ports_plus_ten(tmp_path: Path) -> None:
    """Standard ports first, and the same steps for each kind."""
    plan = plan_of(tmp_path, pairs=2, nameservers=2)
    assert [p.address for p in plan.nameservers] == ["127.0.0.1:9876", "127.0.0.1:9886"]
    assert [(p.instance, p.address, p.peer, p.http) for p in plan.brokers] == [
        ("broker-a-1", "127.0.0.1:10911", "127.0.0.1:10921", "127.0.0.1:10913"),
        ("broker-a-2", "127.0.0.1:10921", "127.0.0.1:10911", "127.0.0.1:10923"),
        ("broker-b-1", "127.0.0.1:10931", "127.0.0.1:10941", "127.0.0.1:10933"),
        ("broker-b-2", "127.0.0.1:10941", "127.0.0.1:10931", "127.0.0.1:10943"),
    ]
    assert plan.clashes() == []
    assert plan.names == ("broker-a", "broker-b")


def test_single_masters_have_no_peers(tmp_path: Path) -> None:
    """`--single`: one process a name, on the ports that it always had."""
    plan = plan_of(tmp_path, pairs=2, single=True)
    assert [(p.instance, p.address, p.peer) for p in plan.brokers] == [
        ("broker-a-1", "127.0.0.1:10911", ""),
        ("broker-b-1", "127.0.0.1:10921", ""),
    ]
    assert "[replication]" not in toml_of(plan.brokers[0], plan.nameservers)


def test_a_replica_does_not_go_on_alone(tmp_path: Path) -> None:
    """`--single` in a folder with pairs would serve an old copy: exit code 3, both named."""
    for name in ("broker-a-1", "broker-a-2"):
        folder = tmp_path / name / "store" / "broker_trio"
        folder.mkdir(parents=True)
        (folder / "pair.cbor").touch()
    result = CliRunner().invoke(cli, ["up", "--single", "--dir", str(tmp_path)])
    assert result.exit_code == 3
    assert "broker-a-1, broker-a-2" in result.stderr


def test_the_pair_s_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    """Random, 0600, and the same at the next start."""
    path = tmp_path / "pair.key"
    write_key(path)
    key = path.read_bytes()
    write_key(path)
    assert path.read_bytes() == key
    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)


def test_port_zero_takes_a_block_for_each_process(tmp_path: Path) -> None:
    """No two processes share a port, and each block has all that its process needs."""
    plan = plan_of(tmp_path, pairs=3, nameservers=2, nameserver_port=0, broker_port=0)
    every = [port for process in plan.processes for port in process.ports]
    assert len(every) == len(set(every)) == 2 * 2 + 3 * 2 * 4


def test_ports_that_two_of_ours_want_are_found(tmp_path: Path) -> None:
    """Options that contradict each other are refused before anything starts."""
    clashes = plan_of(tmp_path, nameserver_port=10_911).clashes()
    assert len(clashes) == 2
    assert "nameserver-1 (remoting) and broker-a-1 (remoting)" in clashes[0]


def test_the_written_files_are_valid_configurations(tmp_path: Path) -> None:
    """What `up` writes is what the roles read, odd folder names included."""
    plan = plan_of(tmp_path / 'a "quoted" \\ folder', pairs=2, nameservers=2)
    for process in plan.nameservers:
        found = load(NameserverConfig, toml_of(process, plan.nameservers), {}, check_nameserver)
        assert (found.listen, found.http.address) == (process.address, process.http)
        assert len(found.witness.others) == 1
        assert process.address not in found.witness.others
        assert not found.witness.new
    for process in plan.brokers:
        broker = load(BrokerConfig, toml_of(process, plan.nameservers), {}, check_broker)
        assert broker.nameservers == ("127.0.0.1:9876", "127.0.0.1:9886")
        assert (broker.broker_name, broker.listen) == (process.broker_name, process.address)
        assert broker.data == str(process.store.absolute())
    pair = [tomllib.loads(toml_of(one, plan.nameservers))["replication"] for one in plan.brokers]
    assert [one["role"] for one in pair] == ["master", "slave"] * 2
    assert [one["replica_id"] for one in pair] == [1, 2] * 2
    assert {one["key_file"] for one in pair} == {str(plan.brokers[0].key.absolute())}


def test_settings_by_variable_are_for_brokers(tmp_path: Path) -> None:
    """A nameserver would refuse a broker's sections."""
    plan = plan_of(tmp_path)
    environ = {"PATH": "/bin", "BROKER_TRIO__STORE__FLUSH_DISK_TYPE": "SYNC_FLUSH"}
    assert environment_of(plan.brokers[0], environ) == environ
    assert environment_of(plan.nameservers[0], environ) == {"PATH": "/bin"}


def test_the_default_folder_follows_xdg() -> None:
    """XDG_DATA_HOME counts where it is absolute."""
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/broker-trio")
    assert default_folder({"XDG_DATA_HOME": "data"}) == Path.home() / ".local/share/broker-trio"


def test_a_folder_in_use_is_refused_with_its_user(tmp_path: Path) -> None:
    """Two of them in one folder would write over each other's files."""
    second = locked(tmp_path)
    with locked(tmp_path), pytest.raises(GuardRefused, match=f"pid {os.getpid()}") as caught:
        second.__enter__()
    assert caught.value.exit_code == 3
    with locked(tmp_path):
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"


def test_a_taken_port_is_told_with_its_holder() -> None:
    """We listen on the port ourselves, so the holder is this process."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        holder = ports.holder_of(port)
    assert holder is not None
    assert holder.pid == os.getpid()
    assert ports.is_free(port)
    assert ports.holder_of(port) is None


def test_up_names_every_port_that_is_taken(tmp_path: Path) -> None:
    """Exit code 1 before anything starts, the port, its use, its holder and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["up", "--dir", str(tmp_path), "--nameserver-port", "0", "--broker-port", str(port)]
        result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert f"port {port} (broker-a-1, remoting) is taken by pid {os.getpid()} (" in result.stderr
    assert "next: broker-trio up --nameserver-port 0 --broker-port 0" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["up.lock"]


def test_dir_and_ephemeral_exclude_each_other(tmp_path: Path) -> None:
    """A usage error, code 2."""
    assert CliRunner().invoke(cli, ["up", "--ephemeral", "--dir", str(tmp_path)]).exit_code == 2


def test_a_process_of_somebody_else_stays_nameless(tmp_path: Path) -> None:
    """/proc shows the socket and not whose it is: that is said, not guessed."""
    (tmp_path / "net").mkdir()
    head = "sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode\n"
    row = "0: 0100007F:2694 00000000:0000 0A 0:0 0:0 0 0 0 4711\n"
    (tmp_path / "net" / "tcp").write_text(head + row)
    found = ports.holder_of(9876, tmp_path)
    assert str(found) == "a process that this user may not see"
    assert ports.holder_of(9877, tmp_path) is None


def test_a_free_block_leaves_out_what_is_taken() -> None:
    """Blocks that were given away are not given again, though nobody listens yet."""
    first = ports.free_block((0, 2), set(), random.Random(1))
    second = ports.free_block((0, 2), {first, first + 2}, random.Random(1))
    assert not {first, first + 2} & {second, second + 2}
    with pytest.raises(OSError, match="no free ports") as caught:
        ports.free_block((0,), range(20_000, 30_000), random.Random(1))
    assert caught.value.errno == errno.EADDRINUSE
