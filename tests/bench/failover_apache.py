"""A pair of Apache's 5.4.0 on hosts of a lab: units of systemd, driven as a drill drives ours.

    ns1         rocketmq-nameserver   in controller mode with the controller in it, one peer
    broker-a0   rocketmq-broker       classic: SYNC_MASTER     controller: whoever is elected
    broker-a1   rocketmq-broker       classic: SLAVE

The hosts have no Java: the JDK of this machine's `java` and the jars that the peers tool fetched
are mounted into them (`mounts`), the tool itself too, which starts them there as it does anywhere.
Data lies on the same file system as ours, and is wiped by `stop`.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.ops.lab.plan import DATA_PATH, Mount
from broker_trio.wire.bodies.route import decode_cluster_info
from tests.bench.peers import PEERS
from tests.interop import raw

NAMESERVER, BROKER = "rocketmq-nameserver.service", "rocketmq-broker.service"
BROKERS: Final = ("broker-a0", "broker-a1")
PAIR: Final = "broker-a"
TOOL, JARS, JDK = "/opt/apache/peers", "/opt/apache/jars", "/opt/apache/jdk"
DATA: Final = f"{DATA_PATH}/apache"
PORT, NAMESERVER_PORT, CONTROLLER_PORT = 10911, 9876, 9877
HEAP: Final = "768m"
LIKE_OURS: Final = ("flushDiskType=ASYNC_FLUSH", "rejectTransactionMessage=true",
                    "timerWheelEnable=false")  # fmt: skip
START_S: Final = 180.0
UNIT: Final = """[Unit]
Description=Apache RocketMQ 5.4.0
[Service]
Environment=PEERS_HOME={jars} HEAP={heap} PATH={jdk}/bin:/usr/bin:/bin
ExecStart={command}
SuccessExitStatus=143
"""


def mounts() -> list[Mount]:
    """JDK, jars and tool, wherever this machine has them; fetched now if they are not there."""
    subprocess.run([str(PEERS), "setup"], check=True, timeout=600)
    told = subprocess.run(
        ["java", "-XshowSettings:properties", "-version"], capture_output=True, text=True,
        check=True, timeout=60,
    ).stderr  # fmt: skip
    found = re.search(r"^\s*java\.home = (.+)$", told, re.MULTILINE)
    assert found is not None, told
    jdk = Path(found[1])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jars = Path(os.environ.get("PEERS_HOME") or cache / "broker-trio-peers")
    own = {TOOL: PEERS.parent.resolve(), JARS: jars, JDK: jdk}
    return [*(Mount(str(source), path) for path, source in own.items()), *settings_of(jdk)]


def settings_of(jdk: Path) -> list[Mount]:
    """Folders that links of the JDK lead to: Debian keeps its settings elsewhere."""
    links = [Path(os.readlink(path)) for path in jdk.rglob("*") if path.is_symlink()]
    folders = {link.parent for link in links if link.is_absolute() and link.exists()}
    tops = [folder for folder in folders if not folders & set(folder.parents)]
    return [Mount(str(folder), str(folder)) for folder in sorted(tops)]


class ApachePair:
    """One way of running it: `settings` are what its brokers and its nameserver are told."""

    def __init__(self, lab: Lab, *, controller: bool) -> None:
        self.lab, self.controller = lab, controller
        self._at = {host.name: host.address for host in lab.plan.hosts}
        self.nameserver = f"{self._at['ns1']}:{NAMESERVER_PORT}"
        self._asked = f"{self._at['ns1']}:{CONTROLLER_PORT}"

    def address(self, name: str) -> str:
        """Of the broker on that host, as the nameserver shows it."""
        return f"{self._at[name]}:{PORT}"

    def settings(self) -> dict[str, list[str]]:
        """By host. Words of Apache's property files."""
        if not self.controller:
            roles = (["brokerId=0", "brokerRole=SYNC_MASTER"], ["brokerId=1", "brokerRole=SLAVE"])
            nameserver = []
        else:
            mode = ["brokerId=-1", "enableControllerMode=true", f"controllerAddr={self._asked}",
                    "allAckInSyncStateSet=true"]  # fmt: skip
            roles = (mode, mode)
            nameserver = ["enableControllerInNamesrv=true", "controllerType=DLedger",
                          "controllerDLegerGroup=group1", "controllerDLegerSelfId=n0",
                          f"controllerDLegerPeers=n0-{self._asked}",
                          f"controllerStorePath={DATA}/controller"]  # fmt: skip
        brokers = {
            name: [f"brokerIP1={self._at[name]}", f"brokerIP2={self._at[name]}", *role, *LIKE_OURS]
            for name, role in zip(BROKERS, roles, strict=True)
        }
        return {"ns1": nameserver, **brokers}

    # -- up and down -----------------------------------------------------------------------------

    def start(self) -> None:
        """From nothing to a pair whose slave is attached; broker-a0 is its master."""
        settings = self.settings()
        self._begin("ns1", NAMESERVER, "namesrv", str(NAMESERVER_PORT), DATA, *settings["ns1"])
        if self.controller:
            wait_until(self._controller_leads, "the controller to lead", START_S)
        for name, ready in zip(BROKERS, (self._routed, self.whole), strict=True):
            words = ("broker", str(PORT), self.nameserver, DATA, *settings[name])
            self._begin(name, BROKER, *words)
            wait_until(ready, f"Apache's broker on {name}", START_S)

    def stop(self) -> None:
        """End it and wipe its data; what is not there is no error."""
        for name in (*BROKERS, "ns1"):
            unit = NAMESERVER if name == "ns1" else BROKER
            end = f"systemctl kill --signal=SIGKILL {unit}; systemctl stop {unit}; rm -rf {DATA}"
            self.lab.execute(name, "sh", "-c", f"{end}; rm -f /run/systemd/system/{unit}")

    def _begin(self, name: str, unit: str, *words: str) -> None:
        command = " ".join([f"{TOOL}/peers", *words])
        text = UNIT.format(jars=JARS, heap=HEAP, jdk=JDK, command=command)
        begin = f"cat > /run/systemd/system/{unit}; systemctl daemon-reload; systemctl start {unit}"
        self.lab.execute(name, "sh", "-e", "-c", begin, text=text)

    # -- what it says of itself ------------------------------------------------------------------

    def ask(self, address: str, code: int, body: bytes = b"") -> dict[str, Any] | None:
        """Answer of whoever listens there, its header and its body in one; None: nobody."""

        def asked() -> dict[str, Any] | None:
            try:
                answer = raw.ask(address, code, None, body)
            except (OSError, RemoteProtocolError):
                return None
            return {**answer.ext, **(json.loads(answer.body) if answer.body else {})}

        return self.lab.in_network(asked)

    def in_sync(self) -> list[int]:
        """Broker ids in the controller's sync state set, the master's first; empty: unknown."""
        body = json.dumps([PAIR]).encode()
        told = self.ask(self._asked, RequestCode.CONTROLLER_GET_SYNC_STATE_DATA, body) or {}
        found = told.get("replicasInfoTable", {}).get(PAIR)
        if not found or not found.get("masterAddress"):
            return []
        ids = [each["brokerId"] for each in found["inSyncReplicas"]]
        return sorted(ids, key=lambda each: each != found["masterBrokerId"])

    def whole(self) -> bool:
        """Both replicas are there, and count as far as Apache tells it."""
        if self.controller:
            return len(self.in_sync()) == len(BROKERS)
        return self.shown(1) == self.address(BROKERS[1])

    def _controller_leads(self) -> bool:
        told = self.ask(self._asked, RequestCode.CONTROLLER_GET_METADATA_INFO) or {}
        return bool(told.get("controllerLeaderAddress"))

    def _routed(self) -> bool:
        return self.shown(0) == self.address(BROKERS[0])

    def shown(self, broker_id: int) -> str:
        """Address under which the nameserver shows that member, or nothing."""
        info = self.lab.in_network(self._cluster)
        return info.get(broker_id, "")

    def _cluster(self) -> dict[int, str]:
        try:
            answer = raw.ask(self.nameserver, RequestCode.GET_BROKER_CLUSTER_INFO)
        except OSError:
            return {}
        data = decode_cluster_info(answer.body, answer.serialize).broker_addr_table.get(PAIR)
        return {} if data is None else dict(data.broker_addrs)
