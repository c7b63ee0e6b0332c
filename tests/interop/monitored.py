"""A real pair under load, scraped by a real Prometheus with our rules, as dashboards see it.

    broker-trio up --nameservers 2 ──▶ /metrics ──▶ prometheus ──▶ queries of panels
      ▲ produce (two topics), consume (one group follows, one has stopped)
    a stand-in page of drill families, because no drill runs here ──▶ prometheus
    a real node exporter ──▶ prometheus

Scrapes and rules go by the second here, and alerts fire after two, so that a minute shows what an
hour would.
"""

import json
import math
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import environ
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from broker_trio.metrics.catalogue import DRILL_FAMILIES
from grafana.src.__main__ import ROOT

COMMAND: Final = (sys.executable, "-m", "broker_trio")
FIXED: Final = {"$__rate_interval": "15s", "$__interval": "5s", "$__range": "1m"}
CONSUMER: Final = """
import sys, trio
from broker_trio import connect

async def main():
    async with connect(sys.argv[1:]) as mq:
        async with mq.subscribe("orders", group="billing", start="first") as orders:
            async for message in orders:
                async with message:
                    pass

trio.run(main)
"""
READY_S: Final = 60.0
HISTORY_S: Final = 45.0


def missing(text: str) -> NoReturn:
    """Skips, or fails where nothing may be missing."""
    if environ.get("BROKER_TRIO_REQUIRE_INTEROP") == "1":
        pytest.fail(text)
    pytest.skip(text)


def binary(name: str) -> str:
    """A program of Debian's package of the same name."""
    return shutil.which(name) or missing(f"{name} is not on PATH (Debian package {name})")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Monitored:
    """The running thing: what `up` told, and questions to Prometheus."""

    def __init__(self, told: dict[str, Any], prometheus: str) -> None:
        self.told, self.prometheus = told, prometheus
        self.nameservers = ";".join(told["nameservers"])

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One `broker-trio` command against it."""
        return subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, timeout=180, check=False,
            env={**environ, "BROKER_TRIO_NAMESERVER": self.nameservers},
        )  # fmt: skip

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}?{query}", timeout=20) as told:
            return json.load(told)["data"]

    def firing(self) -> dict[str, str]:
        """Names of the alerts that fire, with their severity."""
        return {
            one["labels"]["alertname"]: one["labels"]["severity"]
            for one in self.ask("alerts")["alerts"]
            if one["state"] == "firing"
        }

    def values(self, label: str, selector: str) -> list[str]:
        """Grafana's `label_values`."""
        series = self.ask("series", **{"match[]": selector, "start": str(time.time() - 30)})
        return sorted({one[label] for one in series if label in one})

    def points(self, expr: str, *, instant: bool) -> int:
        """Finite values that a query gives, over the last quarter of a minute or now."""
        now = time.time()
        if instant:
            found = self.ask("query", query=expr)["result"]
            return sum(math.isfinite(float(one["value"][1])) for one in found)
        found = self.ask(
            "query_range", query=expr, start=f"{now - 15}", end=f"{now}", step="5"
        )["result"]  # fmt: skip
        return sum(math.isfinite(float(value)) for one in found for _, value in one["values"])


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scrape that gave up is Prometheus' affair."""


def drill_value(name: str) -> float:
    """As a ledger of 50 sends a second and a drill that passed three days ago would say it."""
    now = time.time()
    if name.endswith("last_success_timestamp_seconds"):
        return now - 3 * 86_400
    rising = {"acknowledged": 50.0, "unknown": 0.1, "unavailable": 0.01, "duplicates": 0.02}
    per_s = next((rate for word, rate in rising.items() if word in name), 0.0)
    return {"brokertrio_drill_rto_seconds": 3.1}.get(name, per_s * (now % 86_400))


