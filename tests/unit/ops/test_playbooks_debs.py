"""Packages from a folder or from the host's sources, with programs that answer from a table."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.ops.playbooks import Answering, Ended, plugin

debs = plugin("library/rmq_debs.py")


class Host(Answering):
    """An AnsibleModule on a host with these packages; what apt-get was asked is in `asked`."""

    def __init__(self, have: dict[str, str], **params: Any) -> None:
        self.params = {"packages": ["prometheus"], "folder": "", "install": True, **params}
        self.have, self.asked, self.check_mode = dict(have), list[list[str]](), False

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        match command:
            case ["dpkg-query", "-W", _, *names]:
                rows = [f"{n} {self.have[n]} installed\n" for n in names if n in self.have]
                return 0, "".join(rows), ""
            case ["dpkg-deb", "-W", _, path]:
                return 0, Path(path).read_text(), ""
            case ["dpkg", "--compare-versions", have, "lt-nl", version]:
                return int(not have < version), "", ""
            case ["apt-get", *_]:
                self.asked.append(command)
                self.have |= {one: "2" for one in self.params["packages"] if "install" in command}
                return 0, "", ""
        raise AssertionError(command)


def run(host: Host, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(debs, "AnsibleModule", lambda **_: host)
    with pytest.raises(Ended):
        debs.main()
    return host.result


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """prometheus 2 and a library that it needs."""
    (tmp_path / "a.deb").write_text("prometheus 2")
    (tmp_path / "b.deb").write_text("libjs 1")
    return str(tmp_path)


def test_what_is_missing_comes_from_the_hosts_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists are read first; only what is missing is named."""
    host = Host({"node": "1"}, packages=["node", "prometheus"])
    assert run(host, monkeypatch)["changed"] is True
    assert [command[1] for command in host.asked] == ["update", "install"]
    assert host.asked[1][-1] == "prometheus"
    assert "node" not in host.asked[1]


def test_what_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No question to any source, so that a host without a network is well."""
    host = Host({"prometheus": "1"})
    assert run(host, monkeypatch)["changed"] is False
    assert host.asked == []


def test_check_mode_tells_and_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the folder has not been copied yet."""
    host = Host({}, folder="/nowhere")
    host.check_mode = True
    told = run(host, monkeypatch)
    assert (told["changed"], told["wanted"], told["versions"]) == (True, ["prometheus"], {})
    assert told["diff"]["after"] == {"prometheus": "to be installed"}
    assert host.asked == []


def test_a_folder_gives_what_is_missing_and_what_is_newer(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Its dependencies, too, and no other source is asked; a second run changes nothing."""
    host = Host({"prometheus": "1", "libjs": "1"}, folder=folder)
    assert run(host, monkeypatch)["wanted"] == ["prometheus"]
    (command,) = host.asked
    assert command[-1] == f"{folder}/a.deb"
    assert "Dir::Etc::SourceList=/dev/null" in command
    assert run(host, monkeypatch)["changed"] is False
    fresh = Host({}, folder=folder)
    assert run(fresh, monkeypatch)["wanted"] == ["libjs", "prometheus"]


def test_nothing_is_downgraded(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """What the host has may be newer than the folder."""
    host = Host({"prometheus": "3", "libjs": "1"}, folder=folder)
    assert run(host, monkeypatch)["changed"] is False


def test_a_folder_without_the_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The text names folder and package."""
    told = run(Host({}, folder=folder, packages=["grafana"]), monkeypatch)
    assert told["failed"] is True
    assert "holds no package grafana" in told["msg"]
