"""Faults of groups, of nameservers, of hosts and of the monitoring itself, with their tickets.

groups         nobody reads, somebody reads too slowly, a message is given up
nameservers    one forgot, one is asked for nonsense, a broker was left drained
monitoring     exporter, Prometheus' files and rules, Alertmanager; two figures are planted
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from broker_trio.broker.ages import LOOK_INTERVAL_S
from broker_trio.model.codes import RequestCode
from tests.interop import raw
from tests.interop.breakable import PATIENT_S, Site
from tests.interop.faults import SENDS, Fault, mend, no_figures
from tests.interop.faults_brokers import let_go
from tests.interop.monitored import child
from tests.interop.pairs import PROBE

SLOW: Final = """
import sys, trio
from broker_trio import connect

async def main():
    async with connect(sys.argv[1:]) as mq:
        async with mq.subscribe("orders", group="billing") as orders:
            async for message in orders:
                async with message:
                    await trio.sleep(2)

trio.run(main)
"""
FAST: Final = ("orders", "--rate", "200", "--tasks", "8")
LOOKED_UP_S: Final = 2 * LOOK_INTERVAL_S
CAUSE: Final = "the shelf is empty"
GIVEN_UP: Final = 3
ASKED_EVERY_S: Final = 0.1
DAYS: Final = 91
CLOCK: Final = (
    'node_timex_offset_seconds{cluster="planted",host="p",instance="p1",job="node"} 0.7\n'
)
MEMORY: Final = (
    'node_memory_MemAvailable_bytes{cluster="planted",host="p",instance="p1",job="node"} 1e9\n'
    'node_memory_MemTotal_bytes{cluster="planted",host="p",instance="p1",job="node"} 1e10\n'
)
MONITOR: Final = "monitor_stopped"
"""The one fault that ends its alert, and whose mending raises it: a test of its own."""
FAILS: Final = """
groups:
  - name: failing
    interval: 1s
    rules:
      - record: failing
        expr: up * on (job) up