class _Drills(BaseHTTPRequestHandler):
    """Each drill family once: what the drills' own page will have."""

    def do_GET(self) -> None:
        lines = []
        for family in DRILL_FAMILIES:
            labels = ",".join(f'{name}="kill_master"' for name in family.labels)
            value = drill_value(family.name)
            lines.append(f"# TYPE {family.name} {family.kind}\n{family.name}{{{labels}}} {value}\n")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write("".join(lines).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing to say."""


@contextmanager
def child(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def drill_page() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), _Drills)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def node_exporter_command(folder: Path) -> tuple[list[str], str]:
    """What runs one that adds the pages of the folder's `textfile`; its address."""
    address, pages = f"127.0.0.1:{free_port()}", folder / "textfile"
    pages.mkdir()
    command = [
        binary("prometheus-node-exporter"), f"--web.listen-address={address}",
        f"--collector.textfile.directory={pages}",
    ]  # fmt: skip
    return command, address


@contextmanager
def node_exporter(folder: Path) -> Iterator[str]:
    """Its address."""
    command, address = node_exporter_command(folder)
    with child(command, folder / "node_exporter.log"):
        wait_until_ready(f"http://{address}/")
        yield address


def alertmanager_command(folder: Path) -> tuple[list[str], str]:
    """What runs Debian's, which tells nobody and can be asked; its address."""
    folder.mkdir()
    file, address = folder / "config.yml", f"127.0.0.1:{free_port()}"
    file.write_text('{"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}')
    command = [
        binary("prometheus-alertmanager"), f"--config.file={file}", f"--storage.path={folder}/data",
        f"--web.listen-address={address}", "--cluster.listen-address=",
    ]  # fmt: skip
    return command, address


def target(address: str, node_type: str, node_id: str) -> dict[str, Any]:
    named = {"cluster": "DefaultCluster", "node_type": node_type, "node_id": node_id, "host": "h"}
    labels = {name: value for name, value in named.items() if value}
    return {"targets": [address], "labels": labels}


def targets(told: dict[str, Any]) -> list[dict[str, Any]]:
    """As the playbooks write them for a fleet."""
    found = [target(one["http"], "broker", one["name"]) for one in told["brokers"]]
    for address in told["nameservers"]:
        host, _, port = address.rpartition(":")
        found.append(target(f"{host}:{int(port) + 2}", "nameserver", address))
    return found


def rules(folder: Path, shorter: dict[str, str], smaller: dict[str, str] | None = None) -> None:
    """Our rules, evaluated each second; alerts wait for two seconds, windows are as told.

    `smaller`: amounts that are compared with, replaced as well.
    """
    for path in (ROOT / "grafana/rules").glob("*.yml"):
        text = path.read_text().replace("interval: 15s", "interval: 1s")
        text = re.sub(r"for: \S+", "for: 2s", text)
        text = re.sub(r"\[(\w+)\]", lambda found: f"[{shorter.get(found[1], found[1])}]", text)
        text = re.sub(
            r"offset (\w+)", lambda found: f"offset {shorter.get(found[1], found[1])}", text
        )
        for amount, less in (smaller or {}).items():
            text = re.sub(rf"> {re.escape(amount)}(?![\d.])", f"> {less}", text)
        (folder / path.name).write_text(text)


@dataclass(frozen=True)
class Tested:
    """How the copy of our rules differs, and where its alerts go; `itself`: it scrapes itself."""

    shorter: dict[str, str] = field(default_factory=dict)
    smaller: dict[str, str] = field(default_factory=dict)
    alertmanager: str = ""
    itself: bool = False


def prometheus_command(
    folder: Path, jobs: dict[str, list[dict[str, Any]]], tested: Tested
) -> tuple[list[str], str]:
    """What runs a Prometheus with our rules and these targets, its files written; its address."""
    folder.mkdir()
    rules(folder, tested.shorter, tested.smaller)
    address = f"127.0.0.1:{free_port()}"
    if tested.itself:
        jobs = {**jobs, "monitors": [{"targets": [address]}]}
    for name, found in jobs.items():
        (folder / f"{name}.json").write_text(json.dumps(found))
    scrapes = [
        {
            "job_name": name,
            "honor_labels": True,
            "file_sd_configs": [{"files": [f"{folder}/{name}.json"]}],
        }
        for name in jobs
    ]
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [f"{folder}/*.yml"],
        "scrape_configs": scrapes,
    }
    if tested.alertmanager:
        receiver = {"static_configs": [{"targets": [tested.alertmanager]}]}
        config["alerting"] = {"alertmanagers": [receiver]}
    file = folder / "prometheus-config"
    file.write_text(json.dumps(config))
    command = [
        binary("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}", "--log.level=warn", "--rules.alert.resend-delay=2s",
    ]  # fmt: skip
    return command, address


@contextmanager
def prometheus(
    folder: Path, jobs: dict[str, list[dict[str, Any]]], tested: Tested | None = None
) -> Iterator[str]:
    """A Prometheus with our rules and these targets; its address."""
    command, address = prometheus_command(folder, jobs, tested or Tested())
    with child(command, folder / "log"):
        wait_until_ready(f"http://{address}/-/ready")
        yield f"http://{address}"


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


@contextmanager
def monitored(
    folder: Path, history_s: float = HISTORY_S, *, stand_in: bool = True
) -> Iterator[Monitored]:
    """Everything, with so much history behind it; `stand_in`: figures of drills that never ran."""
    up = [
        *COMMAND, "up", "--dir", str(folder / "cluster"), "--json", "--nameservers", "2",
        "--nameserver-port", "0", "--broker-port", "0",
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        process = stack.enter_context(child(up, folder / "up.log"))
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        node = stack.enter_context(node_exporter(folder))
        jobs = {"broker-trio": targets(told), "node": [target(node, "", "")]}
        if stand_in:
            drills = stack.enter_context(drill_page())
            jobs["drills"] = [target(drills, "drill", "drill")]
        address = stack.enter_context(prometheus(folder / "prometheus", jobs))
        running = Monitored(told, address)
        for topic in ("orders", "bills"):
            words = ("bench", "produce", topic, "--rate", "50", "--tasks", "4", "--warm-up", "0")
            done = running.run(*words, "--count", "20")
            assert done.returncode == 0, done.stderr
            load = [*COMMAND, *words, "--seconds", "600", "-n", running.nameservers]
            stack.enter_context(child(load, folder / f"{topic}.log"))
        left = running.run("consume", "bills", "--group", "gone", "--from-first", "--count", "5")
        assert left.returncode == 0, left.stderr
        follow = [sys.executable, "-c", CONSUMER, *told["nameservers"]]
        stack.enter_context(child(follow, folder / "consumer.log"))
        time.sleep(history_s)
        yield running