"""


# -- groups ------------------------------------------------------------------------------------


def nothing_waits(site: Site) -> None:
    """Both groups have read everything."""
    for group, topic in (("gone", "bills"), ("billing", "orders")):
        words = ("offset", "reset", group, topic, "--to", "last", "--yes", "--timeout", PATIENT_S)
        done = site.watch.run(*words)
        assert done.returncode == 0, done.stderr


def nothing_has_waited(site: Site) -> None:
    """Nor does a broker take what it looked up before for the oldest that waits."""
    nothing_waits(site)
    time.sleep(LOOKED_UP_S)


def nothing(_site: Site) -> None:
    """The load alone does it."""


def read_slowly(site: Site) -> None:
    command = [sys.executable, "-c", SLOW, *site.watch.told["nameservers"]]
    site.held.enter_context(child(command, site.folder / "consumer.log"))


def give_up(site: Site) -> None:
    """A consumer sends messages back and says that it will not try again."""
    with raw.connected(site.pair.master.address) as broker:
        for _ in range(GIVEN_UP):
            stored = broker.ask(RequestCode.SEND_MESSAGE, {**PROBE, "topic": "orders"}, b"bad")
            assert stored.code == 0, stored.remark
            message_id = str(stored.ext["msgId"])
            fields: dict[str, str | int | bool] = {
                "offset": int(message_id[-16:], 16), "group": "billing", "delayLevel": -1,
                "originMsgId": message_id, "originTopic": "orders", "cause": CAUSE,
            }  # fmt: skip
            back = broker.ask(RequestCode.CONSUMER_SEND_MSG_BACK, fields)
            assert back.code == 0, back.remark


# -- nameservers -------------------------------------------------------------------------------


def forget(site: Site) -> None:
    """One lost its files, and the other, from which it would learn, is away."""
    one, other = site.pair.nameservers
    other.stop()
    one.stop()
    shutil.rmtree(one.folder / "data")
    config = one.folder / "config.toml"
    config.write_text(config.read_text().replace("new = true\n", ""))
    one.start()


@contextmanager
def asking(address: str) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        with raw.connected(address) as nameserver:
            while not over.wait(ASKED_EVERY_S):
                nameserver.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "nobody-has-it"})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ask_for_nonsense(site: Site) -> None:
    site.held.enter_context(asking(site.pair.nameserver.address))


def drain(site: Site) -> None:
    done = site.watch.run("cluster", "drain", "broker-a", "--timeout", PATIENT_S)
    assert done.returncode == 0, done.stderr


def undrain(site: Site) -> None:
    site.watch.run("cluster", "undrain", "broker-a", "--timeout", PATIENT_S)
    site.pair.mend()


# -- monitoring --------------------------------------------------------------------------------


def prove_long_ago(site: Site) -> None:
    at, name = time.time() - DAYS * 86_400, "brokertrio_drill_last_success_timestamp_seconds"
    page = f'# TYPE {name} gauge\n{name}{{drill="kill_master"}} {at:.0f}\n'
    (site.folder / "textfile" / "drills.prom").write_text(page)


def prove_nothing(site: Site) -> None:
    (site.folder / "textfile" / "drills.prom").unlink(missing_ok=True)


def stop_exporter(site: Site) -> None:
    site.node.stop()


def start_exporter(site: Site) -> None:
    site.node.start()


def rule_file(site: Site, name: str, text: str) -> None:
    """Prometheus reads its files again, with one more or one less."""
    path = site.prometheus.folder / name
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text)
    os.kill(site.prometheus.pid, signal.SIGHUP)


def stop_alertmanager(site: Site) -> None:
    site.alertmanager.stop()


def start_alertmanager(site: Site) -> None:
    site.alertmanager.start()


def stop_prometheus(site: Site) -> None:
    site.prometheus.stop()


def start_prometheus(site: Site) -> None:
    site.prometheus.start()


def plant_clock(site: Site) -> None:
    site.planted.text = CLOCK


def plant_memory(site: Site) -> None:
    site.planted.text = MEMORY


GROUP_FAULTS: Final = {
    "consumer_slow": Fault(
        "the only consumer takes two seconds for each message, under load",
        frozenset(), read_slowly, let_go, FAST, calm=nothing_has_waited,
        tickets=frozenset({"ConsumerLagAge", "ConsumerLagHuge"}),
        finds={"ConsumerLagAge": "expression"},
    ),
    "nobody_reads": Fault(
        "a group's consumers are away, under load",
        frozenset(), nothing, mend, SENDS, calm=nothing_waits,
        tickets=frozenset({"ConsumerGroupEmpty"}),
        finds={"ConsumerGroupEmpty": "nobody of consumer group billing is online"},
    ),
    "given_up": Fault(
        "a consumer sends three messages back for good",
        frozenset(), give_up, mend, calm=nothing_waits,
        tickets=frozenset({"DeadLetters"}), finds={"DeadLetters": CAUSE},
    ),
}  # fmt: skip
NAMESERVER_FAULTS: Final = {
    "forgotten": Fault(
        "a nameserver is started without its files while the other one is away",
        frozenset(), forget, mend,
        tickets=frozenset({"WitnessForgot"}),
    ),
    "nonsense": Fault(
        "a client asks a nameserver for a topic that nobody has, ten times a second",
        frozenset(), ask_for_nonsense, let_go,
        tickets=frozenset({"RouteNotFound"}),
    ),
    "left_drained": Fault(
        "`broker-trio cluster drain broker-a`, and nobody undrains it",
        frozenset(), drain, undrain,
        tickets=frozenset({"BrokerLeftDrained"}),
    ),
}  # fmt: skip
WATCH_FAULTS: Final = {
    "proved_long_ago": Fault(
        "*a planted page* in the exporter's folder, because nobody waits 91 days",
        frozenset(), prove_long_ago, prove_nothing,
        tickets=frozenset({"DrillProofOld"}), finds={"DrillProofOld": "kill-master"},
    ),
    "exporter_stopped": Fault(
        "the node exporter is stopped",
        frozenset(), stop_exporter, start_exporter,
        tickets=frozenset({"HostDown"}),
    ),
    "rules_broken": Fault(
        "a rule file does not parse, and Prometheus reads its files again",
        frozenset(), lambda site: rule_file(site, "broken.yml", "groups: [\n"),
        lambda site: rule_file(site, "broken.yml", ""),
        tickets=frozenset({"ConfigReloadFailed"}), finds={"ConfigReloadFailed": "broken.yml"},
    ),
    "rule_fails": Fault(
        "a rule's match is many-to-many, and Prometheus reads its files again",
        frozenset(), lambda site: rule_file(site, "failing.yml", FAILS),
        lambda site: rule_file(site, "failing.yml", ""),
        tickets=frozenset({"RuleEvalFailing"}), finds={"RuleEvalFailing": "duplicate series"},
    ),
    "alertmanager_stopped": Fault(
        "the Alertmanager is stopped",
        frozenset(), stop_alertmanager, start_alertmanager,
        tickets=frozenset({"AlertmanagerUnreachable"}),
        finds={"AlertmanagerUnreachable": "/api/v2/alerts"},
    ),
    MONITOR: Fault(
        "always; the Alertmanager has it no longer when the Prometheus is stopped, and again when "
        "it is started",
        frozenset(), stop_prometheus, start_prometheus,
        tickets=frozenset({"Watchdog"}),
    ),
    "clock_off": Fault(
        "*planted figures*, because a test may not change this machine's clock",
        frozenset(), plant_clock, no_figures,
        tickets=frozenset({"ClockSkew"}), cluster="planted", finds={"ClockSkew": "clock"},
    ),
    "memory_used": Fault(
        "*planted figures*, because others work on this machine",
        frozenset(), plant_memory, no_figures,
        tickets=frozenset({"MemoryNearLimit"}), cluster="planted",
        finds={"MemoryNearLimit": "RSS"},
    ),
}  # fmt: skip
